"""Prepare and drive the trials of plans of one study folder with one launcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from studies.engine.cli.rule_record import recorded_rules
from studies.engine.execution.driver import Driver, DriverResult
from studies.engine.execution.job_batching import check_capacity
from studies.engine.execution.progress import Progress
from studies.engine.jobs.launcher import BatchLauncher, LaunchContext, Launcher, LaunchError, create_launcher
from studies.engine.launchers.slurm import submissions
from studies.engine.planning.plan import Plan
from studies.engine.results.readings import result_values
from studies.engine.storage import kept_weights, own_snapshot
from studies.engine.storage.plan_file import write_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.tracking.background import kept_up_to_date
from studies.engine.tracking.mirror import Mirror


@dataclass(frozen=True)
class TrialRunner:
    store: Store
    site: LaunchContext
    launcher: str
    asked: bool
    """The launcher was named by the user."""
    detach: bool
    console: Console
    mirror: Mirror
    spec: Path | None = None
    """The table file that was named on the command line."""

    def run(self, plan: Plan) -> DriverResult | None:
        """Run the plan's trials to their end; None where nothing is to run.

        Raises:
            LaunchError: the launcher cannot run them. Nothing is written then, least of all over results.
        """
        if not plan.active:
            self._prepare(plan)
            return None
        made = self._create_launcher()
        try:
            check_capacity(plan.active, made)
            self._prepare(plan)
            return self._drive(plan, made)
        finally:
            made.close()

    def _prepare(self, plan: Plan) -> None:
        """Write plan.json and the trial folders, which other commands and the workers read."""
        write_plan(recorded_rules(plan, self.store, self.spec))
        submissions.remove_finished(self.store.root)
        firsts = {first for trial in plan.made.values() for first in trial.starts}
        for trial in plan.to_run:
            folder = self.store.trial(trial.folder_id)
            if trial.own is not None:
                own_snapshot.take(self.store.root, trial.own)
            folder.create(trial.spec())
            folder.set_sources(trial.spec())
            if trial.folder_id in firsts:
                kept_weights.request(folder)
            if trial.folder_id in plan.restart:
                folder.archive_attempt()

    def _drive(self, plan: Plan, made: Launcher) -> DriverResult:
        trials = plan.active
        watched = [*plan.selected, *plan.added, *(plan.made[first] for trial in trials for first in trial.starts)]
        labels = {trial.folder_id: trial.name for trial in watched}
        watch = StateWatcher([self.store.trial(name) for name in labels])
        planned = plan.to_plan_file()

        def results(trial: str) -> dict[str, float]:
            return result_values(self.store.trial(trial), planned)

        stop, lives_on = self.site.stop, isinstance(made, BatchLauncher)
        parts = {trial.folder_id: trial.arm.part for trial in watched}
        forecast = plan.estimate.seconds_of if plan.estimate else {}
        progress = Progress(watch, labels, stop, self.console, lives_on, results, parts, forecast)
        with progress as shown, kept_up_to_date(self.mirror):
            return Driver(trials, watch, made, stop, shown.say).run(self.detach)

    def _create_launcher(self) -> Launcher:
        """Return the launcher; where Ray was nobody's wish and cannot start, the one without it."""
        try:
            return create_launcher(self.launcher, self.site)
        except LaunchError as error:
            if self.asked or self.launcher != "ray":
                raise
            click.echo(f"          {error}; trials run one after another in this process")
            return create_launcher("inline", self.site)
