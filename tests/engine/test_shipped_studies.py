"""Every study of the repository can be planned at each of its scales: names, options and levels all exist."""

import pytest

from studies.engine import catalog, studyfile
from studies.engine.selection import Selection, plan_of

SCALES = [(name, scale) for name, file in catalog.names().items() for scale in studyfile.load(file).scales or ("",)]


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_it_can_be_planned(name, scale, tmp_path):
    plan = plan_of(Selection(name, results=tmp_path, scale=scale or None))
    assert plan.trials
    assert len({(t.arm.part, t.arm.label, t.seed) for t in plan.trials}) == len(plan.trials)


def test_the_first_command_of_a_study_works_on_a_laptop():
    assert {studyfile.load(file).default_scale for file in catalog.names().values()} <= {"", "laptop", "cpu"}
