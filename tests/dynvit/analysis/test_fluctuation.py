"""Fluctuation of validation accuracy: the last third, whatever happened before, resumed or not."""

import statistics

import pytest
from small_task import Folder, config, numbers, register

from dynvit.analysis.accuracy_fluctuation import detrended_fluctuation, fluctuation
from dynvit.context import NullContext, Stopped
from dynvit.tasks.classify import run

register()


def test_the_last_third_counts():
    assert fluctuation([0, 50, 10, 90, 96, 98], 6) == pytest.approx(2**0.5)
    assert fluctuation([5, 5, 5, 5, 1, 2, 3], 7) == 1  # seven epochs: three of them
    assert fluctuation([1.0] * 12, 12) == 0


@pytest.mark.parametrize(("accuracy", "epochs"), [([], 0), ([1.0], 1), ([1.0, 2.0, 3.0], 3), ([1.0, 2.0], 9)])
def test_too_few_epochs_have_none(accuracy, epochs):
    assert fluctuation(accuracy, epochs) is None


def test_progress_is_no_detrended_fluctuation():
    assert detrended_fluctuation([0, 9, 9, 9, 9, 9, 10, 20, 30], 9) == pytest.approx(0, abs=1e-12)
    # 1, 0, 0, 1 lie 0.5, -0.5, -0.5, 0.5 about their line, which is flat: 4 values, 2 of them for the line
    for rise in (0, 7):
        late = [1, rise, 2 * rise, 1 + 3 * rise]
        assert detrended_fluctuation([0.0] * 8 + late, 12) == pytest.approx(0.5**0.5)
    assert detrended_fluctuation([1.0, 2.0, 4.0, 8.0], 4) is None  # of four epochs the last third is two
    assert detrended_fluctuation([1.0, 2.0, 4.0], 9) == pytest.approx((1 / 6) ** 0.5)


def test_a_trial_reports_it_and_a_resumed_one_the_same(tmp_path):
    options = config(epochs=4, lr=0.05, schedule="constant", warmup_epochs=0)
    context = NullContext()
    result = run(options, context)
    late = [values["val.top1"] for _, values in context.history][-2:]
    assert result["metrics"]["fluctuation"] == statistics.stdev(late) > 0
    assert "detrended_fluctuation" not in result["metrics"]
    first = Folder(tmp_path, stop_at=37)  # in the fourth epoch
    with pytest.raises(Stopped):
        run(options, first)
    second = Folder(tmp_path)
    assert numbers(run(options, second), first, second) == numbers(result, context)
