"""The progress of a study, from plan.json and the trial folders alone: for `status`, `stop` and `logs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile
from studies.engine.core.trial import State, first_trials
from studies.engine.execution import study_lock
from studies.engine.results import looks_taken
from studies.engine.runtime.worker import RUNNABLE
from studies.engine.storage.plan_file import PlanFile, PlannedTrial, folders, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.storage.trial_folder import TrialFolder


class StudyStatus:
    """One study folder."""

    def __init__(self, store: Store, plan: PlanFile) -> None:
        self.plan, self.store = plan, store
        folders = dict.fromkeys([*(trial.folder for trial in plan.trials), *plan.origins])
        self.watch = StateWatcher([store.trial(name) for name in folders])

    @property
    def labels(self) -> dict[str, str]:
        """folder id -> "part arm s0" of the first arm that uses it."""
        return self.plan.origins | {t.folder: f"{t.part} {t.arm} s{t.seed}" for t in reversed(self.plan.trials)}

    def driver(self) -> dict[str, Any] | None:
        return study_lock.running_driver(self.plan.folder)

    def arms(self) -> Iterator[tuple[str, str, Counter[str]]]:
        """Yield part, arm, and how many of its seeds have which status, in the plan's order."""
        states = self.watch.poll()
        found: dict[tuple[str, str], Counter[str]] = {}
        for trial in self.plan.trials:
            found.setdefault((trial.part, trial.arm), Counter())[states[trial.folder].status] += 1
        yield from ((part, arm, count) for (part, arm), count in found.items())

    def waiting(self) -> dict[str, str]:
        """Return by folder id, for trials that have not begun, the trial that each waits for."""
        states = self.watch.poll()
        idle = [self.watch.folders[name] for name, state in states.items() if state.status in RUNNABLE]
        found = {folder.id: first for folder in idle if (first := unfinished_first(folder)) is not None}
        return {name: f"{self.labels.get(first.id, first.id)}, {first.state().status}" for name, first in found.items()}

    def as_json(self) -> dict[str, Any]:
        states = self.watch.poll()
        return {
            "study": self.plan.study,
            "label": self.plan.label,
            "folder": str(self.plan.folder),
            "driver": self.driver(),
            "looks": looks_taken.summary(self.plan),
            "counts": dict(Counter(states[t.folder].status for t in self.plan.trials)),
            "trials": [_row(trial, states) for trial in self.plan.trials],
        }


def find_runs(store: Store, study: str, say: Callable[[str], None]) -> list[StudyStatus]:
    """Return the runs of a name on the command line: ``name@label`` that one, ``name`` also all its labels.

    What is wrong with those that cannot be read is said.

    Raises:
        DamagedFile: there are runs, and none can be read.
    """
    name = Path(study).stem if study.endswith((".yaml", ".yml")) else study
    found, damaged = [], []
    for folder in folders(store.root):
        if name not in (folder.name, folder.name.partition("@")[0]):
            continue
        try:
            found.append(StudyStatus(store, read_plan(folder)))
        except DamagedFile as error:
            damaged.append(error)
    if damaged and not found:
        raise damaged[0]
    for problem in damaged:
        say(str(problem))
    return found


def unfinished_first(folder: TrialFolder) -> TrialFolder | None:
    """Return a trial that this one starts from and that is not done; None where it waits for none."""
    names = first_trials((folder.spec() or {}).get("config", {})).values()
    firsts = (TrialFolder(folder.path.parent / name) for name in names)
    return next((first for first in firsts if first.state().status != "done"), None)


def _row(trial: PlannedTrial, states: Mapping[str, State]) -> dict[str, Any]:
    state = asdict(states[trial.folder])
    place = {"part": trial.part, "arm": trial.arm, "seed": trial.seed, "trial": trial.folder}
    return place | state
