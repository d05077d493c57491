"""Ablation studies. In Python: ``studies.open("redundancy_ablation")``, ``studies.plan("mine.yaml").run()``.

Importing this imports nothing else: pandas and the engine are loaded by the first call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from studies.engine.api.plan import StudyPlan
    from studies.engine.api.results import Results
    from studies.engine.core.errors import StudyError as StudyError

__all__ = ["StudyError", "open", "plan"]


def open(study: str | Path, *, results: str | Path | None = None, scale: str | None = None) -> Results:
    """Open the results of a study.

    study: its name, also with a label (``"mor_vit@gpu"``); or the path of its results folder, of its ``trials.parquet``
    or ``trials.csv``, or of a zip of ``studies export``. results: the folder of all results; default: $DYNVIT_RESULTS,
    else ``results``. scale: as in ``studies run --scale``.

    Raises `StudyError`, whose text names the nearest study, or the command that makes the results.
    """
    from studies.engine.api.results import open_results

    return open_results(study, results, scale)


def plan(
    study: str | Path,
    *,
    scale: str | None = None,
    set: Mapping[str, Any] | None = None,
    only: str | Iterable[str] = (),
    seeds: Iterable[int] | None = None,
    smoke: bool = False,
    rerun: Literal["failed", "stale", "all"] | None = None,
    device: str | None = None,
    results: str | Path | None = None,
) -> StudyPlan:
    """Check a study and return what a run would do; nothing is written.

    The options are those of ``studies plan``: ``set={"train.epochs": 40}``, ``only="part=sret"``, ``seeds=[0, 1]``.

    Raises `StudyError` with every problem of the study file and of the options.
    """
    from studies.engine.api.plan import plan_study

    return plan_study(study, scale, set, only, seeds, smoke, rerun, device, results)


def __getattr__(name: str) -> Any:
    if name == "StudyError":
        from studies.engine.core.errors import StudyError

        return StudyError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
