"""Run a plan from Python: what ``studies run`` does, without its questions and its exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from rich.console import Console

from studies.engine.api.errors import ResultsError
from studies.engine.api.results import Results, open_results
from studies.engine.cli.finish_run import finish_run, make_mirror
from studies.engine.cli.trial_runner import TrialRunner
from studies.engine.core.stop import StopRequest
from studies.engine.execution.signals import handle_interrupts
from studies.engine.execution.study_lock import StudyBusy, StudyLock
from studies.engine.jobs.launcher import LaunchContext, default_launcher
from studies.engine.planning import launcher_options
from studies.engine.planning.plan import Plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher


def run_plan(
    plan: Plan, on: str | None, cluster: str | None, launch: Mapping[str, Any], address: str | None
) -> Results:
    """Run what is missing, show the progress as lines, render tables and figures, and return the results.

    Raises:
        ResultsError: options that do not fit the launcher; another process runs this study.
        StudyError, LaunchError: an unknown launcher or option of it; a launcher that cannot run this.
    """
    wanted = launcher_options.preferred(on or (address and "ray"), cluster, plan.active)
    name, note = default_launcher(wanted, len(plan.active))
    if cluster and name != "slurm":
        raise ResultsError(f"cluster is for slurm, not for {name}")
    if address and name != "ray":
        raise ResultsError(f"address is for ray, not for {name}")
    typed = [f"{key}={value}" for key, value in {**launch, **({"address": address} if address else {})}.items()]
    options = launcher_options.options(plan.active, name, cluster, typed)
    # lines in a notebook: its display needs another package, and its kernel sets FORCE_COLOR, which means a terminal
    console = Console(file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=sys.stdout.isatty())
    if note and plan.active:
        console.print(f"{'':10}{note}", markup=False)
    root, stop = plan.folder.parent, StopRequest()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "IProgress not found")  # of a display in notebooks that nothing here uses
        try:
            stack.enter_context(StudyLock(plan.folder, stop))
        except StudyBusy as busy:
            raise ResultsError(f"{plan.folder.name} {busy}") from None
        stack.enter_context(handle_interrupts(stop))
        store = Store(root)
        mirror = make_mirror(store, plan.folder, console)
        site = LaunchContext(root, plan.folder, options, stop)
        outcome = TrialRunner(store, site, name, wanted is not None, False, console, mirror).run(plan)
        states = StateWatcher([store.trial(t.folder_id) for t in (*plan.selected, *plan.added)]).poll()
        finish_run(plan, store, states, outcome, mirror, console)
    return open_results(plan.folder.resolve())
