"""What a plan says about time and memory before anything has run, and which arms do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from finished_trial import finish
from study_text import write

from studies.engine.cli.main import cli
from studies.engine.cli.options import UsageError
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.core.errors import StudyError
from studies.engine.core.trial import Resources
from studies.engine.planning.forecast import gpus, model_costs, requirements
from studies.engine.planning.selection import Selection
from studies.engine.storage.results_dir import Store

WORK = """
def work(config):
    epochs = config["train"]["epochs"]
    return {"size": 32, "channels": 3, "classes": 10, "batch": 100, "images": 1000000 * epochs, "seen": 0,
            "steps": 10000 * epochs, "amp": True, "held": 0, "copies": 0, "taught": 0}
def weigh(options, size, channels, classes):
    if options.get("recursion") == 3:
        raise ValueError("three is too many")
    n = options.get("recursion", 1)
    return {"params": 1e9 * n, "macs": 1e9 * n, "saved": 2e8, "saved_amp": 1e8 * n, "ops": 100}
"""
SMALL = ("--scale", "tiny")


def studies(*arguments: str) -> Result:
    """With the exit code that `main` would give."""
    shown = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if isinstance(shown.exception, UsageError):
        shown.stdout_bytes, shown.exit_code = str(shown.exception).encode(), 2
        shown.output_bytes = shown.stdout_bytes
    else:
        assert shown.exception is None, shown.exception
        shown.exit_code = shown.return_value
    return shown


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small study, with a task that describes its work; no model is profiled yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNVIT_RESULTS", raising=False)
    monkeypatch.delenv("DYNVIT_DEVICE", raising=False)
    write(tmp_path / "studies")
    with open(tmp_path / "studies" / "task.py", "a") as f:
        f.write(WORK)
    return tmp_path


def with_resources(folder: Path, text: str) -> None:
    file = folder / "studies" / "small.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("resources:")]
    file.write_text("\n".join([*lines, f"resources: {text}"]) + "\n")


def line(shown: Result, word: str) -> str:
    return next(text for text in shown.output.splitlines() if text.startswith(word))


def test_models_without_cost_data_are_reported(small: Path) -> None:
    shown = studies("plan", "small", *SMALL)
    assert shown.exit_code == 0
    assert line(shown, "cost") == "cost      not measured yet"
    assert "--count profiles them here" in line(shown, "unprofiled")
    assert not (small / "results").exists()


def test_a_model_is_profiled_once(small: Path) -> None:
    with_resources(small, "{gpus: 1}")
    shown = studies("plan", "small", *SMALL, "--count", "--device", "60:80")
    assert "ValueError: three is too many" in shown.output
    kept = json.loads((small / "results" / model_costs.CACHE).read_text())
    assert {value["macs"] for value in kept.values()} == {1e9, 2e9}
    assert all("recursion=3" not in key for key in kept)
    again = studies("plan", "small", *SMALL, "--device", "60:80")
    assert line(again, "cost") == line(shown, "cost")
    assert "60 TFLOP/s as given" in line(again, "cost")
    assert "1 model" in line(again, "unprofiled")


def test_the_numbers(small: Path) -> None:
    with_resources(small, "{gpus: 0.5, nodes: 1}")
    plan_selection(Selection("small", scale="tiny"), count=True)
    estimate = plan_selection(Selection("small", scale="tiny", only=("part=rate",)), device="60:80").estimate
    assert estimate is not None
    passes, epochs = 2, 2  # sret_tiny's own recursion; the scale's epochs
    assert estimate.seconds_per_trial == pytest.approx(6 * 1e9 * passes * 1_000_000 * epochs / (60e12 * 0.5))
    assert estimate.gpu_hours == pytest.approx(estimate.seconds * 0.5 / 3600)
    assert estimate.memory_gb == pytest.approx(0.6 + passes * (16 + 1.2 * 0.1 * 100))
    assert (estimate.measured_on, estimate.forecast, estimate.unknown, estimate.memory_available) == (0, 4, 0, 40)


def test_an_arm_that_does_not_fit_is_reported_with_the_reason(small: Path) -> None:
    with_resources(small, "{gpus: 0.5, minutes: 1}")
    plan_selection(Selection("small", scale="tiny"), count=True)
    shown = studies("plan", "small", *SMALL, "--device", "a10")
    assert shown.exit_code == 2
    assert "GB, 0.5 of an a10 has 12 GB" in shown.output
    assert "minutes, resources.minutes is 1" in shown.output
    assert shown.output.count("net baseline: about") == 2  # once for all its seeds
    with_resources(small, "{gpus: 4, minutes: 10000}")
    assert studies("plan", "small", *SMALL, "--device", "h200").exit_code == 0


def test_memory_of_a_machine_without_gpu(small: Path) -> None:
    with_resources(small, "{gpus: 0, memory_gb: 8}")
    plan_selection(Selection("small", scale="tiny"), count=True)
    shown = studies("plan", "small", *SMALL)
    assert shown.exit_code == 2
    assert "resources.memory_gb is 8" in shown.output
    assert "50 GFLOP/s a core assumed" in line(shown, "cost")


def test_run_refuses_it_for_a_device_that_was_named(small: Path) -> None:
    with_resources(small, "{gpus: 1, minutes: 1}")
    plan_selection(Selection("small", scale="tiny"), count=True)
    shown = studies("run", "small", *SMALL, "--on", "inline", "--device", "t4", "--yes")
    assert shown.exit_code == 2
    assert "resources.minutes is 1" in shown.output
    assert not (small / "results" / "trials").exists()


def test_measured_trials_count_and_correct_the_forecast_of_others(small: Path) -> None:
    with_resources(small, "{gpus: 0}")
    first = plan_selection(Selection("small", scale="tiny"), count=True)
    rate = [t for t in first.trials if t.arm.part == "rate"]
    alone = plan_selection(Selection("small", scale="tiny", only=("part=rate",))).estimate
    assert alone is not None
    finish(Store(Path("results")), rate[0], seconds=3 * alone.seconds_per_trial)
    after = plan_selection(Selection("small", scale="tiny", only=("part=net",))).estimate
    assert after is not None
    assert (after.measured_on, after.forecast, after.unknown) == (1, 6, 0)  # the mean for recursion=3
    of_passes = (2 + 1 + 2) / 3 / 2
    known = (after.seconds - 2 * 3 * alone.seconds_per_trial) / 6
    assert known == pytest.approx(3 * alone.seconds_per_trial * of_passes, rel=0.01)


# ---- devices


def test_devices() -> None:
    assert gpus.find("h200").memory_gb == 141
    assert (gpus.find("60:80").tflops, gpus.find("60:80").memory_gb) == (60, 80)
    spoken = [gpus.find(name).name for name in ("t4", "h100", "rtx4090", "60:11", "60:24")]
    assert spoken == ["a t4", "an h100", "an rtx4090", "an 11 GB", "a 24 GB"]
    for wrong in ("h300", "60", "0:80", "60:80:1"):
        with pytest.raises(ValueError, match=wrong):
            gpus.find(wrong)


def test_an_unknown_device_is_an_argument_error(small: Path) -> None:
    with pytest.raises(StudyError, match=r"--device  no device h300: h200, h100"):
        plan_selection(Selection("small"), device="h300")


# ---- the models of the studies


def test_every_model_of_every_study_is_profiled() -> None:
    """Otherwise run: python benchmarks/model_costs.py."""
    missing = {}
    for name in ("redundancy_ablation", "sret", "evo_vit", "mor_vit", "tpc_vit", "token_redundancy", "cifar10"):
        study = plan_selection(Selection(name, results=Path("nowhere"))).study
        for scale in study.scales:
            estimate = plan_selection(Selection(name, results=Path("nowhere"), scale=scale)).estimate
            missing[f"{name}@{scale}"] = None if estimate is None else (estimate.unprofiled, estimate.unknown)
    assert set(missing.values()) == {(0, 0)}, missing


def test_published_sizes_are_met() -> None:
    known = model_costs.load(Path("nowhere"))
    plain = next(v for k, v in known.items() if k == "deit_tiny_patch16_224 3x224 1000 classes")
    assert (plain.params, plain.macs) == (5717416, 1253683200)
    assert plain.saved_amp < plain.saved


def test_no_torch_and_no_time(small: Path) -> None:
    script = (
        "import sys; from studies.engine.cli.study_lookup import plan_selection;"
        "from studies.engine.planning.selection import Selection; from pathlib import Path;"
        "plan_selection(Selection('redundancy_ablation', results=Path('nowhere'), scale='imagenet'));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    plan = plan_selection(Selection("redundancy_ablation", results=Path("nowhere"), scale="imagenet"))
    from studies.engine.planning.forecast.requirements import forecast

    trials = plan.trials * 100
    started = time.process_time()
    forecast(trials, plan.study.task, Path("nowhere"), gpus.find(None))
    assert time.process_time() - started < 0.5  # 11500 trials


def test_what_one_process_does_alone_is_not_divided_by_their_number():
    work = {"amp": False, "copies": 0, "batch": 1, "held": 0, "images": 0, "taught": 0, "steps": 0}
    model = model_costs.ModelCost(macs=1e9)

    def seconds(processes: int, **counts: int) -> float | None:
        resources = Resources(processes=processes)
        return requirements._requirement({**work, **counts}, [model], resources, gpus.Gpu("", 1, 1, "")).seconds

    assert seconds(2, seen=1000) == seconds(1, seen=500)
    assert seconds(2, seen=0, alone=1000) == seconds(1, seen=0, alone=1000) == seconds(1, seen=1000)
