"""After the trials: frame, tables, figures, MLflow, and the lines that say where everything is.

Whatever goes wrong here is said in one line. The results are in the trial folders and the exit code tells about them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from studies.engine.core.formatting import duration
from studies.engine.core.trial import State
from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror

if TYPE_CHECKING:
    from studies.engine.execution.driver import DriverResult
    from studies.engine.planning.plan import Plan

SHOWN = 5


def mirror(store: Store, folder: Path, console: Console) -> Mirror:
    return Mirror(store, folder, say=lambda line: console.print(f"mlflow    {line}", markup=False, soft_wrap=True))


def finish(
    plan: Plan,
    store: Store,
    states: Mapping[str, State],
    outcome: DriverResult | None,
    mirror: Mirror,
    console: Console,
) -> int:
    """Exit code: 0 all selected trials are done, 1 not all, 130 interrupted."""

    def say(head: str, text: str) -> None:
        console.print(f"{head:10}{text}", markup=False, soft_wrap=True)

    if outcome is not None and outcome.problem:
        say("gave up", outcome.problem)
    if outcome is not None and outcome.detached:
        mirror.update()
        say("detached", f"{outcome.detached} trials go on in the queue; the same command comes back to them,")
        say("", f"`studies status {plan.full_name}` shows how they stand, `studies stop {plan.full_name}` ends them")
        return 130 if outcome.interrupted else 0
    say("done", summary(store, states))
    for line in unfinished(plan, states):
        console.print(line, markup=False, soft_wrap=True)
    if outcome is not None and outcome.interrupted:
        mirror.update()
        say("stopped", "the same command goes on from here")
        return 130
    with busy(console, "tables and figures"):
        render(store, plan.folder, say)
    with busy(console, "MLflow"):
        mirrored = mirror.close()
    if mirrored:
        say("mlflow", mirror.where)
    return 0 if all(state.status == "done" for state in states.values()) else 1


def busy(console: Console, what: str) -> AbstractContextManager[Any]:
    """Something moves while it takes its time, where somebody watches."""
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
    """The trials that failed, with their reasons."""
    labels = {t.folder_id: f"{t.arm.part} {t.arm.label} s{t.seed}" for t in plan.selected}
    failed = [(name, state) for name, state in states.items() if state.status in ("failed", "lost")]
    lines = [f"{s.status:10}{n}  {labels[n]}  {s.reason}  (studies logs {n})" for n, s in failed[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"{'':10}and {len(failed) - SHOWN} more: studies status {plan.folder.name}")
    return lines


def render(store: Store, folder: Path, say: Any) -> None:
    """Frame, tables, figures, report."""
    try:
        collect(store, folder)
        from paper_tables import build
        from paper_tables.site.index import write_index

        built = build(folder)
        write_index(store.root)
    except Exception as error:  # a wrong table file must not hide that the trials are done
        say("tables", f"not rendered: {str(error).strip() or type(error).__name__}")
        return
    for head, files in (("tables", built.tables), ("figures", built.figures), ("report", [built.report])):
        listed = [file for file in files if file]
        if listed:
            say(head, shown(listed))


def shown(files: list[Path]) -> str:
    """ "results/x/tables/redundancy.tex, costs.tex  (+ csv, html, md)": the first with its folder, by stem."""
    kinds = list(dict.fromkeys(file.suffix[1:] for file in files))
    first = next((kind for kind in ("tex", "pdf") if kind in kinds), kinds[0])
    main = [file for file in files if file.suffix == f".{first}"]
    near = os.path.relpath(main[0])
    line = ", ".join([str(main[0]) if near.startswith("..") else near, *(file.name for file in main[1:])])
    return line + (f"  (+ {', '.join(sorted(k for k in kinds if k != first))})" if len(kinds) > 1 else "")
