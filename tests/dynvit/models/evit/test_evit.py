"""EViT against the official model's numbers, and the identities of the method."""

import parity
import pytest
import timm
import torch
from small_deit import images, macs, operators, small

import dynvit
from dynvit.models.evit.keep_rate_schedule import CosineKeepRate

NAME = "evit_deit_tiny_patch16_224"
FIXTURES = ["evit_mini_k0.7_fuse", "evit_deit_s_k0.7_fuse"]


@pytest.fixture(params=FIXTURES)
def fixture(request):
    return parity.load(request.param)


def build(fixture):
    facts = fixture.facts["model"]
    size = {k: facts[k] for k in ("embed_dim", "num_heads", "depth", "num_classes") if k in facts}
    model = timm.create_model(
        "evit_deit_small_patch16_224",
        keep_rate=facts["keep_rate"],
        locations=facts["drop_loc"],
        fuse_token=facts["fuse_token"],
        **size,
    )
    return dynvit.load_official(model.double(), fixture.state_dict()).eval()


@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_evaluation_equals_the_official_model(fixture, execution):
    model = build(fixture)
    model.set_execution(execution)
    with torch.no_grad():
        assert parity.largest_difference(model(fixture.image()), fixture.array("logits_fp64")) < 1e-9


def test_kept_tokens_and_scores_are_the_official_ones(fixture, monkeypatch):
    model, seen = build(fixture), []
    keep = dynvit.models.evit.model.keep

    def spy(x_BTD, row_BM, kept, fuse):
        x_BTD, top_BK = keep(x_BTD, row_BM, kept, fuse)
        seen.append((row_BM, top_BK, x_BTD.shape[1]))
        return x_BTD, top_BK

    monkeypatch.setattr(dynvit.models.evit.model, "keep", spy)
    with torch.no_grad():
        model(fixture.image())
    assert len(seen) == 3
    for block, (row_BM, top_BK, tokens) in zip((3, 6, 9), seen, strict=True):
        assert parity.largest_difference(row_BM, fixture.array(f"cls_attn_block{block}")) < 1e-9
        assert torch.equal(top_BK, fixture.array(f"kept_patch_indices_block{block}").long())
        assert tokens == fixture.facts["tokens_after_block"][block]


def test_the_trace_follows_the_tokens(fixture):
    """Indices into the list that enters a block, carried back to the raster by hand."""
    model = build(fixture)
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), dynvit.trace_tokens(model) as trace:
            model(fixture.image())
        assert len(trace.active) == 12
        for b in range(2):
            origin = list(range(196))
            for block in range(12):
                alive = torch.zeros(196, dtype=torch.bool)
                alive[[o for o in origin if o is not None]] = True
                assert torch.equal(trace.active[block][b], alive)
                if block in (3, 6, 9):
                    row = fixture.array(f"cls_attn_block{block}")[b]
                    for value, place in zip(row, origin, strict=True):
                        if place is not None:
                            assert abs(trace.scores[block][b, place] - value) < 1e-9
                    kept = fixture.array(f"kept_patch_indices_block{block}")[b].tolist()
                    origin = [origin[i] for i in kept] + [None]


@pytest.mark.parametrize("fuse", [True, False])
def test_masked_equals_gathered_also_in_training_and_in_gradients(fuse):
    model = small(NAME, keep_rate=(0.5, 0.8, 0.3), locations=(2, 5, 11), fuse_token=fuse)
    for training in (False, True):
        results = []
        for execution in ("gathered", "masked"):
            model.train(training).set_execution(execution)
            model.zero_grad()
            logits = model(images())
            logits.square().sum().backward()
            results.append((logits, [p.grad.clone() for p in model.parameters()]))
        (a, ga), (b, gb) = results
        assert parity.largest_difference(a, b) < 1e-9
        assert all(parity.largest_difference(x, y) < 1e-8 * max(1, x.abs().max()) for x, y in zip(ga, gb, strict=True))


def test_images_are_independent():
    model = small(NAME).eval()
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images()])
        assert parity.largest_difference(alone, model(images())) < 1e-12


TRUNKS = {
    "deit": ("deit_tiny_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {"init_values": 1e-6, "no_embed_class": True}),
    "qk_norm": ("deit_tiny_patch16_224", {"qk_norm": True}),
}


@pytest.mark.parametrize("kind", TRUNKS)
@pytest.mark.parametrize("options", [{"keep_rate": 1.0}, {"keep_rate": (1, 1, 1)}, {"locations": ()}])
def test_keep_rate_one_is_the_trunk_bit_for_bit(kind, options):
    name, extra = TRUNKS[kind]
    trunk = small(name, **({} if kind == "deit3" else extra))
    model = small(NAME, **extra, **options)
    report = dynvit.load_trunk(model, trunk.state_dict())
    assert not report.kept and not report.unused
    with torch.no_grad():
        assert torch.equal(model(images()), trunk(images()))


def test_layer_scale_and_norms_of_queries_and_keys_are_in_effect_where_tokens_leave():
    """A reduction that only drops tokens of weight zero: the trunk without the dropped tokens' influence."""
    for kind in TRUNKS:
        model = small(NAME, **TRUNKS[kind][1], keep_rate=0.999, locations=(0,), fuse_token=True)
        assert model._kept(0, 64) is None
        model.set_keep_rate(0.98)
        block, x = model.blocks[0], torch.randn(2, 65, 48, dtype=torch.float64)
        with torch.no_grad():
            y, row, top = model._block(0, x, 63, None)
            expected = x + block.ls1(block.attn(block.norm1(x)))
            gone = row.argmin(1)
            for b in range(2):
                assert set(top[b].tolist()) == set(range(64)) - {gone[b].item()}
                fused = row[b, gone[b]] * expected[b, 1 + gone[b]]
                tokens = torch.cat([expected[b, :1], expected[b, 1 + top[b]], fused[None]])
                tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
                assert torch.allclose(y[b], tokens, atol=1e-12)


# ---- rates


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1.0), (9, 1.0), (10, 1.0), (35, 0.7 + 0.3 * 0.8535533905932737), (60, 0.85), (110, 0.7)]
)
def test_the_rate_descends_as_in_the_recipe(epoch, rate):
    for descent in (CosineKeepRate(None, None), CosineKeepRate(10, 100)):
        assert descent.rate(0.7, epoch, 300) == pytest.approx(rate, abs=1e-12)


def test_short_trainings_reach_the_final_rate():
    for epochs in range(1, 300):
        rates = [CosineKeepRate(None, None).rate(0.5, e, epochs) for e in range(epochs)]
        assert rates[-1] == 0.5 and rates == sorted(rates, reverse=True)
    assert CosineKeepRate(0, 0).rate(0.5, 0, 10) == 0.5
    assert CosineKeepRate(5, 0).rate(0.5, 4, 10) == 1.0


def test_evaluation_uses_the_rate_of_the_epoch():
    model, x = small(NAME, shrink_start=1, shrink_epochs=2, keep_rate=0.5), images(1)
    counts = []
    for epoch in range(4):
        model.set_epoch(epoch, 4)
        with torch.no_grad(), dynvit.trace_tokens(model) as trace:
            model(x)
        counts.append(trace.active[-1].sum().item())
    assert counts[:2] == [64, 64] and counts[1] > counts[2] > counts[3]
    fresh = small(NAME, keep_rate=0.5)
    with torch.no_grad():
        assert torch.equal(model(x), fresh(x))
        fresh.set_keep_rate((0.5, 0.7, 0.9))
        assert not torch.equal(model(x), fresh(x))
    fresh.set_epoch(0, 300)
    assert set(fresh.keep_rates.values()) == {1.0}


# ---- costs


MACS = {  # spec: multiply-accumulates at keep 0.9, 0.7, 0.5, fused
    "tiny": (5_717_416, 1_091_990_784, 820_712_448, 629_179_392),
    "small": (22_050_664, 4_021_873_152, 3_029_280_768, 2_308_835_328),
    "base": (86_567_656, 15_395_312_640, 11_609_985_024, 8_819_576_832),
}


@pytest.mark.parametrize("size", MACS)
def test_parameters_and_macs(size):
    params, *published = MACS[size]
    for rate, expected in zip((0.9, 0.7, 0.5), published, strict=True):
        assert macs(f"evit_deit_{size}_patch16_224", keep_rate=rate) == (params, expected)
    if size == "small":
        assert macs("evit_deit_small_patch16_224", fuse_token=False) == (params, 2_996_994_816)


def test_the_masked_model_costs_as_much_to_the_counter():
    model = small(NAME)
    gathered = dynvit.complexity(model, images(1)).macs
    model.set_execution("masked")
    assert torch.equal(dynvit.complexity(model, images(1)).macs, gathered) and model.execution == "masked"


def test_few_operators():
    model = timm.create_model("evit_deit_small_patch16_224").eval()
    assert operators(model, torch.zeros(1, 3, 224, 224)) <= 215  # timm's DeiT-S: 200, the official EViT: 283
