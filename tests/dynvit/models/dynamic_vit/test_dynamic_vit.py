"""DynamicViT against the official model's numbers: evaluation with kept tokens and scores, and one training step."""

from zlib import crc32

import numpy as np
import parity
import pytest
import timm
import torch

import dynvit

MINI = {"embed_dim": 32, "num_heads": 2, "num_classes": 10}
EVALUATED = [
    ("dynamicvit_mini_r0.7", "dynamicvit_deit_tiny_patch16_224", MINI),
    pytest.param("dynamicvit_deit_s_r0.7", "dynamicvit_deit_small_patch16_224", {}, marks=pytest.mark.slow),
    pytest.param("dynamicvit_lvvit_s_r0.7", "dynamicvit_lvvit_small", {}, marks=pytest.mark.slow),
]


def official(fixture, name, options):
    return dynvit.load_official(timm.create_model(name, **options).double(), fixture.state_dict()).eval()


@pytest.mark.parametrize(("fixture", "name", "options"), EVALUATED)
def test_evaluation_equals_the_official_model(fixture, name, options):
    fixture = parity.load(fixture)
    model = official(fixture, name, options)
    facts = fixture.facts["model"]
    assert (list(model.locations), list(model.ratios)) == (facts["pruning_loc"], facts["token_ratio"])
    features = {}
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), dynvit.trace_tokens(model) as trace:
            features[execution] = model.forward_features(fixture.image())
            logits = model.forward_head(features[execution])
        assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9
        compare_selections(model, trace, fixture)
    assert parity.largest_difference(features["gathered"], features["masked"]) < 1e-9  # the same order of tokens


def compare_selections(model, trace, fixture):
    """Log-probabilities, kept sets, and descending order, location by location."""
    place = np.tile(np.arange(196), (2, 1))  # raster place of the tokens that enter a stage
    for stage, block in enumerate(model.locations):
        scores, kept = (
            fixture.arrays[f"keep_logprob_stage{stage}"],
            fixture.arrays[f"kept_indices_with_cls_stage{stage}"],
        )
        assert (kept[:, 0] == 0).all()
        for image in range(2):
            ours = trace.scores[block][image].numpy()
            assert np.abs(ours[place[image]] - scores[image]).max() < 1e-9
            assert np.isinf(np.delete(ours, place[image])).all()
            ranked = np.argsort(-ours, kind="stable")[: model.kept[stage]]
            assert np.array_equal(ranked, place[image][kept[image, 1:] - 1])
        place = np.take_along_axis(place, kept[:, 1:].astype(int) - 1, 1)
        for later in range(block, 16 if block == 12 else block + 3):
            active = torch.zeros(2, 196, dtype=torch.bool).scatter(1, torch.from_numpy(place), True)
            assert torch.equal(trace.active[later], active)


@pytest.mark.parametrize(("fixture", "name", "options"), EVALUATED[:1])
def test_order_of_the_tokens_is_that_of_the_scores(fixture, name, options):
    model = official(parity.load(fixture), name, options)
    with torch.no_grad():
        final, states = model.forward_intermediates(parity.load(fixture).image(), norm=True, output_fmt="NLC")
    fixture, place = parity.load(fixture), torch.arange(196).expand(2, -1)
    for stage in range(3):
        kept = fixture.array(f"kept_indices_with_cls_stage{stage}")[:, 1:].long() - 1
        place = place.gather(1, kept)
    assert torch.equal(final[:, 1:], states[-1].take_along_dim(place[..., None], 1))


@pytest.mark.slow
def test_training_equals_the_official_model():
    fixture = parity.load("dynamicvit_deit_s_r0.7_train")
    model = official(fixture, "dynamicvit_deit_small_patch16_224", {}).train()
    teacher = timm.create_model("deit_small_patch16_224").double()
    teacher.load_state_dict({k: v for k, v in fixture.state_dict().items() if not k.startswith("score_predictor")})
    model.set_teacher(teacher)
    model.noise = official_noise
    masks, model_masks = [], model._train_masked

    def watched(x):
        out = model_masks(x)
        masks.extend(out[1])
        return out

    model._train_masked = watched
    output = model(fixture.image())
    loss = dynvit.training_loss(output, fixture.labels())
    assert parity.largest_difference(output.logits, fixture.array("logits_fp64")) < parity.FLOAT32_INSIDE
    for stage, mask in enumerate(masks):
        assert parity.largest_difference(mask, fixture.array(f"mask_stage{stage}")) < 1e-9
    assert torch.equal(output.extra["kept"], fixture.array("final_mask").bool())
    facts = fixture.facts["loss"]
    assert abs(loss.item() - facts["total"]) < parity.FLOAT32_INSIDE
    assert abs(output.losses["ratio"].item() - facts["ratio_sum"]) < 1e-9
    assert abs(output.losses["distillation"].item() - facts["cls_kl"]) < parity.FLOAT32_INSIDE
    assert abs(output.losses["token"].item() - facts["token_mse"]) < parity.FLOAT32_INSIDE
    rest = sum(output.weights[name] * term for name, term in output.losses.items())
    assert abs((loss - rest).item() - facts["cls"]) < parity.FLOAT32_INSIDE
    loss.backward()
    assert parity.wrong_gradients(model, fixture.facts["grad_norms"], tolerance=parity.FLOAT32_INSIDE) == {}
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == set(fixture.facts["params_without_grad"])
    assert all(p.grad is None for p in teacher.parameters())


def official_noise(stage, logprob):
    u = np.random.Generator(np.random.PCG64(crc32(f"gumbel_stage{stage}".encode()))).random(tuple(logprob.shape))
    return torch.from_numpy(-np.log(-np.log(u)))


TINY, SMALL, BASE = (f"dynamicvit_deit_{size}_patch16_224" for size in ("tiny", "small", "base"))
COSTS = {  # parameters, multiply-accumulates at keep 0.9, 0.7, 0.5
    TINY: (5_899_582, 1_091_495_616, 801_198_048, 601_627_680),
    SMALL: (22_774_414, 4_040_734_080, 2_980_897_728, 2_229_060_672),
    BASE: (89_452_846, 15_512_439_552, 11_475_801_984, 8_561_342_592),
    "dynamicvit_lvvit_small": (26_875_574, 5_876_306_304, 4_650_082_752, 3_790_170_432),
    "dynamicvit_lvvit_medium": (57_115_030, 11_206_734_336, 8_593_229_056, 6_740_554_496),
}


@pytest.mark.parametrize("name", COSTS)
def test_parameters_and_macs(name):
    params, *macs = COSTS[name]
    for keep, expected in zip((0.9, 0.7, 0.5), macs, strict=True):
        with torch.device("meta"):
            model = timm.create_model(name, keep_ratio=keep)
        cost = dynvit.complexity(model, torch.empty(1, 3, 224, 224, device="meta"))
        assert (cost.params, cost.macs.item()) == (params, expected)


def test_tokens_that_are_left():
    for keep, kept in ((0.7, (137, 96, 67)), (0.5, (98, 49, 24)), (0.9, (176, 158, 142))):
        with torch.device("meta"):
            assert timm.create_model(TINY, keep_ratio=keep).kept == kept
