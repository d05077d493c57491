"""Evo-ViT on both backbones: the official models' numbers and costs, both executions, the switch of selection."""

import parity
import pytest
import timm
import torch
from small_evo import NAMES, images, mini, official

import dynvit

TOLERANCES = {
    "evo_deit_mini_k0.7_stage": 1e-9,
    "evo_deit_mini_k0.7_layer": 1e-9,
    "evo_deit_tiny_k0.5_stage": 1e-9,
    "evo_deit_tiny_k0.5_layer": 1e-9,
    "evo_deit_tiny_k0.7_stage": 1e-9,
    "evo_levit_mini_k0.7_stage": 1e-8,
    "evo_levit_mini_k0.7_layer": 1e-8,
    "evo_levit_128s_k0.5_stage": 1e-9,
    "evo_levit_128s_k0.5_layer": 1e-9,
}
BOTH = pytest.mark.parametrize("kind", ["deit", "levit"])


def selecting_layers(fixture, trace):
    """The layers in front of which tokens are selected, in order."""
    if "deit" in fixture.name:
        return [int(selection["where"].removeprefix("block")) for selection in fixture.facts["selections"]]
    layers = [i for i, active_BN in enumerate(trace.active) if not active_BN.all()]
    if fixture.name.endswith("layer"):
        return layers
    return [i for i in layers if i == layers[0] or trace.active[i].shape != trace.active[i - 1].shape]


def same_selections(fixture, trace, key=""):
    """Kept sets, and where given the scores, at every selection in turn."""
    layers = selecting_layers(fixture, trace)
    for i, layer in enumerate(layers):
        active_BN, order = trace.active[layer], fixture.arrays[f"{key}order_{i}"].astype(int)
        kept = int(active_BN[0].sum())
        for b, row in enumerate(order):
            assert set(row[:kept]) == set(active_BN[b].nonzero().flatten().tolist())
            if not key:
                difference = trace.scores[layer][b].numpy()[row] - fixture.arrays[f"score_{i}"][b]
                assert abs(difference).max() < TOLERANCES[fixture.name]
    assert f"{key}order_{len(layers)}" not in fixture.arrays


@pytest.mark.parametrize("execution", ["gathered", "masked"])
@pytest.mark.parametrize("name", TOLERANCES)
def test_evaluation_equals_the_official_model(name, execution):
    fixture = parity.load(name)
    model = official(fixture).eval()
    model.set_execution(execution)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        x_BND = model.forward_features(fixture.image())
        found = {"logits_fp64": model.forward_head(x_BND)}
    if "deit" in name:
        found |= {"features_fp64": model.forward_head(x_BND, pre_logits=True), "cls_before_norm_fp64": x_BND[:, 0]}
    for array, ours in found.items():
        assert parity.largest_difference(ours, fixture.array(array)) < TOLERANCES[name]
    same_selections(fixture, trace)


@pytest.mark.parametrize("name", [name for name in TOLERANCES if "deit" in name])
def test_training_on_deit_equals_the_official_model(name):
    fixture = parity.load(name)
    model, train = official(fixture).train(), fixture.facts["train"]
    output = model(fixture.image())
    assert parity.largest_difference(output.logits, fixture.array("train_logits_avg_fp64")) < 1e-9
    assert parity.largest_difference(output.extra["class"], fixture.array("train_logits_cls_fp64")) < 1e-9
    loss = dynvit.training_loss(output, fixture.labels())
    assert abs(loss.item() - train["loss"]) < 1e-9
    loss.backward()
    norms = official_norms(model)
    wrong = {k: (norms[k], v) for k, v in train["grad_l2"].items() if v and abs(norms[k] - v) > 1e-9 * max(1, v)}
    assert not wrong and len(norms) == len(train["grad_l2"])


def official_norms(model):
    """Gradient norms by official name: our fused qkv is their qk and v."""
    norms = {}
    for name, p in model.named_parameters():
        parts = name.split(".")
        if "qkv" in parts:
            d = p.shape[0] // 3
            norms[f"qks.{parts[1]}.qk.{parts[-1]}"] = p.grad[: 2 * d].norm().item()
            norms[f"vs.{parts[1]}.v.{parts[-1]}"] = p.grad[2 * d :].norm().item()
        elif "norm1" in parts:
            norms[f"norms.{parts[1]}.{parts[-1]}"] = p.grad.norm().item()
        elif "attn" in parts:
            norms[f"projs.{parts[1]}.{parts[-1]}"] = p.grad.norm().item()
        else:
            norms[name] = p.grad.norm().item()
    return norms


@pytest.mark.parametrize("name", [name for name in TOLERANCES if "levit" in name])
def test_training_on_levit_equals_the_official_model(name):
    fixture = parity.load(name)
    model, train = official(fixture).train(), fixture.facts["train"]
    with dynvit.trace_tokens(model) as trace:
        output = model(fixture.image(4))
    same_selections(fixture, trace, "train_")
    four = [output.logits, output.extra["dist"], output.extra["class"], output.extra["class_dist"]]
    assert parity.largest_difference(torch.stack(four), fixture.array("train_logits_fp64")) < TOLERANCES[name]
    loss = dynvit.training_loss(output, fixture.labels(4), fixture.teacher_logits(4))
    assert abs(loss.item() - train["loss"]) < TOLERANCES[name]
    loss.backward()
    ours = model.convert_official({name: torch.tensor(i) for i, name in enumerate(train["grad_l2"])})
    names = {list(train["grad_l2"])[int(i)]: name for name, i in ours.items()}
    norms = {k: v or 0.0 for k, v in train["grad_l2"].items()}
    assert not parity.wrong_gradients(model, norms, names, tolerance=1e-7, negligible=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("deit", {"selection": "layer", "keep_ratio": 0.4}),
        ("deit", {"representative": "weighted"}),
        ("deit", {"representative": "mean", "selection": "layer"}),
        ("deit", {"drop_at_end": True}),
        ("deit", {"ranking": "random", "selection": "layer"}),
        ("deit", {"prune_from": 2, "score_weight": 0.9, "keep_ratio": 0.3}),
        ("deit", {"depth": 7, "prune_from": 3, "keep_ratio": (1, 1, 1, 0.7, 0.5, 0.5, 0.5), "selection": "layer"}),
        ("levit", {}),
        ("levit", {"selection": "layer", "keep_ratio": 0.7}),
        ("levit", {"representative": "mean"}),
        ("levit", {"representative": "none"}),
        ("levit", {"learned_weight": False, "keep_ratio": (0.5, 1.0, 0.3)}),
        ("levit", {"keep_ratio": 63 / 64}),
        ("levit", {"ranking": "random"}),
    ],
)
def test_masked_equals_gathered_and_images_are_independent(kind, options):
    model, x = mini(kind, **options), images(kind)
    for training in (False, True) if kind == "deit" else (False,):
        model.train(training)
        results = []
        for execution in ("gathered", "masked"):
            model.set_execution(execution)
            torch.manual_seed(0)
            y = model(x)
            results.append(y.logits if training else y)
        assert parity.largest_difference(*results) < 1e-9
    model.eval().set_execution("gathered")
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in x])
        assert parity.largest_difference(alone, model(x)) < 1e-10


COSTS = {  # spec: parameters (training, inference), exact multiply-accumulates at keep 0.5
    "evo_deit_tiny_patch16_224": (5_910_800, 5_717_416, 817_754_112),
    "evo_deit_small_patch16_224": (22_436_432, 22_050_664, 3_033_391_104),
    "evo_deit_base_patch16_224": (87_338_192, 86_567_656, 11_658_313_728),
    "evo_deit_small_patch16_384": (22_582_352, 22_196_584, 9_881_124_864),
    "evo_deit_base_patch16_384": (87_630_032, 86_859_496, 36_112_171_008),
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


@BOTH
def test_training_switches_from_layer_to_stage(kind):
    """LeViT's learned weight waits for the second phase too."""
    model, seen = mini(kind, switch_epoch=2), []
    for epoch in range(4):
        model.set_epoch(epoch, 4)
        seen.append(model.selection)
        options = {"learned_weight": epoch >= 2} if kind == "levit" else {}
        same = mini(kind, selection=model.selection, **options)
        assert torch.equal(model.eval()(images(kind)), same.eval()(images(kind)))
    assert seen == ["layer", "layer", "stage", "stage"]
    model = mini(kind, selection="layer")
    model.set_epoch(3, 4)
    assert model.selection == "layer"


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("deit", {"keep_ratio": 0.0}, "keep_ratio must lie in"),
        ("deit", {"keep_ratio": 1.5}, "keep_ratio must lie in"),
        ("deit", {"keep_ratio": (0.5, 0.5)}, "keep_ratio has 2 entries, needed are 12"),
        ("deit", {"keep_ratio": 0.001}, "keeps none of 64"),
        ("deit", {"selection": "stages"}, 'selection is "stage" or "layer"'),
        ("deit", {"prune_from": 0}, "prune_from"),
        ("deit", {"representative": "sum"}, "representative"),
        ("deit", {"ranking": "score"}, 'ranking is "class" or "random", not \'score\''),
        ("levit", {"keep_ratio": 0}, "keep_ratio must lie in"),
        ("levit", {"keep_ratio": (0.5, 0.5)}, "keep_ratio has 2 entries, needed are 3"),
        ("levit", {"img_size": 60}, "img_size 60 must be divisible by 8"),
        ("levit", {"stem_strides": (2, 2, 2)}, r"stem_strides are four numbers, got \(2, 2, 2\)"),
        ("levit", {"selection": "block"}, 'selection is "stage" or "layer"'),
        ("levit", {"representative": "sum"}, "representative"),
    ],
)
def test_wrong_options_say_so(kind, options, words):
    with pytest.raises(ValueError, match=words):
        mini(kind, **options)


@BOTH
def test_another_variant_is_refused(kind):
    fixture = parity.load(f"evo_{kind}_mini_k0.7_stage")
    with pytest.raises(ValueError, match=r"wrong shape: .*cls_token"):
        dynvit.load_official(timm.create_model(NAMES[kind]), fixture.state_dict())
