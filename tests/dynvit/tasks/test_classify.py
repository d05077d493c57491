"""Task `classify`: what it measures and reports, and how it fails."""

import dataclasses
import math
import subprocess
import sys

import pytest
import timm
import torch
from small_task import MODEL, Folder, SmallDynamic, config, numbers, prepared, register, replaced, undeclared

import dynvit
from dynvit.context import NullContext
from dynvit.models.build import build_model
from dynvit.tasks import classify
from dynvit.tasks.classify import Config, Data, Evaluation, Mix, Train, run
from dynvit.train.amp import amp_dtype
from dynvit.train.distributed import ProcessGroup
from dynvit.train.evaluate import evaluate, generalization_gap, throughput
from dynvit.train.loop import fit
from dynvit.train.metrics import NotFinite
from dynvit.train.optimizer import build_optimizer, build_scheduler
from dynvit.train.predictions import predictions
from dynvit.train.result import measure

register()


@pytest.fixture(scope="module")
def trained():
    context = NullContext(seed=1)
    return run(config(), context), context


def test_what_a_trial_has_is_what_the_task_declares(trained):
    result, context = trained
    assert undeclared(classify.METRICS, result, context) == set()


def test_result(trained):
    result, _ = trained
    metrics, cost = result["metrics"], result["cost"]
    assert set(metrics) == {
        "best", "last", "gflops", "params_m", "images_per_second", "mean_depth", "active_share", "generalization_gap",
        "depth_spread_within", "depth_spread_between", "isolated_pauses",
    }  # fmt: skip
    assert set(metrics["best"]) == set(metrics["last"]) == {"top1", "top5", "loss", "epoch"}
    assert set(cost) == {"seconds", "gpu_seconds", "peak_memory_mb", "params", "gflops"}
    model = SmallDynamic()
    evaluated = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("guide"))
    assert cost["params"] == evaluated == metrics["params_m"] * 1e6
    assert metrics["gflops"] == cost["gflops"] == (16 * 4 * 16 + 2 * 16 * 16 * 16 + 16 * 16 * 10) / 1e9
    assert metrics["images_per_second"] > 0
    assert cost["seconds"] > 0
    assert cost["gpu_seconds"] == 0
    assert 50 < cost["peak_memory_mb"] < 20_000


def test_curves(trained):
    result, context = trained
    assert [step for step, _ in context.history] == [1, 2, 3]
    for _, values in context.history:
        assert set(values) == {
            "train.loss", "train.top1", "val.loss", "val.top1", "val.top5", "loss.guide", "loss.other", "lr",
            "active.layer00", "active.layer01", "active.mean", "images_per_second", "train.images_per_second",
        }  # fmt: skip
        assert all(isinstance(v, float) and math.isfinite(v) for v in values.values())
        assert values["active.layer00"] == 1
        assert 0.5 <= values["active.layer01"] < 0.7
        assert values["active.mean"] == (values["active.layer00"] + values["active.layer01"]) / 2
        assert 0 <= values["val.top1"] <= values["val.top5"] <= 100
    last = context.history[-1][1]
    assert result["metrics"]["last"] == {**{k: last[f"val.{k}"] for k in ("loss", "top1", "top5")}, "epoch": 3.0}
    assert result["metrics"]["mean_depth"] == pytest.approx(1 + last["active.layer01"])
    assert result["metrics"]["active_share"] == last["active.mean"]
    assert result["metrics"]["best"]["top1"] == max(v["val.top1"] for _, v in context.history)


def test_it_learns(trained):
    _, context = trained
    losses = [values["val.loss"] for _, values in context.history]
    assert losses[-1] < losses[0] < math.log(10) + 0.2
    assert context.history[-1][1]["val.top1"] > 20


def test_learning_rate_warms_up_and_falls(trained):
    _, context = trained
    rates = [values["lr"] for _, values in context.history]
    assert rates[0] == pytest.approx(1e-5 + (1e-2 - 1e-5) * 9 / 10)
    assert rates[0] > rates[1] > rates[2] > 1e-5


def test_equal_seeds_equal_numbers(trained):
    result, context = trained
    again = NullContext(seed=1)
    assert numbers(run(config(), again), again) == numbers(result, context)
    other = NullContext(seed=2)
    assert numbers(run(config(), other), other) != numbers(result, context)


def test_arms_of_a_seed_share_data_and_initialisation(monkeypatch):
    """An arm that draws more random numbers (dropout) changes neither the order nor the first weights."""
    seen = []
    original = SmallDynamic.forward

    def watched(self, x):
        if self.training:
            seen.append((x.clone(), self.head.weight.detach().clone()))
        return original(self, x)

    monkeypatch.setattr(SmallDynamic, "forward", watched)
    for model in ({}, {"drop_path_rate": 0.5}):
        run(config(model, epochs=1), NullContext(seed=3))
    one, other = seen[:10], seen[10:]
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(one, other, strict=True))
    assert torch.equal(one[0][1], other[0][1])
    assert not torch.equal(one[-1][1], other[-1][1])


def test_set_epoch_and_execution(monkeypatch):
    made = []
    original = SmallDynamic.__init__

    def watched(self, *args, **options):
        original(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(SmallDynamic, "__init__", watched)
    run(config(epochs=2), NullContext())
    assert made[0].epochs_seen == [(0, 2), (1, 2)]
    assert made[0].execution == "masked"  # gathered while evaluating, then as before


def test_not_finite_loss_names_step_and_terms():
    with pytest.raises(NotFinite, match=r"not finite in epoch 2, step 4: loss nan, guide [\d.e-]+, other nan"):
        run(config({"poison": 14}), NullContext())


def test_no_checkpoint_of_lost_weights(tmp_path, monkeypatch):
    """Where the loss is looked at rarely (on a GPU), a save looks first."""
    monkeypatch.setattr("dynvit.train.loop.CHECK_EVERY", {"cpu": 1000})
    context = Folder(tmp_path, save_at=(16,))
    with pytest.raises(NotFinite, match="epoch 2, step 4"):
        run(config({"poison": 14}), context)
    assert not (tmp_path / "last.pt").exists()


def test_evaluation_counts_right():
    class Scores(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10]

    class Two:
        def validation(self):
            scores = torch.arange(10.0).flip(0).repeat(4, 1).view(4, 1, 1, 10)
            yield scores, torch.tensor([0, 1, 4, 5])
            yield scores[:1], torch.tensor([9])

    found = evaluate(Scores(), Two(), 0, None)
    assert (found.top1, found.top5) == (20.0, 60.0)
    logits = torch.arange(10.0).flip(0)
    expected = torch.nn.functional.cross_entropy(logits.repeat(5, 1), torch.tensor([0, 1, 4, 5, 9]))
    assert found.loss == pytest.approx(expected.item(), rel=1e-6)
    assert found.active == []
    assert found.depth is None


class Given(torch.nn.Module):
    """Images are logits."""

    def forward(self, x):
        return x.flatten(1)


def test_equal_logits_give_one_answer_everywhere():
    """In half precision the highest logits are often equal; the kept predictions are those that top-1 counts."""
    torch.manual_seed(0)
    scores, target = torch.randint(0, 3, (200, 1, 1, 12)).float(), torch.randint(0, 12, (200,))

    class Ties:
        steps, batch_size, validation_size = 1, 200, 200

        def validation(self):
            yield scores, target

        def seen(self, count):
            yield scores, target

    answers, _ = predictions(Given(), Ties(), None)
    right = answers == target
    assert 100 * right.double().mean().item() == evaluate(Given(), Ties(), 0, None).top1
    assert generalization_gap(Given(), Ties(), right, None) == 0


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_outputs_that_are_no_numbers_are_no_answers(odd):
    scores = torch.zeros(8, 1, 1, 10)
    scores[2:4, 0, 0, 5] = odd

    class Broken:
        def validation(self):
            yield scores, torch.arange(8)

    with pytest.raises(NotFinite, match="validation loss is nan: the model's outputs for 2 of 8 images are no numbers"):
        evaluate(Given(), Broken(), 0, None)


def test_the_gap_compares_equal_numbers_of_images():
    class Scores(torch.nn.Module):
        def forward(self, x):
            return x

    class Uneven:
        """Six training images of seven fill batches, all right."""

        steps, batch_size, validation_size = 3, 2, 9

        def seen(self, count):
            yield torch.eye(count), torch.arange(count)

    right = torch.tensor([False, False, False, True, True, True, False, False, False])  # three of the first six
    assert generalization_gap(Scores(), Uneven(), right, None) == 50


def test_the_gap_of_a_trial_is_of_its_last_weights():
    options = config(data={"limit": 100, "val_limit": 140})  # 96 fill three batches
    context = NullContext()
    state, data = prepared(options, context)
    fit(state, data, options, context, ProcessGroup(context))
    found = measure(state, data, options, context, ProcessGroup(context))["metrics"]["generalization_gap"]
    seen, unseen = (list(map(torch.cat, zip(*batches, strict=True))) for batches in (data.seen(96), data.validation()))
    with torch.no_grad():
        right = [(state.model.eval()(x[:96]).argmax(1) == target[:96]).sum().item() for x, target in (seen, unseen)]
    assert found == pytest.approx(100 * (right[0] - right[1]) / 96)


def test_the_best_epoch_is_chosen_where_it_is_not_reported():
    plain = config(data={"choose": 200}, epochs=6, lr=0.02, schedule="constant")
    context = NullContext(seed=2)
    metrics = run(plain, context)["metrics"]
    assert undeclared(classify.METRICS, {"metrics": metrics}, context) == set()
    epochs = [values for _, values in context.history]
    best = max(epochs, key=lambda values: (values["choose.top1"], -values["choose.loss"]))
    assert metrics["best"]["top1"] == best["val.top1"] and metrics["last"]["top1"] == epochs[-1]["val.top1"]
    assert metrics["best"]["epoch"] == epochs.index(best) + 1
    highest = max(epochs, key=lambda values: (values["val.top1"], -values["val.loss"]))
    assert highest["val.top1"] > best["val.top1"]  # an epoch that would have been chosen on the reported images


def test_throughput_is_the_median(monkeypatch):
    clock = iter([x for s in (9, 9, 1, 2, 2, 2, 50) for x in (0.0, float(s))])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert throughput(SmallDynamic(), torch.zeros(10, 1, 8, 8), 5, None) == 5.0  # two warm-up passes, median 2 s


def test_plain_timm_model_and_its_options():
    width = {"embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 4}
    options = Config(
        model={"name": "deit_tiny_patch16_224", **width},
        data=Data(image_size=8, limit=64, val_limit=40),
        train=Train(epochs=1, warmup_epochs=0, batch_size=32),
        evaluation=Evaluation(timed_batches=1),
    )
    result = run(options, NullContext())
    model = timm.create_model(
        "deit_tiny_patch16_224",
        embed_dim=12,
        depth=2,
        num_heads=2,
        patch_size=4,
        img_size=8,
        in_chans=1,
        num_classes=10,
    )
    assert result["cost"]["params"] == sum(p.numel() for p in model.parameters())
    assert result["metrics"]["gflops"] * 1e9 == dynvit.complexity(model, torch.zeros(1, 1, 8, 8)).macs.item()
    assert result["metrics"]["mean_depth"] == 2


def test_kept_weights_open_in_timm(tmp_path):
    context = Folder(tmp_path)
    run(dataclasses.replace(config(epochs=1), keep_checkpoint=True), context)
    model = timm.create_model(MODEL, checkpoint_path=str(tmp_path / "last.safetensors"))
    assert model.steps == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.safetensors", "last.pt", "last.safetensors"]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["epoch"] == 1


def test_bfloat16_trains():
    context = NullContext()
    run(config(epochs=1, amp="bfloat16"), context)
    full = NullContext()
    run(config(epochs=1), full)
    assert context.history[0][1]["train.loss"] == pytest.approx(full.history[0][1]["train.loss"], rel=0.02)
    assert context.history[0][1]["train.loss"] != full.history[0][1]["train.loss"]


def test_amp_choice():
    assert amp_dtype("auto", "cpu") is None
    assert amp_dtype("off", "cuda:0") is None
    assert amp_dtype("bfloat16", "cpu") is torch.bfloat16


def test_sgd_without_momentum_is_plain():
    found = build_optimizer(torch.nn.Linear(2, 2), Train(optimizer="sgd", momentum=0.0))
    assert {(group["nesterov"], group["momentum"]) for group in found.param_groups} == {(False, 0.0)}


def test_optimiser_spares_biases_and_norms():
    model = timm.create_model("deit_tiny_patch16_224", embed_dim=12, depth=1, num_heads=2)
    found = build_optimizer(model, Train(weight_decay=0.1))
    decayed = {id(p) for group in found.param_groups if group["weight_decay"] for p in group["params"]}
    assert id(model.blocks[0].mlp.fc1.weight) in decayed
    assert not {id(model.pos_embed), id(model.cls_token), id(model.norm.weight), id(model.head.bias)} & decayed
    assert all(group["fused"] for group in found.param_groups)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1.0] * 5), ("linear", [1.0, 0.75, 0.5, 0.25, 0.0]), ("cosine", [1.0, 0.854, 0.5, 0.146, 0.0])],
)
def test_schedules(schedule, rates):
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    options = Train(lr=1.0, min_lr=0.0, warmup_epochs=0, epochs=2, schedule=schedule, optimizer="sgd")
    found = torch.optim.SGD([parameter], lr=1.0)
    plan = build_scheduler(found, options, 4)
    reached = []
    for update in (0, 2, 4, 6, 8):
        plan.step_update(update)
        reached.append(found.param_groups[0]["lr"])
    assert reached == pytest.approx(rates, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": Train(warmup_epochs=9, epochs=3)}, ValueError, "warmup_epochs 9 is more than train.epochs 3"),
        ({"data": Data(limit=20)}, ValueError, "20 training images, fewer than one batch of 32"),
        ({"model": {}}, ValueError, "model needs a name"),
        ({"model": {"name": "no_such_model"}}, ValueError, "no model no_such_model"),
    ],
)
def test_wrong_configs(changes, error, message):
    with pytest.raises(error, match=message):
        run(dataclasses.replace(Config(), **changes), NullContext())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": Train(epochs=-1, warmup_epochs=0)}, "train.epochs must be >= 0, got -1"),
        ({"train": Train(batch_size=0)}, "train.batch_size must be >= 1, got 0$"),
        ({"train": Train(lr=-1.0)}, "train.lr must be above 0, got -1"),
        ({"train": Train(lr=math.nan)}, "train.lr must be above 0, got nan"),
        ({"train": Train(weight_decay=math.nan)}, "train.weight_decay must be >= 0, got nan"),
        ({"train": Train(lr_batch=-8)}, "train.lr_batch must be >= 0, got -8"),
        ({"train": Train(clip_grad=0.0)}, r"train.clip_grad must be above 0 \(null: no clipping\), got 0"),
        ({"train": Train(clip_grad=-1.0)}, "train.clip_grad must be above 0 .*, got -1"),
        ({"train": Train(betas=(0.9,))}, r"train.betas must be two numbers from 0 to below 1, got \[0.9\]"),
        ({"train": Train(betas=(0.9, 1.0))}, "train.betas must be two numbers"),
        ({"train": Train(momentum=1.0)}, "train.momentum must be from 0 to below 1, got 1"),
        ({"train": Train(mix=Mix(off_epoch=-1))}, "train.mix.off_epoch must be >= 0, got -1"),
        ({"evaluation": Evaluation(counted_images=0)}, "evaluation.counted_images must be >= 1, got 0"),
        ({"evaluation": Evaluation(traced_images=-3)}, "evaluation.traced_images must be >= 0, got -3"),
        ({"train": Train(drop_path=1.0)}, "train.drop_path must be from 0 to below 1, got 1"),
        ({"data": Data(image_size=0)}, "data.image_size must be >= 1, got 0"),
        ({"data": Data(labels=(0, 11))}, "data.labels: digits has the classes 0 to 9, not 11"),
    ],
)
def test_amounts_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(Config(), **changes)


def test_global_settings_are_left_as_they_were():
    before = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    run(config(epochs=1), NullContext())
    after = (torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory)
    assert after == before


def test_smoke_patch_names_real_keys():
    for key in classify.SMOKE:
        value = Config()
        for name in key.split("."):
            value = getattr(value, name)


def test_drop_path_reaches_the_model():
    state, _ = prepared(config(drop_path=0.25), NullContext())
    assert state.model.rate == 0.25
    assert build_model({"name": MODEL, "drop_path_rate": 0.5}, drop_path_rate=0.25).rate == 0.5


def test_folder_task(tmp_path, monkeypatch):
    """From image files to a result, decoded by this process."""
    import numpy as np
    from PIL import Image

    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8) + np.uint8(120 * label)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    options = replaced(
        config(epochs=2, batch_size=4), "data", name="folder", root=str(tmp_path), in_memory="never",
        augment=classify.Augment(flip=True), limit=None, val_limit=None,
    )  # fmt: skip
    result = run(options, NullContext())
    assert result["metrics"]["best"]["top5"] == 100  # two classes


def test_trials_need_neither_engine_nor_tables():
    """A GPU node has torch and timm; what plans studies and draws tables is not there."""
    code = """
import sys
for name in "ray mlflow submitit pydantic pandas click rich yaml seaborn matplotlib scipy".split():
    sys.modules[name] = None  # importing it fails
from dynvit.context import NullContext
from dynvit.tasks.classify import Config, Data, Train, run
width = {"embed_dim": 12, "depth": 1, "num_heads": 2, "patch_size": 4}
config = Config({"name": "vit_tiny_patch16_224", **width}, Data(limit=64), Train(epochs=1, warmup_epochs=0))
assert run(config, NullContext())["metrics"]["last"]["epoch"] == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
