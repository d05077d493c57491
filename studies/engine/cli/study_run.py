"""A run of a study, from the command line or from Python: its plan, its launcher, its trials, and what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from studies.engine.cli.looks import Looks, looks_of
from studies.engine.cli.options import UsageError
from studies.engine.cli.plan_report import missing_files
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.cli.table_files import find_table_file
from studies.engine.core.stop import StopRequest
from studies.engine.execution.signals import handle_interrupts
from studies.engine.execution.study_lock import StudyBusy, StudyLock
from studies.engine.jobs.launcher import LaunchContext, LaunchError, default_launcher
from studies.engine.planning import launcher_options
from studies.engine.planning.changes import another_study
from studies.engine.planning.plan import Plan, Rerun
from studies.engine.planning.selection import Selection
from studies.engine.storage.plan_file import find_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher

HERE = ("inline", "local")
"""Launchers whose trials read the files of this machine; Ray is one without the address of a cluster."""


class Unwritable(UsageError):
    """The results folder could not be written while trials ran."""

    def __init__(self, text: str, some_done: bool) -> None:
        super().__init__(text)
        self.some_done = some_done


@dataclass(frozen=True)
class StudyRun:
    """Everything that was asked for, checked."""

    plan: Plan
    """With looks, that of the first."""
    looks: Looks | None
    launcher: str
    asked: bool
    """The launcher was named by the user."""
    note: str
    """Why it is this launcher; may be empty."""
    options: dict[str, Any]
    """Of the launcher."""
    detach: bool
    spec: Path | None
    rerun: Rerun | None = None

    @property
    def again(self) -> str:
        """What a person types to continue: with `--rerun all` also what has just been run would begin again."""
        return "the same command" + (" without --rerun all" if self.rerun == "all" else "")

    def run(self, console: Console) -> int:
        """Run what is missing, render tables and figures; return the exit code of `finish_run`.

        Raises:
            UsageError: another process runs this study, or the launcher cannot.
            Unwritable: see there.
        """
        from studies.engine.cli import until_decided
        from studies.engine.cli.finish_run import finish_run, make_mirror
        from studies.engine.cli.trial_runner import TrialRunner

        plan, stop = self.plan, StopRequest()
        store = Store(plan.folder.parent.resolve())
        with ExitStack() as stack:
            try:
                stack.enter_context(StudyLock(plan.folder, stop))
            except StudyBusy as busy:
                raise UsageError(f"{plan.folder.name} {busy}; `studies status` shows the progress") from busy
            except OSError as error:
                text = f"results folder {store.root} cannot be written: {error.strerror or error}"
                raise UsageError(text) from error
            stack.enter_context(handle_interrupts(stop))
            site = LaunchContext(store.root, plan.folder, self.options, stop)
            mirror = make_mirror(store, plan.folder, console)
            runner = TrialRunner(store, site, self.launcher, self.asked, self.detach, console, mirror, self.spec)
            try:
                if self.looks:
                    plan, outcome = until_decided.run(self.looks, plan, runner)
                else:
                    outcome = runner.run(plan)
            except LaunchError as error:
                raise UsageError(str(error)) from error
            except OSError as error:
                text = f"results folder {store.root}: {error.strerror or error}; finished trials are kept"
                some = any(store.trial(trial.folder_id).result_file.exists() for trial in plan.selected)
                raise Unwritable(text, some) from error
            states = StateWatcher([store.trial(t.folder_id) for t in (*plan.selected, *plan.added)]).poll()
            return finish_run(plan, store, states, outcome, mirror, console, self.again)


def prepare(
    selection: Selection,
    *,
    rerun: Rerun | None = None,
    device: str | None = None,
    until: str | None = None,
    on: str | None = None,
    cluster: str | None = None,
    launch: Sequence[str] = (),
    address: str | None = None,
    detach: bool = False,
    spec: Path | None = None,
) -> StudyRun:
    """Plan the study, or its first look (until: "decided"), and choose the launcher; nothing is written.

    launch: options of the launcher, ``KEY=VALUE``. address: of a running Ray cluster. spec: the table file.

    Raises:
        StudyError: with every problem of the file and of the selection, or of the launcher's options.
        UsageError: options that do not go together, trials that do not fit `device`, no such table file, files that are
            not here and that trials on this machine need.
    """
    looks = looks_of(selection, rerun, device, spec) if until else None
    plan = looks.plan(looks.numbers[0]) if looks else plan_selection(selection, rerun, device)
    if device and plan.estimate is not None and plan.estimate.violations:
        raise UsageError("\n".join([f"does not fit {device}, so nothing is launched:", *plan.estimate.violations]))
    store = Store(plan.folder.parent)
    if other := another_study(find_plan(plan.folder), plan.study.file, plan.trials, store):
        text = f"{plan.folder} holds the results of another study file, {other}: rename one, or use another --results"
        raise UsageError(text)
    find_table_file(plan.study, spec)  # where it is not there, before anything is launched
    trials = plan.selected if looks else plan.active
    asking = trials or plan.selected  # where nothing is left to run, the same options are right as before
    wanted = launcher_options.preferred(on or (address and "ray"), cluster, asking)
    name, note = default_launcher(wanted, len(trials), launch)
    if address and name != "ray":
        raise UsageError(f"--address is for Ray, not for {name}")
    options = launcher_options.options(asking, name, cluster, (*launch, *([f"address={address}"] if address else [])))
    here = name in HERE or (name == "ray" and not options.get("address"))
    if here and (missing := missing_files(plan)):
        raise UsageError("\n".join(["nothing is launched, as every such trial would fail:", *missing]))
    if detach and name != "slurm":
        raise UsageError(f"--detach is for slurm: jobs of {name} end with this command")
    return StudyRun(plan, looks, name, wanted is not None or bool(launch), note, options, detach, spec, rerun)
