"""``studies status STUDY``."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from studies.engine.cli import completion, text
from studies.engine.cli.options import UsageError, results_option
from studies.engine.cli.study_lookup import how_to_run
from studies.engine.core.formatting import and_more, count
from studies.engine.execution.progress import running_table
from studies.engine.launchers.slurm import job_lookup
from studies.engine.results import looks_taken
from studies.engine.results.study_status import StudyStatus, find_runs
from studies.engine.storage.results_dir import Store

REFRESH_SECONDS = 1.0
FAILED_SHOWN = 10


@click.command()
@click.argument("study", metavar="STUDY", shell_complete=completion.runs)
@click.option("--watch", is_flag=True, help="Keep showing until nothing is running.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: counts and every trial.")
@results_option
def command(study: str, watch: bool, as_json: bool, results: Path) -> int:
    """Show the progress of STUDY: NAME at every scale that was run, NAME@LABEL only that one."""
    if watch and as_json:
        raise UsageError("--watch and --json: choose one")
    statuses = find_runs(Store(results), study, lambda line: click.echo(line, err=True))
    if not statuses:
        raise UsageError(f"{study} has not been run in {results}{how_to_run(study)}")
    if as_json:
        found = [status.as_json() for status in statuses]
        click.echo(json.dumps(found[0] if len(found) == 1 else found, indent=1))
        return 0
    console = Console(file=sys.stdout, highlight=False)
    if watch:
        _watch(statuses, console)
    for status in statuses:
        console.print(picture(status, whole=True))
    return 0


def _watch(statuses: list[StudyStatus], console: Console) -> None:
    """Refresh until no driver and no worker is left; Ctrl-C ends the display, not the trials."""
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while any(s.driver() is not None or s.watch.counts()["running"] for s in statuses):
                shown = Group(*[picture(s, whole=False) for s in statuses])
                if console.is_terminal:
                    live.update(shown, refresh=True)
                time.sleep(REFRESH_SECONDS)
                for status in statuses:
                    status.watch.poll()
    except KeyboardInterrupt:
        return


def picture(status: StudyStatus, whole: bool) -> Group:
    """Render headline, running and failed trials; whole: the arms and uncut reasons too."""
    states, labels = status.watch.poll(), status.labels
    running = [(name, state) for name, state in states.items() if state.status == "running"]
    failed = [(name, state) for name, state in states.items() if state.status in ("failed", "lost")]
    parts: list[Any] = [Text(_headline(status))]
    if running:
        parts.append(running_table(running, labels))
    for name, state in failed[:FAILED_SHOWN]:
        line = f"  {name}  {labels[name]}  {state.status}: {state.reason}"
        parts.append(Text(line, style="red", no_wrap=not whole, overflow="fold" if whole else "ellipsis"))
    if rest := and_more(failed, FAILED_SHOWN):
        parts.append(Text(f"  {rest} failed"))
    if failed and whole:
        parts.append(Text(f"  logs: studies logs {status.plan.full_name}, or studies logs TRIAL for a whole one"))
    if whole:
        if looks := looks_taken.summary(status.plan):
            parts.append(Text(f"  {looks}"))
        parts += [Text(f"  {line}") for line in _waiting(status)]
        head, *arms = text.arms_table(status.arms())
        parts += [Text(), Text(head, style="bold"), Text("\n".join(arms), no_wrap=True, overflow="ellipsis")]
    return Group(*parts)


def _waiting(status: StudyStatus) -> list[str]:
    """Return a line for each trial that others wait for."""
    counts = Counter(status.waiting().values())
    return [f"{count(number, 'trial')} not begun: starts from {first}" for first, number in counts.items()]


def _headline(status: StudyStatus) -> str:
    counts = status.watch.counts()
    held = status.driver()
    by = f"run by process {held['pid']} on {held['host']}" if held else "not running"
    if jobs := job_lookup.find_jobs(status.store.root, status.watch.folders.keys()):
        waiting = sum(job.state == "waiting" for job in jobs.values())
        by += f"; in the queue: {waiting} waiting, {len(jobs) - waiting} running"
    return f"{status.plan.full_name}  {sum(counts.values())} trials: {text.format_counts(counts)}   ({by})"
