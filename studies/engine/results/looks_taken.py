"""Which looks at a study's claims were taken: `decisions.json`, which `paper_tables` writes and the engine reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.storage.plan_file import PlanFile

FILE = "decisions.json"


def history(folder: Path) -> list[dict[str, Any]]:
    """Return what each look found for each condition, oldest first; empty before the first look."""
    found = (read_json(folder / FILE) or {}).get("history", [])
    return [entry for entry in found if isinstance(entry, dict)]


def trials_in_use(folder: Path) -> set[str]:
    """Return the trials that looks have judged claims and their controls by."""
    return {str(trial) for entry in history(folder) for trial in (*entry["trials"], *entry.get("controls", ()))}


def last_look(folder: Path) -> int:
    """Return the number of the last look, from 1; 0 before the first."""
    return max((int(entry["look"]) for entry in history(folder)), default=0)


def seeds_seen(folder: Path) -> int:
    """Return the number of seeds by which the last look judged; 0 before the first."""
    last = last_look(folder)
    return max((int(entry["n"]) for entry in history(folder) if entry["look"] == last), default=0)


def summary(plan: PlanFile) -> str:
    """Return "look 2 of 5, n = 5: 3 decided, 1 undecided"; empty where a study has no looks."""
    if plan.decide is None:
        return ""
    looks, last = plan.decide.looks, last_look(plan.folder)
    if not last:
        return f"no look of {len(looks)} yet, the first at n = {looks[0]}"
    latest = {(entry["claim"], entry["condition"]): entry["verdict"] for entry in history(plan.folder)}
    found = Counter(verdict if verdict in ("undecided", "futile", "lost") else "decided" for verdict in latest.values())
    text = ", ".join(f"{found[name]} {name}" for name in ("decided", "undecided", "futile", "lost") if found[name])
    if last > len(looks):
        now = ", ".join(map(str, looks))
        return f"look {last}, n = {seeds_seen(plan.folder)}: {text}; the looks are others now, {now}"
    return f"look {last} of {len(looks)}, n = {looks[last - 1]}: {text}"
