"""Run a plan from Python: what ``studies run`` does, without its questions and its exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from studies.engine.api.errors import ResultsError
from studies.engine.api.results import Results, open_results
from studies.engine.cli.study_run import prepare
from studies.engine.planning.selection import Selection


def run_plan(
    selection: Selection, until: str | None, cluster: str | None, launch: Mapping[str, Any], **options: Any
) -> Results:
    """Run what is missing, show the progress as lines, render tables and figures, and return the results.

    options: others of `prepare`.

    Raises:
        ResultsError, UsageError: options that do not go together; another process runs this study.
        StudyError: an unknown launcher or option of it.
    """
    if until not in (None, "decided"):
        raise ResultsError(f'until is "decided", or left out, not {until!r}')
    typed = [f"{key}={value}" for key, value in launch.items()]
    run = prepare(selection, until=until, cluster=cluster, launch=typed, **options)
    if cluster and run.launcher != "slurm":
        raise ResultsError(f"cluster is for slurm, not for {run.launcher}")
    # lines in a notebook: its display needs another package, and its kernel sets FORCE_COLOR, which means a terminal
    console = Console(file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=sys.stdout.isatty())
    if run.note:
        console.print(f"{'':10}{run.note}", markup=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # of a display in notebooks that nothing here uses
        run.run(console)
    return open_results(run.plan.folder.resolve())
