"""TPC-ViT as a timm model: trunk parity, exact costs, losses, a stable training, options."""

from __future__ import annotations

from typing import Any

import parity
import pytest
import timm
import torch
import torch.nn.functional as F
from small_tpc_vit import SIZE, images, small
from torch import Tensor

from dynvit import list_models, load_trunk, trace_tokens, training_loss
from dynvit.macs import complexity, parameters
from dynvit.models.tpc_vit.smoothing import prior_loss

TRUNK = {"tiny": (5_717_416, 1_253_683_200), "small": (22_050_664, 4_598_882_304), "base": (86_567_656, 17_563_828_224)}
ADDED = {"tiny": (23_040, 4_064_256), "small": (46_080, 8_128_512), "base": (92_160, 16_257_024)}
MLP = {"tiny": 92_160, "small": 184_320, "base": 368_640}


@pytest.mark.parametrize("stabilizer", ["off", "dw_pre"])
@pytest.mark.parametrize("pause", [False, True])
def test_trunk_parity(pause: bool, stabilizer: str) -> None:
    """Fresh, it pauses nothing and the convolutions are zero: the official DeiT's logits."""
    fixture = parity.load("deit_tiny_patch16_224")
    options = {"pause": pause, "stabilizer": stabilizer, "score_scale": 0.01}  # untrained, channel 0 would pause
    model = timm.create_model("tpc_deit_tiny_patch16_224", **options)
    report = load_trunk(model.double().eval(), fixture.state_dict())
    assert report.unused == ()
    assert all(name.startswith(("stabilizer", "controller")) for name in report.kept)
    with torch.inference_mode():
        logits = model(fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_exact_cost_of_the_specification(size: str) -> None:
    # Untrained, channel 0 is noise and may pause a token here and there: scaled down, the spec's constant start.
    model = timm.create_model(f"tpc_deit_{size}_patch16_224", score_scale=0.01)
    cost = complexity(model, torch.randn(1, 3, 224, 224))
    assert cost.params == TRUNK[size][0] + ADDED[size][0] + 24
    assert cost.macs.tolist() == [TRUNK[size][1] + ADDED[size][1]]


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_exact_parameters_of_the_other_stabilizers(size: str) -> None:
    def count(**options: Any) -> int:
        with torch.device("meta"):
            return parameters(timm.create_model(f"tpc_deit_{size}_patch16_224", **options))

    assert count(stabilizer="off", pause=False) == TRUNK[size][0]
    assert count(stabilizer="dw_pre", pause=False) == TRUNK[size][0] + ADDED[size][0]
    assert count(stabilizer="dw_mlp") == TRUNK[size][0] + MLP[size] + 24
    assert count(stabilizer="peg_once") == TRUNK[size][0] + ADDED[size][0] // 12 + 24


@pytest.mark.parametrize("stabilizer", ["off", "dw_pre", "dw_mlp", "peg_once"])
def test_cost_counts_the_active_tokens_of_each_image(stabilizer: str) -> None:
    model, x = small(stabilizer=stabilizer), images()
    with torch.no_grad(), trace_tokens(model) as trace:
        model(x)
    C, N = 32, 36
    whole = {"off": 0, "dw_pre": 6 * 9 * C * N, "dw_mlp": 6 * 9 * 4 * C * N, "peg_once": 9 * C * N}[stabilizer]
    tokens = torch.stack(trace.active).sum(2).double() + 1
    blocks = (12 * C * C * tokens + 2 * C * tokens**2).sum(0)
    assert torch.equal(complexity(model, x).macs, blocks + whole + N * C * 16 + C * 5)
    assert len(set(blocks.tolist())) > 1


def test_losses_are_those_of_the_specification() -> None:
    model = small(smoothing="both").train()
    with trace_tokens(model) as trace:
        output = model(images())
    assert set(output.losses) == {"ponder", "prior"}
    pis = torch.stack(trace.scores)
    assert output.losses["ponder"].item() == pytest.approx(pis.mean((1, 2)).sum().item())
    kept = small(keep_rate=0.5, smoothing="spatial", budget_weight=3.0).train()
    with trace_tokens(kept) as trace:
        output = kept(images())
    assert set(output.losses) == {"budget"}
    each = torch.stack(trace.scores)[1:].mean((1, 2))
    assert output.losses["budget"].item() == pytest.approx((each - 0.5).square().mean().item())
    target = torch.tensor([0, 1, 2, 3])
    expected = F.cross_entropy(output.logits, target) + 3.0 * output.losses["budget"]
    assert training_loss(output, target).item() == pytest.approx(expected.item())


def test_prior_term_reads_the_breaks_of_the_patch_tokens() -> None:
    """Constant scores: b is the same in every layer, so the prior is that of a uniform distribution over depth."""
    model = small(score_scale=0.0, pause_offset=-3.0, restart=False).train()
    output = model(images())
    uniform = prior_loss(torch.full((6,), 0.0474, dtype=torch.float64))
    assert output.losses["prior"].item() == pytest.approx(uniform.item(), rel=1e-9)


def test_dense_arms_return_plain_logits() -> None:
    assert isinstance(small(pause=False).train()(images()), Tensor)
    assert isinstance(small()(images()), Tensor)


@pytest.mark.parametrize("pause", [True, False])
def test_distillation(pause: bool) -> None:
    model, target = small(pause=pause, distill_weight=0.5).train(), torch.tensor([0, 1, 2, 3])
    output, teacher = model(images()), torch.randn(4, 5, dtype=torch.float64)
    expected = F.cross_entropy(output.logits, target) + 0.5 * F.kl_div(
        output.logits.log_softmax(1), teacher.softmax(1), reduction="batchmean"
    )
    for name, term in output.losses.items():
        expected = expected + output.weights[name] * term
    assert training_loss(output, target, teacher).item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="teacher_logits"):
        training_loss(output, target)


def test_the_task_teaches_the_controller_through_the_gate() -> None:
    model = small(smoothing="none").train()
    model(images()).logits.square().sum().backward()
    gradient = model.controller.pause_shift.grad
    assert (gradient[:-2] != 0).all()
    assert (gradient[-2:] == 0).all()  # the last layer's patch tokens, and what follows, do not reach the class token


def _batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise with one brighter quarter, and which."""
    x, target = torch.randn(32, 1, 16, 16, generator=generator), torch.randint(0, 4, (32,), generator=generator)
    for image, quarter in zip(x, target.tolist(), strict=True):
        image[:, 8 * (quarter // 2) :][:, :8, 8 * (quarter % 2) :][..., :8] += 1.5
    return x, target


def _train(model: Any, steps: int, lr: float, amp: bool = False) -> list[float]:
    """The loss of each step."""
    generator, optimizer = torch.Generator().manual_seed(3), torch.optim.AdamW(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        x, target = _batch(generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = training_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _fresh(**options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model("tpc_deit_tiny_patch16_224", **{**SIZE, "img_size": 16, "depth": 4, **options})


@pytest.mark.parametrize("keep_rate", [0.5, 0.7])
def test_budget_brings_the_rate(keep_rate: float) -> None:
    model, (x, _) = _fresh(keep_rate=keep_rate).train(), _batch(torch.Generator().manual_seed(4))
    first = _train(model, 4, 3e-3)
    with trace_tokens(model) as trace:
        model(x)
    assert all(a.all() for a in trace.active), "no token pauses at the start"
    last = _train(model, 120, 3e-3)
    assert sum(last[-20:]) / 20 < first[0] - 0.3
    with trace_tokens(model) as trace:
        model(x)
    later = torch.tensor(trace.mean_active()[1:])
    assert later.mean().item() == pytest.approx(keep_rate, abs=0.15)
    assert trace.mean_active()[0] == 1


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"keep_rate": 0.5, "stabilizer": "dw_mlp", "score": "cls_attention"}], ids=str)
def test_training_stays_finite(amp: bool, options: dict[str, Any]) -> None:
    for lr in (1e-3, 1e-2):
        model = _fresh(drop_path_rate=0.1, **options).train()
        losses = _train(model, 15, lr, amp)
        assert torch.tensor(losses).isfinite().all()
        assert all(p.isfinite().all() for p in model.parameters())
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            assert model.eval()(torch.randn(4, 1, 16, 16)).isfinite().all()


def test_half_precision_weights() -> None:
    model = small().to(torch.bfloat16)
    with torch.no_grad(), trace_tokens(model) as trace:
        assert model(images(dtype=torch.bfloat16)).isfinite().all()
    assert trace.scores[1].dtype == torch.float32  # probabilities are not rounded to half precision


@pytest.mark.parametrize("options", [{}, {"score": "cls_attention", "stabilizer": "dw_mlp"}], ids=str)
def test_checkpointing_gives_the_same_gradients(options: dict[str, Any]) -> None:
    gradients = []
    for enable in (False, True):
        model = small(**options).train()
        model.set_grad_checkpointing(enable)
        training_loss(model(images()), torch.tensor([0, 1, 2, 3])).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)


def test_timm_citizen() -> None:
    model = small()
    x = images()
    features = model.forward_features(x)
    assert features.shape == (4, 37, 32)
    assert torch.equal(model.forward_head(features), model(x))
    final, states = model.forward_intermediates(x, indices=2)
    assert torch.equal(final, features)
    assert [s.shape for s in states] == [(4, 32, 6, 6)] * 2
    names = dict(model.named_parameters())
    assert model.no_weight_decay() >= {"cls_token", "pos_embed", "controller.pause_shift"}
    assert all(n in names for n in model.no_weight_decay() if n.startswith("controller"))
    groups = timm.models.group_parameters(model, model.group_matcher())
    layer_of = {name: layer for layer, members in groups.items() for name in members}
    assert layer_of["stabilizer.3.weight"] == layer_of["blocks.3.norm1.weight"]
    model.reset_classifier(7)
    assert model.get_classifier().out_features == model.num_classes == 7
    assert model.double()(x).shape == (4, 7)
    assert (model.img_size, model.in_chans, model.num_features, model.embed_dim) == (24, 1, 32, 32)


def test_other_image_and_patch_sizes() -> None:
    model = timm.create_model("tpc_deit_tiny_patch16_224", **{**SIZE, "img_size": 16, "patch_size": 2}).eval()
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 5)
    wide = timm.create_model("tpc_deit_tiny_patch16_224", **{**SIZE, "img_size": (8, 24)}, keep_rate=0.5).eval()
    assert wide(torch.randn(2, 1, 8, 24)).shape == (2, 5)
    report = load_trunk(model, timm.create_model("deit_tiny_patch16_224", **{**SIZE, "patch_size": 2}).state_dict())
    assert "pos_embed" in report.loaded  # 12 x 12 -> 8 x 8


def test_wrong_options() -> None:
    with pytest.raises(TypeError, match="did you mean 'keep_rate'"):
        timm.create_model("tpc_deit_tiny_patch16_224", keep_ratio=0.5)
    with pytest.raises(ValueError, match="pause"):
        timm.create_model("tpc_deit_tiny_patch16_224", pause="sometimes")
    with pytest.raises(ValueError, match="stabilizer"):
        timm.create_model("tpc_deit_tiny_patch16_224", stabilizer="dw")
    with pytest.raises(ValueError, match="peg_once"):
        small(stabilizer="peg_once", depth=1)
    with pytest.raises(ValueError, match="execution"):
        small().set_execution("fast")
    assert {f"tpc_deit_{s}_patch16_224" for s in ("tiny", "small", "base")} <= set(list_models("tpc_vit"))
