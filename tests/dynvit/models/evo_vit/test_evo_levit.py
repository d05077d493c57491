"""Evo-ViT on LeViT against the official model's numbers, and the identities of the method."""

import copy

import numpy as np
import parity
import pytest
import timm
import torch

import dynvit

FIXTURES = {
    "evo_levit_mini_k0.7_stage": 1e-8,
    "evo_levit_mini_k0.7_layer": 1e-8,
    "evo_levit_128s_k0.5_stage": 1e-9,
    "evo_levit_128s_k0.5_layer": 1e-9,
}


def build(fixture, **options):
    c = fixture.facts["constructor"]
    model = timm.create_model(
        "evo_levit_128s",
        img_size=c["image_size"],
        embed_dim=c["embed_dim"],
        key_dim=c["key_dim"],
        num_heads=c["num_heads"],
        depth=c["depth"],
        num_classes=c["num_classes"],
        keep_ratio=c["keep_ratio"],
        selection="layer" if fixture.name.endswith("layer") else "stage",
        **options,
    )
    return dynvit.load_official(model.double(), fixture.state_dict())


@pytest.fixture(params=FIXTURES)
def fixture(request):
    return parity.load(request.param)


def same_orders(fixture, trace, key):
    """Kept sets, and where given the scores, at every selection in turn."""
    selecting = [i for i, a in enumerate(trace.active) if not a.all()]
    if fixture.name.endswith("stage"):  # layers of one stage share a selection
        selecting = [i for i in selecting if i == selecting[0] or trace.active[i].shape != trace.active[i - 1].shape]
    for i, layer in enumerate(selecting):
        order = fixture.arrays[f"{key}order_{i}"].astype(int)
        count = int(trace.active[layer][0].sum())
        for b, row in enumerate(order):
            assert set(row[:count]) == set(trace.active[layer][b].nonzero().flatten().tolist())
            if not key:
                difference = trace.scores[layer][b].numpy()[row] - fixture.arrays[f"score_{i}"][b]
                assert np.abs(difference).max() < FIXTURES[fixture.name]
    assert f"{key}order_{len(selecting)}" not in fixture.arrays


@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_evaluation_equals_the_official_model(fixture, execution):
    model = build(fixture).eval()
    model.set_execution(execution)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < FIXTURES[fixture.name]
    same_orders(fixture, trace, "")


def test_training_equals_the_official_model(fixture):
    model, train = build(fixture).train(), fixture.facts["train"]
    with dynvit.trace_tokens(model) as trace:
        output = model(fixture.image(4))
    same_orders(fixture, trace, "train_")
    four = [output.logits, output.extra["dist"], output.extra["class"], output.extra["class_dist"]]
    tolerance = FIXTURES[fixture.name]
    assert parity.largest_difference(torch.stack(four), fixture.array("train_logits_fp64")) < tolerance
    loss = dynvit.training_loss(output, fixture.labels(4), fixture.teacher_logits(4))
    assert abs(loss.item() - train["loss"]) < tolerance
    loss.backward()
    ours = model.convert_official({name: torch.tensor(i) for i, name in enumerate(train["grad_l2"])})
    names = {list(train["grad_l2"])[int(i)]: name for name, i in ours.items()}
    norms = {k: v or 0.0 for k, v in train["grad_l2"].items()}
    assert not parity.wrong_gradients(model, norms, names, tolerance=1e-7, negligible=1e-6)


def mini(**options):
    torch.manual_seed(0)
    defaults = {
        "img_size": 64,
        "embed_dim": (32, 48, 64),
        "key_dim": 8,
        "num_heads": (2, 3, 4),
        "depth": (4, 3, 4),
        "stem_strides": (2, 2, 2, 1),
        "num_classes": 10,
    }
    model = timm.create_model("evo_levit_128s", **(defaults | options)).double()
    for module in model.modules():  # fresh layers start with zero gain and statistics 0 and 1: nothing would move
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def images(batch=3, size=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size, size, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"selection": "layer", "keep_ratio": 0.7},
        {"representative": "mean"},
        {"representative": "none"},
        {"learned_weight": False, "keep_ratio": (0.5, 1.0, 0.3)},
        {"keep_ratio": 63 / 64},
    ],
)
def test_masked_equals_gathered_and_images_are_independent(options):
    model, x = mini(**options).eval(), images()
    with torch.no_grad():
        gathered = model(x)
        alone = torch.cat([model(image[None]) for image in x])
        model.set_execution("masked")
        assert parity.largest_difference(model(x), gathered) < 1e-9
    assert parity.largest_difference(alone, gathered) < 1e-10


def test_keep_ratio_one_processes_everything_like_a_plain_pyramid():
    model, x = mini(keep_ratio=1.0).eval(), images()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(x)
        y = model.stem(x).flatten(2).transpose(1, 2)
        y = torch.cat([model.cls_token.expand(3, -1, -1), y], 1) + model.pos_embed
        for stage in model.stages:
            if stage.downsample is not None:
                y = stage.downsample.attn_downsample(y)[0]
                y = y + stage.downsample.mlp(y)
            for layer in stage.blocks:
                y = y + layer.attn(y)[0]
                y = y + layer.mlp(y)
        plain = model.forward_head(y)
    assert all(a.all() for a in trace.active) and len(trace.active) == 11
    assert parity.largest_difference(logits, plain) < 1e-6


def test_stage_mode_equals_layer_mode_while_the_kept_sets_agree():
    """One pruned layer per stage: the same selection in both modes."""
    a, b, x = mini(depth=(3, 1, 1)).eval(), mini(depth=(3, 1, 1), selection="layer").eval(), images()
    b.load_state_dict(a.state_dict())
    with torch.no_grad():
        assert parity.largest_difference(a(x), b(x)) < 1e-12


def test_folded_equals_unfolded():
    model, x = mini().eval(), images()
    folded = copy.deepcopy(model).fuse()
    assert not any(isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        expected = model(x)
        assert parity.largest_difference(folded(x), expected) / expected.std().item() < 1e-10
        single = folded.float()(x.float()).double()
    assert parity.largest_difference(single, expected) / expected.std().item() < 1e-4


def test_trunk_weights_of_timm_load():
    trunk = timm.create_model("levit_128s", num_classes=10)
    model = timm.create_model("evo_levit_128s", num_classes=10)
    report = dynvit.load_trunk(model, trunk.state_dict())
    assert torch.equal(
        model.stages[1].blocks[0].attn.qkv.linear.weight, trunk.stages[1].blocks[0].attn.qkv.linear.weight
    )
    assert torch.equal(model.head_dist.linear.weight, trunk.head_dist.linear.weight)
    assert all("attention_biases" in n for n in report.unused)
    added = ("cls_token", "pos_embed", "learn_tradeoff", "head_cls")
    assert all(any(a in n for a in added) for n in report.kept)


COSTS = {  # spec: parameters (training, inference), multiply-accumulates at keep 0.5
    "evo_levit_128s": (8_606_651, 7_835_115, 255_924_736),
    "evo_levit_128": (10_041_022, 9_269_486, 304_893_056),
    "evo_levit_192": (11_803_526, 11_031_990, 510_083_328),
    "evo_levit_256": (20_035_278, 19_007_230, 879_654_912),
    "evo_levit_384": (40_836_830, 39_295_758, 1_848_618_368),
    "evo_levit_128s_384": (8_728_251, 7_956_715, 824_729_216),
    "evo_levit_128_384": (10_162_622, 9_391_086, 984_185_600),
    "evo_levit_192_384": (11_976_806, 11_205_270, 1_654_344_480),
    "evo_levit_256_384": (20_266_318, 19_238_270, 2_763_175_296),
    "evo_levit_384_384": (41_177_310, 39_636_238, 5_621_980_672),
}


@pytest.mark.parametrize("name", COSTS)
def test_parameters_and_macs(name):
    training, inference, macs = COSTS[name]
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == training
    cost = dynvit.complexity(model, torch.empty(1, 3, model.img_size, model.img_size, device="meta"))
    assert (cost.params, cost.macs.item()) == (inference, macs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep_ratio": 0}, "keep_ratio must lie in"),
        ({"keep_ratio": (0.5, 0.5)}, "keep_ratio has 2 entries, needed are 3"),
        ({"img_size": 60}, "img_size 60 must be divisible by 8"),
        ({"selection": "block"}, 'selection is "stage" or "layer"'),
        ({"representative": "sum"}, "representative"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        mini(**options)


def test_another_variant_is_refused():
    with pytest.raises(ValueError, match="wrong shape"):
        dynvit.load_official(timm.create_model("evo_levit_128s"), parity.load("evo_levit_mini_k0.7_stage").state_dict())


def test_two_models_in_threads_give_their_own_numbers():
    from concurrent.futures import ThreadPoolExecutor

    models = [mini(keep_ratio=r).eval() for r in (0.3, 0.6, 0.9)]
    x = images()
    with torch.no_grad():
        expected = [m(x) for m in models]

    def run(i):
        with torch.no_grad():
            return models[i % 3](x)

    with ThreadPoolExecutor(3) as pool:
        for i, logits in enumerate(pool.map(run, range(12))):
            assert torch.equal(logits, expected[i % 3])


def test_position_tables_do_not_decay_and_a_wrong_size():
    assert "stages.1.downsample.attn_downsample.pos_embed" in mini().no_weight_decay()
    with pytest.raises(ValueError, match="built for img_size=64"):
        mini()(torch.zeros(1, 3, 32, 32, dtype=torch.float64))


def test_training_switches_from_layer_to_stage():
    model = mini(switch_epoch=2)
    seen = []
    for epoch in range(4):
        model.set_epoch(epoch, 4)
        seen.append(model.selection)
        assert torch.equal(
            model.eval()(images()), mini(selection=model.selection, **{"learned_weight": epoch >= 2}).eval()(images())
        )
    assert seen == ["layer", "layer", "stage", "stage"]
    model = mini(selection="layer")
    model.set_epoch(3, 4)
    assert model.selection == "layer"
