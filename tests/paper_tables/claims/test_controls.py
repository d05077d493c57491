"""A rule that its control passes is no rule: all rules of the repository, on noise and on untrained models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import planned_studies
import pytest
import timm
import torch

import dynvit  # noqa: F401 (registers the models)
from dynvit.analysis.analyse import analyse
from dynvit.analysis.token_states import token_states
from paper_tables.claims.judge import judge_claim
from paper_tables.claims.verdicts import ConditionResult
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.claims import Claim, Condition

EXAMPLE = Path(__file__).parents[3] / "results" / "example"
SEEDS = 20
WORLDS = 4
SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 64, "depth": 6, "num_heads": 4, "num_classes": 10}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned_studies.write(tmp_path_factory.mktemp("planned"), scales=("laptop",))


def judged_in(library: StudyFrames) -> list[tuple[Claim, ConditionResult]]:
    claims = planned_studies.claims(library.own.study)
    return [(claim, one) for claim in claims for one in judge_claim(claim, library).tested]


def filled(folder: Path, values: Callable[[str, pd.DataFrame], Mapping[str, np.ndarray]], seeds: int) -> StudyFrames:
    """The planned frame and its neighbors with every trial done; `values(study, rows)` are the metrics."""

    def of(name: str) -> StudyFrames:
        library = StudyFrames(folder.parent / name, load_frame(folder.parent / name))
        arms = library.own.rows.drop_duplicates(["part", "arm"])
        rows = pd.concat([arms.assign(seed=s, status="done") for s in range(seeds)], ignore_index=True)
        rows["trial"] = [f"{i:012x}" for i in range(len(rows))]
        columns = {f"metric.{metric}": column for metric, column in values(name, rows).items()}
        return StudyFrames(library.folder, replace(library.own, rows=rows.assign(**columns)))

    library = of(folder.name)
    library.read = {other: of(other).own for other in ("cost", "token_redundancy") if other != folder.name}
    return library


def sampled(one: ConditionResult) -> bool:
    return one.condition.kind in ("sampled", "measured")


World = Callable[[str, pd.DataFrame, int], dict[str, np.ndarray]]


def all_alike(study: str, rows: pd.DataFrame, world: int) -> dict[str, np.ndarray]:
    """A world without effects: every metric is the same for all arms but for the seed; what learned nothing guesses."""
    draw = np.random.default_rng(world)
    guesses = rows.get("axis.control", pd.Series("none", rows.index)).isin(["untrained", "shuffled"])
    top1 = np.where(guesses, draw.binomial(360, 0.1, len(rows)) / 3.6, draw.normal(80, 1, len(rows)))
    names = {m for c in planned_studies.conditions() for m in (*(c.metric or ()), *(c.against_metric or ()))}
    counted = {"params_m", "gflops", "mac_ratio"}
    others = {name: draw.normal(1, 0.1, len(rows)) for name in sorted(names - {"top1", *counted})}
    return {"top1": top1, **others, "gflops": np.ones(len(rows))}


def nothing_learned(study: str, rows: pd.DataFrame, world: int) -> dict[str, np.ndarray]:
    """A world in which no arm has learned anything, as with a learning rate of 0."""
    guesses = np.random.default_rng(world).binomial(360, 0.1, len(rows)) / 3.6
    return all_alike(study, rows, world) | {"top1": guesses}


@pytest.mark.parametrize("world", [all_alike, nothing_learned])
def test_a_world_without_effects_reproduces_nothing(world: World, planned: Path) -> None:
    """More often than error allows: rules of gain fail, and of rules of "not worse" their controls pass too."""
    reproduced, judged = list[str](), 0
    for study in planned_studies.STUDIES:
        for number in range(WORLDS):
            library = filled(planned / study, partial(world, world=number), SEEDS)
            for claim, one in judged_in(library):
                if not sampled(one) or one.n == 0 or (world is all_alike and not one.condition.against):
                    continue
                judged += 1
                reproduced += [claim.name] * (one.verdict == "reproduced")
    assert judged > 25 * WORLDS
    assert len(reproduced) <= 0.025 * judged, Counter(reproduced)
    assert max(Counter(reproduced).values(), default=0) <= WORLDS / 2, Counter(reproduced)


@pytest.mark.parametrize("study", planned_studies.STUDIES)
def test_what_learned_nothing_passes_no_rule(study: str, planned: Path) -> None:
    """Beside arms that all learned the same. An arm that was trained may be as good as the one it controls."""
    library = filled(planned / study, partial(all_alike, world=0), SEEDS)
    controls = [(c, one) for c, tested in judged_in(library) for one in tested.controls if _learned_nothing(one)]
    assert [f"{c.name}: {one.condition.label}" for c, one in controls if one.passes] == []


def _learned_nothing(control: ConditionResult) -> bool:
    return any(side.arm.coords.get("control") in ("untrained", "shuffled") for side in control.sides)


# ---- small untrained models


def images(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def untrained(study: str, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Measure the arms of study tpc_vit, mor_vit and token_redundancy that are not trained; NaN for others."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    columns: dict[str, list[float]] = {}
    for row in rows.to_dict("records"):
        name, options = _model(study, row)
        key = (name, *map(str, options.items()), str(row["seed"]))
        if name and key not in found:
            torch.manual_seed(row["seed"])
            model = timm.create_model(name, **SMALL, **options).eval()
            found[key] = _measures(study, model)
        for metric in METRICS:
            columns.setdefault(metric, []).append(found.get(key, {}).get(metric, np.nan))
    return {metric: np.array(values) for metric, values in columns.items()}


METRICS = (
    "isolated_pauses", "pause_flips", "depth_spread_between", "returned_attention", "returned_same_layer_attention"
)  # fmt: skip


def _model(study: str, row: dict[str, str]) -> tuple[str, dict[str, object]]:
    bare = row.get("axis.control") == "untrained"
    if study == "tpc_vit" and row["part"] == "deit" and bare:
        return "tpc_deit_tiny_patch16_224", {"keep_rate": 0.7, "smoothing": row["axis.smoothing"]}
    if study == "mor_vit" and row["part"] == "token" and (bare or row["arm"] == "routing=random"):
        return "mor_vit_tiny_patch16_224", {"routing": row["axis.routing"], "recursion": 4}
    if study == "token_redundancy" and row["axis.method"] == "deit" and bare:
        return "deit_tiny_patch16_224", {}
    return "", {}


def _measures(study: str, model: torch.nn.Module) -> dict[str, float]:
    if study != "token_redundancy":
        return token_states(model, [images()])
    pairs = analyse(model, [images()], ["attention"], 0.3).layer_pairs["attention"].summary()
    return {f"{name}_attention": value for name, value in pairs.items()}


@pytest.mark.parametrize("study", ["tpc_vit", "mor_vit"])
def test_untrained_models_pass_what_holds_by_construction_and_nothing_else(study: str, planned: Path) -> None:
    library = filled(planned / study, untrained, 8)
    judged = set()
    for claim, one in judged_in(as_if_reproduced(library)):
        assert not sampled(one) or one.verdict != "reproduced", claim.name
        for control in one.controls:
            if control.condition.metric and control.condition.metric[0] in METRICS and control.passes is not None:
                assert control.passes == bool(one.condition.by_construction), f"{claim.name}: {control.estimate}"
                judged.add((claim.name, control.passes))
    assert judged >= JUDGED[study]


JUDGED = {
    "tpc_vit": {
        ("redundancy_moves", True),
        ("smoothing_removes_outliers", True),
    },
    "mor_vit": {("input_dependent", True)},
}
"""Claims whose controls must be among those judged, with whether they pass."""


def as_if_reproduced(library: StudyFrames) -> StudyFrames:
    """Give trained arms, which are not measured here, the mean of the untrained, so that their controls are judged."""
    for frame in (library.own, *library.others().values()):
        for metric in METRICS:
            column = f"metric.{metric}"
            if column in frame.rows:
                like = frame.rows[column].mean() * (1 + 0.001 * frame.rows["seed"])
                frame.rows[column] = frame.rows[column].fillna(like)
    return library


def test_a_rule_of_old_fails_here(planned: Path) -> None:
    """ "More than a tenth return" was passed by untrained models, best of all."""
    arm = {"study": "token_redundancy", "method": "deit", "control": "untrained"}
    rule = {"metric": "returned_attention", "of": {**arm, "control": "none"}, "at_least": 0.1}
    control = Condition.model_validate({**rule, "controls": [{"label": "untrained", "of": arm}]})
    claim = Claim(name="c", text="t", paper="p", conditions=(control,))
    (one,) = judge_claim(claim, as_if_reproduced(filled(planned / "tpc_vit", untrained, 8))).tested
    assert (one.verdict, one.reason) == ("not testable", "its control passes")


# ---- the committed results


@pytest.mark.parametrize("folder", sorted(p.parent for p in EXAMPLE.glob("*/trials.csv")), ids=lambda f: f.name)
def test_what_a_control_of_the_committed_results_passes_is_not_reproduced(folder: Path) -> None:
    """One that learned nothing passes no rule at all; one that was trained may, where the data tell nothing apart."""
    library = StudyFrames(folder, load_frame(folder))
    passing = [
        f"{claim.name}: {control.condition.label}" for claim, one in judged_in(library) for control in one.controls
        if control.passes and not one.condition.by_construction
        and (one.verdict == "reproduced" or _learned_nothing(control))
    ]  # fmt: skip
    assert passing == []
