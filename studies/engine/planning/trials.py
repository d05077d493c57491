"""Arms times seeds -> trials, and the trials of this and other studies that they start from.

A trial's config names the folder of the trial that it starts from, so trials are made in the order of their stages:
by then it is known which folder serves the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from studies.engine.catalog.tasks import Answer
from studies.engine.core import config as configs
from studies.engine.core.config import canonical_json
from studies.engine.core.trial import Arm, Trial, reference
from studies.engine.planning import identity
from studies.engine.planning.overrides import make_label
from studies.engine.planning.trial_index import match_existing
from studies.engine.storage.plan_file import folder_name
from studies.engine.storage.results_dir import Store
from studies.engine.study.arms import ResolvedArm
from studies.engine.study.starts import Key, Start, Starts


class Node(NamedTuple):
    """A trial before it has an id: an arm of a study at a scale, and a seed."""

    starts: Starts
    key: Key
    seed: int

    def first(self, start: Start) -> Node:
        return Node(start.starts, start.key, self.seed if start.seed is None else start.seed)

    def firsts(self) -> list[Node]:
        return [self.first(start) for start in self.starts.of(self.key).values()]


class TrialMaker:
    """label: of the study that is planned, whose overrides other studies do not have."""

    def __init__(self, starts: Starts, store: Store, label: str, smoke: bool) -> None:
        self._starts, self._store, self._label, self._smoke = starts, store, label, smoke
        self._arms: dict[tuple[Starts, Key], tuple[Arm, str]] = {}
        self._stages: dict[Node, int] = {}
        self._answers: dict[tuple[Starts, Key], Answer] = {}
        self.made: dict[Node, Trial] = {}
        self.existing: set[str] = set()
        """Folder ids of trials that are on disk."""

    def make(self, seeds: Callable[[ResolvedArm], Iterable[int]]) -> tuple[Trial, ...]:
        """Return the trials of the study's arms, each with its seeds; `made` also has those that they start from."""
        wanted = [Node(self._starts, arm.key, seed) for arm in self._starts.arms for seed in seeds(arm)]
        for node in wanted:
            self._stage(node)
        self._find_files()
        for stage in range(max(self._stages.values(), default=-1) + 1):
            self._make([node for node, its in self._stages.items() if its == stage])
        return tuple(self.made[node] for node in wanted)

    def _stage(self, node: Node) -> int:
        if node not in self._stages:
            self._stages[node] = max((self._stage(first) + 1 for first in node.firsts()), default=0)
        return self._stages[node]

    def _find_files(self) -> None:
        """Ask each study's task which files its arms read, and which of them are not here."""
        by_study: dict[Starts, dict[Key, None]] = {}
        for node in self._stages:
            by_study.setdefault(node.starts, {})[node.key] = None
        for starts, keys in by_study.items():
            answers = starts.study.task.check([starts.by_key[key].config for key in keys])
            self._answers |= {(starts, key): answer for key, answer in zip(keys, answers, strict=True)}

    def _make(self, nodes: Iterable[Node]) -> None:
        by_task: dict[str, list[Node]] = {}
        for node in nodes:
            by_task.setdefault(node.starts.study.task.name, []).append(node)
        for task, group in by_task.items():
            trials, existing = match_existing(tuple(map(self._trial, group)), self._store, task)
            self.made |= zip(group, trials, strict=True)
            self.existing |= existing

    def _trial(self, node: Node) -> Trial:
        starts, task = node.starts, node.starts.study.task
        resolved, (arm, text) = starts.by_key[node.key], self._arm(node)
        config, firsts = arm.config, []
        if found := starts.of(node.key):
            config = configs.copy(config)
            for name, start in found.items():
                firsts.append(self.made[node.first(start)].folder_id)
                configs.put(config, name, reference(firsts[-1]))
            text = canonical_json(config)
        key = identity.id_of(task.name, task.revision, text, node.seed)
        common = (
            config,
            resolved.defaults,
            starts.study.at(starts.scale).resources,
            task.revision,
            self._study(starts),
        )
        answer = self._answers[starts, node.key]
        sources = task.copied, answer.inputs, tuple(answer.missing)
        return Trial(key, key, arm, node.seed, task.ref, *common, tuple(dict.fromkeys(firsts)), *sources)

    def _arm(self, node: Node) -> tuple[Arm, str]:
        """Return the arm and its config as canonical JSON, which its seeds share."""
        place = node.starts, node.key
        if place not in self._arms:
            resolved = node.starts.by_key[node.key]
            point, config = resolved.point, resolved.config
            arm = Arm(resolved.part.name, point.label, point.coords, config, point.is_baseline, point.blocks)
            self._arms[place] = arm, canonical_json(config)
        return self._arms[place]

    def _study(self, starts: Starts) -> str:
        if starts is self._starts:
            return folder_name(starts.study.name, self._label)
        scale = "" if starts.scale == starts.study.default_scale else starts.scale
        return folder_name(starts.study.name, make_label(scale, self._smoke, ()))
