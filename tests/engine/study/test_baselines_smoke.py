"""Methods made for fine-tuning train in the study `baselines_smoke`, from its DeiT and with losses of their own."""

import json
from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from dynvit.reduction.reducer import REDUCERS
from studies.engine.cli.main import cli

ROOT = Path(__file__).parents[3]


def test_methods_are_fine_tuned_with_their_own_losses(tmp_path):
    study = ["run", "baselines_smoke", "--smoke", "--only", "method=DynamicViT,A-ViT,dTPS"]
    done = CliRunner().invoke(cli, [*study, "--on", "inline", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "baselines_smoke@smoke/trials.csv").set_index("axis.method")
    rows = rows[rows["status"] == "done"]
    assert sorted(rows.index) == ["A-ViT", "DeiT", "DynamicViT", "dTPS"]  # all start from the part's DeiT
    assert (rows["model.gflops"] > 0).all()
    assert rows.loc["DynamicViT", "metric.active_share"] < 1  # tokens really go
    assert rows.loc["dTPS", "metric.gflops"] < rows.loc["DeiT", "metric.gflops"]
    logged = {method: losses(tmp_path / "trials" / str(rows.loc[method, "trial"])) for method in rows.index}
    assert {"loss.ratio", "loss.distillation"} <= logged["DynamicViT"]
    assert "loss.ratio" in logged["dTPS"]
    assert {"loss.ponder", "loss.distribution"} <= logged["A-ViT"]


def losses(trial):
    events = [json.loads(line)["m"] for line in (trial / "events.jsonl").read_text().splitlines()]
    return {key for event in events for key in event if key.startswith("loss.")}


def test_every_method_of_the_package_is_in_the_study():
    import dynvit

    text = (ROOT / "studies/baselines_smoke.yaml").read_text()
    methods = {name.rsplit("_patch", 1)[0].rsplit("_", 1)[0] for name in dynvit.list_models() if "patch" in name}
    assert all(method in text for method in methods)
    assert all(f"{family}_" in text for family in ("sret", "lvvit", "evo_levit", "tpc_lvvit", "dynamicvit_lvvit"))
    trained = [name for name, reducer in REDUCERS.items() if not reducer.training_free]
    assert all(f"reducer: {{name: {name}," in text for name in trained)
