"""MoR-ViT as a timm model: trunk weights, names, options, traces, small images, stability."""

import warnings

import parity
import pytest
import timm
import torch
from small_mor_vit import SIZE, images, small

import dynvit
from dynvit.models.mor_vit.weight_sharing import make_schedule, source_layers

METHODS = ["edge_recvit", "mor_vit"]


def test_names():
    assert dynvit.list_models("mor_vit") == [
        f"{method}_{size}_patch16_224"
        for method in sorted(METHODS, reverse=False)
        for size in ("base", "small", "tiny")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("load", ["official", "trunk"])
def test_trunk_equals_deit(load):
    fixture = parity.load("deit_tiny_patch16_224")
    model = timm.create_model("mor_vit_tiny_patch16_224", sharing="none", routing="off").double().eval()
    if load == "official":
        dynvit.load_official(model, fixture.state_dict())
    else:
        report = dynvit.load_trunk(model, fixture.state_dict())
        assert not report.kept
        assert not report.unused
    with torch.no_grad():
        logits = model(fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9


@pytest.mark.slow
def test_trunk_in_float32():
    fixture = parity.load("deit_tiny_patch16_224")
    model = timm.create_model("mor_vit_tiny_patch16_224", sharing="none", routing="off").eval()
    dynvit.load_official(model, fixture.state_dict(torch.float32))
    with torch.no_grad():
        logits = model(fixture.image(dtype=torch.float32))
    expected = fixture.array("logits_fp64")
    assert parity.largest_difference(logits, expected) < 1e-4 * expected.std()


def test_initialisation_from_deit():
    """Head, shared, tail from layers 0, 6, 11; what the method adds keeps its initialisation."""
    trunk = timm.create_model("deit_tiny_patch16_224", num_classes=7)
    model = timm.create_model("mor_vit_tiny_patch16_224", num_classes=5)
    report = dynvit.load_trunk(model, trunk.state_dict())
    for ours, layer in ((model.blocks.head, 0), (model.blocks.shared[0], 6), (model.blocks.tail, 11)):
        assert torch.equal(ours.mlp.fc1.weight, trunk.blocks[layer].mlp.fc1.weight)
    assert torch.equal(model.pos_embed, trunk.pos_embed)
    assert set(report.kept) == {"head.weight", "head.bias", "router.net.0.weight"}
    dropped = {f"backbone.blocks.{layer}" for layer in range(12) if layer not in (0, 6, 11)}
    assert {name.rsplit(".", 2)[0].rsplit(".attn", 1)[0].rsplit(".mlp", 1)[0] for name in report.unused} >= dropped
    small_images = timm.create_model("mor_vit_tiny_patch16_224", img_size=32)
    with pytest.raises(ValueError, match="no official checkpoint"):
        dynvit.load_official(model, trunk.state_dict())
    assert small_images.convert_trunk(trunk.state_dict())["pos_embed"].shape == (1, 5, 192)


def test_source_layers():
    def sources(sharing, depth, recursion):
        return list(source_layers(make_schedule(sharing, depth, recursion, routed=False), 12).values())

    assert sources("middle_cycle", 12, 10) == [0, 6, 11]
    assert sources("middle_sequence", 12, 5) == [0, 3, 8, 11]
    assert sources("middle_cycle", 12, 2) == [0, 2, 4, 6, 8, 10, 11]
    assert sources("middle_cycle", 12, 1) == sources("none", 12, 1) == sources("cycle", 12, 1) == list(range(12))
    assert sources("cycle", 12, 4) == [2, 6, 10]
    assert sources("none", 6, 1) == [0, 2, 4, 7, 9, 11]


def test_sharing_schemes():
    def layers(sharing, depth=8, recursion=3):
        return " ".join(make_schedule(sharing, depth, recursion).layers).replace("shared.", "")

    assert layers("none") == "0 1 2 3 4 5 6 7"
    assert layers("cycle", recursion=4) == "0 1 0 1 0 1 0 1"
    assert layers("sequence", recursion=4) == "0 0 0 0 1 1 1 1"
    assert layers("middle_cycle") == "head 0 1 0 1 0 1 tail"
    assert layers("middle_sequence") == "head 0 0 0 1 1 1 tail"
    assert layers("middle_cycle", 12, 10) == "head" + " 0" * 10 + " tail"


def test_a_remainder_is_told():
    with pytest.warns(UserWarning, match="runs 11 of 12 layers"):
        model = timm.create_model("mor_vit_tiny_patch16_224", recursion=3)
    assert len(model.blocks) == 11
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for depth in (11, 14):
            timm.create_model("mor_vit_tiny_patch16_224", depth=depth, recursion=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 6}, "recursion=10 does not fit depth=6 .* largest that fits is 4"),
        ({"depth": 6, "sharing": "cycle"}, "largest that fits is 6"),
        ({"depth": 6, "sharing": "none", "routing": "expert"}, "expert routing can use 1, 2, 4"),
        ({"depth": 2}, "depth of at least 3"),
        ({"recursion": 0}, "recursion must be at least 1"),
        ({"sharing": "middle-cycle"}, "sharing must be one of none, cycle, .* did you mean 'middle_cycle'"),
        ({"routing": "tokens"}, "did you mean 'token'"),
        ({"router": "cnn"}, "router must be one of linear, mlp, mlp2, mlp3, got 'cnn'"),
        ({"context": "all"}, "context must be one of"),
        ({"gating": "mul"}, "gating must be one of"),
        ({"balance": "kl"}, "balance must be one of"),
        ({"cls_depth": 9}, "cls_depth must be one of"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"z_loss": -1.0}, "z_loss must not be negative"),
        ({"num_heads": 5}, "not a multiple of num_heads"),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("mor_vit_tiny_patch16_224", **options)


def test_unknown_option_names_the_nearest():
    with pytest.raises(TypeError, match="did you mean 'recursion'"):
        timm.create_model("mor_vit_tiny_patch16_224", recursions=3)


def test_trace_of_token_routing():
    model, x = small(), images()
    with dynvit.trace_tokens(model) as trace:
        model(x)
    choice = model.router(model._pos_embed(model.patch_embed(x)))
    assert len(trace.active) == 8
    assert torch.equal(trace.depth, choice.depth_BM[:, 1:].int())
    for s, active_BN in enumerate(trace.active):
        assert torch.equal(active_BN, choice.depth_BM[:, 1:] > s)
    assert torch.allclose(trace.scores[3], choice.probs_BMD[:, 1:] @ torch.arange(1.0, 9).double())
    assert model.trace is None


def test_trace_of_expert_routing():
    model = small(routing="expert", capacity=[0.5, 0.25, 0.25])
    with dynvit.trace_tokens(model) as trace:
        model(images())
    counts = [active_BN.sum(1).unique().tolist() for active_BN in trace.active]
    assert counts == [[36], [18], [18], [9], [9], [9], [9], [36]]
    assert trace.scores[0] is trace.scores[-1] is None
    chosen_BN = trace.scores[1] >= trace.scores[1].topk(18).values[:, -1:]
    assert torch.equal(trace.active[1], chosen_BN)
    assert torch.equal(trace.scores[3].isfinite(), trace.active[1])
    assert trace.depth.max() == 8
    assert trace.depth.min() == 2


@pytest.mark.parametrize("patch_size", [4, 2])
@pytest.mark.parametrize("routing", ["token", "expert"])
def test_small_images(patch_size, routing):
    model = timm.create_model(
        "mor_vit_tiny_patch16_224", img_size=16, patch_size=patch_size, in_chans=1, num_classes=10, embed_dim=64,
        depth=6, num_heads=4, recursion=4, routing=routing,
    )  # fmt: skip
    output = model(torch.randn(2, 1, 16, 16))
    assert output.logits.shape == (2, 10)
    assert output.extra["depth"].shape == (2, (16 // patch_size) ** 2)
    assert set(output.losses) == ({"aux"} if routing == "expert" else {"z", "balance"})


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context": "active_only", "cls_depth": "three_quarters", "balance": "switch", "confidence": True},
        {"balance": "loss_free", "router": "mlp3", "context": "first_kv"},
        {"routing": "random"},
        {"routing": "expert"},
        {"routing": "expert", "gating": "additive", "context": "active_only", "z_loss": 1e-3},
        {"routing": "expert", "gating": "replace", "context": "first_kv", "capacity_warmup": 5},
    ],
    ids=str,
)
def test_training_at_ten_times_the_rate_stays_finite(options, autocast):
    torch.manual_seed(0)
    model = timm.create_model("mor_vit_tiny_patch16_224", recursion=3, **{**SIZE, **options}).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x, target = images(8, torch.float32), torch.arange(8) % 5
    for _ in range(12):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = model(x)
            loss = dynvit.training_loss(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(p.isfinite().all() for p in model.parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), torch.no_grad():
        assert model.eval()(x).isfinite().all()


@pytest.mark.parametrize("routing", ["token", "expert"])
def test_whole_model_in_bfloat16(routing):
    model = small(routing=routing, dtype=torch.bfloat16)
    with torch.no_grad():
        logits = model(images(dtype=torch.bfloat16))
    assert logits.dtype is torch.bfloat16
    assert logits.isfinite().all()
    output = model.train()(images(dtype=torch.bfloat16))
    dynvit.training_loss(output, torch.arange(4)).backward()


def test_it_learns_to_be_shallow():
    """The router obeys its gradient: a penalty on the expected depth empties the deep layers."""
    model, x = small(z_loss=0, balance="none").train(), images()
    optimizer = torch.optim.Adam(model.router.parameters(), lr=0.05)
    before = model(x).extra["depth"].float().mean()
    for _ in range(30):
        choice = model.router(model._pos_embed(model.patch_embed(x)))
        optimizer.zero_grad()
        choice.gates_BMS[:, 1:].sum(-1).mean().backward()
        optimizer.step()
    assert model(x).extra["depth"].float().mean() < 0.6 * before
