"""After the trials: frame, tables, figures, MLflow, and the lines that say where everything is.

An error here is reported in one line: the results are safe in the trial folders, and they decide the exit code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from studies.engine.cli.main_table import print_main, summary_of
from studies.engine.cli.text import format_files
from studies.engine.core.formatting import and_more, duration
from studies.engine.core.trial import State
from studies.engine.results.blank_metrics import blank_metrics
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror

if TYPE_CHECKING:
    from studies.engine.execution.driver import DriverResult
    from studies.engine.planning.plan import Plan

SHOWN = 5
"""Failed trials that are listed."""


def make_mirror(store: Store, folder: Path, console: Console) -> Mirror:
    return Mirror(store, folder, say=lambda line: console.print(f"mlflow    {line}", markup=False, soft_wrap=True))


def finish_run(
    plan: Plan,
    store: Store,
    states: Mapping[str, State],
    outcome: DriverResult | None,
    mirror: Mirror,
    console: Console,
    again: str = "the same command",
) -> int:
    """Report, render, update MLflow; return 0: all selected trials are done, 1: not all, 130: interrupted.

    again: what a person types to continue.
    """

    def say(head: str, text: str) -> None:
        console.print(f"{head:10}{text}", markup=False, soft_wrap=True)

    if outcome is not None and outcome.problem:
        say("gave up", outcome.problem)
    if outcome is not None and outcome.detached:
        mirror.update()
        say("detached", f"{outcome.detached} trials continue in the queue; {again} attaches to them again,")
        say("", f"`studies status {plan.full_name}` shows their progress, `studies stop {plan.full_name}` stops them")
        if len(plan.stages) > 1:
            say("", "trials that start from these are submitted by it when they are done")
        return 130 if outcome.interrupted else 0
    say("done", summary(store, states))
    for line in unfinished(plan, states):
        console.print(line, markup=False, soft_wrap=True)
    if outcome is not None and outcome.interrupted:
        mirror.update()
        say("stopped", f"{again} continues from here")
        return 130
    with _busy(console, "tables and figures"):
        found = render(store, plan.folder, say)
    with _busy(console, "MLflow"):
        mirrored = mirror.close()
    if mirrored:
        say("mlflow", mirror.where)
    if found:
        print_main(found, plan.full_name)
    return 0 if all(state.status == "done" for state in states.values()) else 1


def _busy(console: Console, what: str) -> AbstractContextManager[Any]:
    """Show a spinner on a terminal."""
    return console.status(what) if console.is_terminal else nullcontext()


def summary(store: Store, states: Mapping[str, State]) -> str:
    """ "115/115 trials, 0 failed, 11.6 GPU-hours"."""
    count = Counter(state.status for state in states.values())
    results = [store.trial(name).result() or {} for name, state in states.items() if state.status == "done"]
    costs = [result.get("cost") or {} for result in results]
    gpu, seconds = (sum(float(cost.get(key) or 0.0) for cost in costs) for key in ("gpu_seconds", "seconds"))
    spent = f"{gpu / 3600:.1f} GPU-hours" if gpu else f"{duration(seconds)} of computing"
    return f"{count['done']}/{len(states)} trials, {count['failed'] + count['lost']} failed, {spent}"


def unfinished(plan: Plan, states: Mapping[str, State]) -> list[str]:
    """Return lines about the failed trials, with their reasons."""
    labels = {t.folder_id: t.name for t in (*plan.selected, *plan.added)}
    failed = [(name, state) for name, state in states.items() if state.status in ("failed", "lost")]
    lines = [f"{s.status:10}{n}  {labels[n]}  {s.reason}  (studies logs {n})" for n, s in failed[:SHOWN]]
    if rest := and_more(failed, SHOWN):
        lines.append(f"{'':10}{rest}: studies status {plan.folder.name}")
    return lines


def render(store: Store, folder: Path, say: Callable[[str, str], None]) -> dict[str, Any]:
    """Write frame, tables, figures and report; return the tables as printed, empty where nothing could be rendered."""
    try:
        collect(store, folder)
        if blank := blank_metrics(store, read_plan(folder)):
            say("blank", blank)
        from paper_tables import build
        from paper_tables.site.index import write_index

        built = build(folder)
        write_index(store.root)
        found = summary_of(folder)
    except Exception as error:  # a wrong table file must not hide that the trials are done
        say("tables", f"not rendered: {str(error).strip() or type(error).__name__}")
        return {}
    for head, files in (("tables", built.tables), ("figures", built.figures), ("report", [built.report])):
        listed = [file for file in files if file]
        if listed:
            say(head, format_files(listed))
    return found
