"""What looks can tell: the lines of `plan`, and false verdicts and power of a whole study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from looked_at import (
    BASE,
    LATER,
    claim,
    history,
    over,
    spec,
    study,
)

from paper_tables.claims.looks import take_look
from paper_tables.claims.power import plan_power
from paper_tables.core import sequential


def test_power(tmp_path: Path) -> None:
    """From the spread so far, else from an assumed one; ratios in per cent; other scales and counts left out."""
    decide = {"looks": [3, 8], "error": 0.05}
    ratio = claim("later", "ratio", compare="ratio", at_least=1)
    counted = {**claim("base", "counted"), "kind": "counted"}
    file = spec(tmp_path, claim("later"), claim("other"), ratio, claim("later", "far", scales=["gpu"]), counted)
    distances = sequential.detectable((3, 8), sequential.nominal_error((3, 8)))
    expected = [f"{d * np.std(LATER[:3], ddof=1):.2g}" for d in distances]
    folder = study(tmp_path, {"base": BASE[:3], "later": over(LATER)[:3]}, decide)
    head, seen, assumed, percent, about = plan_power(file, folder, decide, "laptop")
    assert head.split() == ["power", "n", "3", "8", "seeds"]
    assert seen.split(maxsplit=3) == ["later", *expected, "top1, SD 0.6 over 3 seeds"]
    assert assumed.split(maxsplit=3) == ["other", *(f"{d:.2g}" for d in distances), "top1, assumed SD 1"]
    assert percent.split()[:3] == ["ratio", percent.split()[1], "%"]
    assert about.endswith("this far from its bound is decided by then in 80 % of cases, wrongly in 5 %")
    before = plan_power(file, tmp_path / "nothing", decide, "laptop")
    assert before[1].split(maxsplit=3) == ["later", *(f"{d:.2g}" for d in distances), "top1, assumed SD 1"]
    assert plan_power(None, folder, decide, "laptop") == []


def test_power_names_the_error_of_a_conditions_own_interval(tmp_path: Path) -> None:
    decide = {"looks": [3, 8], "error": 0.05}
    own = claim("later", "own", interval=0.99)
    for claims, said in (([own], "wrongly in 1 %"), ([own, claim("later")], "wrongly in 1 % or 5 %")):
        assert plan_power(spec(tmp_path, *claims), tmp_path / "nothing", decide, "laptop")[-1].endswith(said)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_false_verdicts_and_power_of_a_whole_study(effect: float, tmp_path: Path) -> None:
    """Claims that are looked at until decided: at the bound 5 % are, at the planned distance 80 %."""
    claims, looks = 120, (3, 5, 8)
    level = sequential.nominal_error(looks)
    distance = effect * sequential.detectable(looks, level)[-1]
    x = np.random.default_rng(11).standard_normal((claims, 8)) + distance
    arms = {f"a{i}": (70 + x[i]).tolist() for i in range(claims)}
    file = spec(tmp_path, *(claim(arm, against=[], at_least=70) for arm in arms))
    folder = study(tmp_path, {"base": BASE, **arms})
    for n in looks:
        report = take_look(folder, file, n)
    right = sum(d["verdict"] == "reproduced" for d in history(folder))
    wrong = sum(d["verdict"] == "contradicted" for d in history(folder))
    assert right + wrong == len(report.decided)
    if effect:
        assert 0.70 * claims < right < 0.90 * claims
        assert wrong <= 2
    else:
        assert 0 < right + wrong < 0.1 * claims


def test_a_control_with_the_effect_of_its_condition_leaves_it_open(tmp_path: Path) -> None:
    """Without the control, nearly all of the larger effects would be reproduced."""
    runs, looks = 180, (3, 5, 8)
    distance = np.repeat([0.0, 0.5, 1.0], runs // 3) * sequential.detectable(looks, sequential.nominal_error(looks))[-1]
    x = 70 + np.random.default_rng(5).standard_normal((2, runs, 8)) + distance[:, None]
    arms = {f"{name}{i}": x[side, i].tolist() for side, name in enumerate("ac") for i in range(runs)}
    controls = [[{"label": "equal", "of": {"arm": f"c{i}"}}] for i in range(runs)]
    file = spec(tmp_path, *(claim(f"a{i}", against=[], at_least=70, controls=controls[i]) for i in range(runs)))
    folder = study(tmp_path, arms)
    for n in looks:
        take_look(folder, file, n)
    found = [d["claim"] for d in history(folder) if d["verdict"] == "reproduced"]
    assert len(found) <= 0.05 * runs
    assert sum(d["low"] is not None and d["low"] > 70 for d in history(folder)) > 0.3 * runs
