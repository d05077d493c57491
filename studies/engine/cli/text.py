"""Plain tables and amounts for the terminal; the same text whether a person or a file reads it."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from studies.engine.core.formatting import count, duration, size
from studies.engine.core.trial import Trial
from studies.engine.planning.plan import Plan

GAP = "  "
MISSING = "planned"  # a trial that nobody has begun is called missing


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes to a file or a pipe, which need no cutting."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = (), width: int | None = None) -> list[str]:
    """Lines of aligned columns, the numbered ones to the right; what a terminal cannot hold ends in an ellipsis."""
    numbers = set(right)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = GAP.join(cells).rstrip()
        lines.append(line if width is None or len(line) <= width else line[: width - 1] + "…")
    return lines


# ---- a plan


def plan_lines(plan: Plan, width: int | None = None) -> list[str]:
    """What `studies plan` prints."""
    return [_head(plan), "", *_arms(plan, width), "", *_totals(plan)]


def _head(plan: Plan) -> str:
    parts = {t.arm.part for t in plan.selected}
    arms = {(t.arm.part, t.arm.label) for t in plan.selected}
    seeds = {t.seed for t in plan.selected}
    counts = Counter(_word(plan, t) for t in plan.selected)
    states = ", ".join(f"{counts[word]} {word}" for word in _in_order({"done", "failed", "missing", *counts}))
    of = f" of {len(plan.trials)}" if len(plan.selected) < len(plan.trials) else ""
    return (
        f"{plan.full_name}  {count(len(parts), 'part')}, {count(len(arms), 'arm')} x {count(len(seeds), 'seed')}"
        f" = {count(len(plan.selected), 'trial')}{of}   ({states})"
    )


def _word(plan: Plan, trial: Trial) -> str:
    status = plan.state(trial).status
    return "missing" if status == MISSING else status


_ORDER = ("done", "running", "queued", "preempted", "stopped", "lost", "failed", "missing")


def _in_order(words: Iterable[str]) -> list[str]:
    return sorted(words, key=_ORDER.index)


def _arms(plan: Plan, width: int | None) -> list[str]:
    arms: dict[tuple[str, str], list[Trial]] = {}
    for trial in plan.selected:
        arms.setdefault((trial.arm.part, trial.arm.label), []).append(trial)
    rows, last = [["part", "arm", "seeds", "state"]], ""
    for (part, arm), trials in arms.items():
        counts = Counter(_word(plan, trial) for trial in trials)
        states = ", ".join(f"{word} {counts[word]}" for word in _in_order(counts))
        rows.append([part if part != last else "", arm, str(len(trials)), states])
        last = part
    return [GAP + line for line in table(rows, right=[2], width=width and width - len(GAP))]


def _totals(plan: Plan) -> Iterator[str]:
    yield f"to run    {_to_run(plan)}"
    if plan.restart:
        yield f"anew      {count(len(plan.restart), 'trial')}; what they held stays under attempts/"
    if plan.to_run:
        yield f"cost      {_cost(plan)}"
        yield from _needs(plan)
    yield f"reused    {count(plan.reused, 'trial')} from another study   stale code {plan.stale}"


def _to_run(plan: Plan) -> str:
    if not plan.to_run:
        return "nothing, " + ("all others are running" if plan.running else "all done")
    gpus = plan.to_run[0].resources.gpus
    text = count(len(plan.to_run), "trial")
    if gpus:
        each = f"{gpus:g} GPU{'s' if gpus > 1 else ''} each"
        text += f", {int(1 / gpus)} at a time on a GPU ({each})" if gpus <= 0.5 else f" ({each})"
    return text + (f"; {len(plan.running)} running" if plan.running else "")


def _cost(plan: Plan) -> str:
    guess = plan.estimate
    if guess is None or not guess.seconds_per_trial:
        return "not measured yet"
    told = f"{guess.gpu_hours:.1f} GPU-hours" if guess.gpu_hours else f"{duration(guess.seconds)} one after the other"
    basis = []
    if guess.measured_on:
        device = f", {guess.device}" if guess.device else ""
        basis.append(f"measured on {count(guess.measured_on, 'trial')}{device}")
    if guess.reckoned:
        those = "" if guess.reckoned == len(plan.to_run) else f" {count(guess.reckoned, 'trial')}"
        basis.append(f"reckoned{those} from multiply-accumulates: {guess.basis}")
    if guess.unknown:
        basis.append(f"without {count(guess.unknown, 'trial')} of which nothing is known")
    return f"{told}   [{duration(guess.seconds_per_trial)} per trial, {'; '.join(basis)}]"


def _needs(plan: Plan) -> Iterator[str]:
    """Memory, what does not fit, what is not known."""
    guess = plan.estimate
    if guess is None:
        return
    if guess.memory_gb is not None:
        gpu = bool(plan.to_run[0].resources.gpus)
        room = "" if guess.room_gb is None else f" of {guess.room_gb:g} GB"
        yield f"memory    up to about {guess.memory_gb:.1f} GB{room}{' on a GPU' if gpu else ''} ({guess.memory_of})"
    if guess.uncounted:
        yield f"uncounted {count(guess.uncounted, 'model')}; --count counts them here (imports torch, a second each)"
    for line in guess.refused:
        yield f"          {line}"
    if guess.misfits:
        yield f"refused   {count(len(guess.misfits), 'misfit')}: raise the resources, or choose smaller settings"
        yield from (f"          {line}" for line in guess.misfits)


def results_line(root: Path) -> str:
    """Where results go and what room is left there."""
    there = root
    while not there.exists() and there != there.parent:
        there = there.parent
    return f"results   {root}   {size(shutil.disk_usage(there).free)} free"
