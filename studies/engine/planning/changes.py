"""What has changed in a study since it was last run: the settings that differ, in how many trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from studies.engine.core.config import flat
from studies.engine.core.formatting import and_more, count
from studies.engine.core.trial import Trial
from studies.engine.core.typing_check import to_yaml
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files

SHOWN = 6
ABSENT = object()


def changed(before: PlanFile, trials: Iterable[Trial], store: Store) -> list[str]:
    """Return lines such as ``train.epochs 3 -> 4 in 48 trials``: arms and seeds that had other trials before."""
    old = {(t.part, t.arm, t.seed): t for t in before.trials}
    now = {(t.arm.part, t.arm.label, t.seed): t for t in trials}
    found: Counter[str] = Counter()
    for key in old.keys() & now.keys():
        if old[key].folder != now[key].folder_id and old[key].trial != now[key].id:
            spec = store.trial(old[key].folder).spec() or {}
            found.update(_differences(spec.get("config", {}), now[key].config) or ["the task itself"])
    lines = [f"{text} in {count(number, 'trial')}" for text, number in sorted(found.items(), key=lambda item: -item[1])]
    listed = [*lines[:SHOWN], *([f"{and_more(lines, SHOWN)} settings"] if len(lines) > SHOWN else [])]
    if gone := {key[:2] for key in old} - {key[:2] for key in now}:
        listed.append(f"{count(len(gone), 'arm')} of before left out")
    return listed


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    old, new = dict(flat(before)), dict(flat(now))
    return [
        f"{key} {_shown(old.get(key, ABSENT))} -> {_shown(new.get(key, ABSENT))}"
        for key in dict.fromkeys([*new, *old])
        if old.get(key, ABSENT) != new.get(key, ABSENT)
    ]


def _shown(value: object) -> str:
    return "nothing" if value is ABSENT else value if isinstance(value, str) and value else to_yaml(value)


def change_lines(before: PlanFile | None, trials: Iterable[Trial], store: Store) -> Iterator[str]:
    """Yield for the terminal what has changed since a plan."""
    for i, text in enumerate(changed(before, trials, store) if before else ()):
        yield f"{'' if i else 'changed':10}{text}"


def another_study(before: PlanFile | None, file: Path, trials: Iterable[Trial], store: Store) -> str:
    """Return the path of another study file of the same name whose results a plan holds; empty where there is none, it
    is gone, nothing of it has run, or the two have trials in common, as copies of one study have."""
    if before is None:
        return ""
    other = Path(before.study_path) if before.study_path else study_files.PACKAGE / before.study_file
    if other == file.resolve() or not other.is_file() or {t.trial for t in before.trials} & {t.id for t in trials}:
        return ""
    return str(other) if any(store.trial(t.folder).result_file.exists() for t in before.trials) else ""
