"""Trials of earlier states of a study on disk, found by a trial of today's for which their results are valid."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from studies.engine.core.config import canonical_json, flat
from studies.engine.core.trial import Config, Trial
from studies.engine.planning.identity import reusable, same, task_name
from studies.engine.storage.results_dir import Store

Spec = Mapping[str, Any]


class TrialIndex:
    """One lookup costs the same for ten specs or ten thousand: those whose configs have the same keys are found by the
    values of the keys that they share with the wanted config."""

    def __init__(self, specs: Iterable[tuple[str, Spec]]) -> None:
        """specs: folder id and spec.json of each trial; what is no spec is passed over."""
        self.by_keys: dict[tuple[str, int, int], dict[frozenset[str], list[tuple[str, Spec]]]] = {}
        self._by_values: dict[tuple[Any, ...], dict[str, list[tuple[str, Spec]]]] = {}
        self._defaults: dict[str, list[dict[str, Any]]] = {}
        self._changed: dict[tuple[str, str], bool] = {}
        for folder, spec in specs:
            try:
                place = (task_name(spec["task"]), int(spec.get("revision", 1)), int(spec["seed"]))
                keys, defaults = frozenset(dict(flat(spec["config"]))), spec.get("defaults", {})
                self._defaults.setdefault(_model_names(defaults), []).append(dict(flat(defaults)))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            self.by_keys.setdefault(place, {}).setdefault(keys, []).append((folder, spec))

    def find(self, task: str, revision: int, seed: int, config: Config, defaults: Config) -> str | None:
        """Return the folder id of a trial whose result is valid for this one."""
        now, place = dict(flat(config)), (task, revision, seed)
        for keys in self.by_keys.get(place, {}):
            if keys == now.keys():  # then the ids would be equal
                continue
            for folder, spec in self._equal(place, keys, now):
                if reusable(spec, config, defaults) and not self.default_changed(now.keys() - keys, defaults):
                    return folder
        return None

    def _equal(
        self, place: tuple[str, int, int], keys: frozenset[str], now: Mapping[str, Any]
    ) -> Sequence[tuple[str, Spec]]:
        """Return the specs with these keys that agree with a config in every key that both have."""
        shared = sorted(keys & now.keys())
        index = self._by_values.setdefault((place, keys, *shared), {})
        if not index:
            for folder, spec in self.by_keys[place][keys]:
                index.setdefault(_values(dict(flat(spec["config"])), shared), []).append((folder, spec))
        return index.get(_values(now, shared), ())

    def default_changed(self, keys: Iterable[str], defaults: Config) -> bool:
        """Return whether one of these keys has ever had another default: then a config without it may not mean ours."""
        names, today = _model_names(defaults), dict(flat(defaults))
        for key in keys:
            if (names, key) not in self._changed:
                before = [old[key] for old in self._defaults.get(names, ()) if key in old]
                self._changed[names, key] = not all(same(value, today[key]) for value in before)
        return any(self._changed[names, key] for key in keys)


def _model_names(defaults: Mapping[str, Any]) -> str:
    """Return what a default belongs to: a model's options have their defaults per model."""
    return canonical_json([value for key, value in sorted(flat(defaults)) if key.split(".")[-1] == "name"])


def _values(config: Mapping[str, Any], keys: list[str]) -> str:
    return canonical_json([config[key] for key in keys])


def match_existing(trials: tuple[Trial, ...], store: Store, task: str) -> tuple[tuple[Trial, ...], set[str]]:
    """Return the trials with the folders that serve them, and which of those folders exist."""
    existing, ours = _folders(store), {trial.id for trial in trials}
    others, missing = existing - ours, ours - existing
    if not others or not missing:
        return trials, ours & existing
    index = TrialIndex(_finished(store, others))
    serving: dict[str, str] = {}
    for trial in trials:
        if trial.id in missing and trial.id not in serving:
            found = index.find(task, trial.revision, trial.seed, trial.config, trial.defaults)
            serving[trial.id] = found or trial.id
    served = tuple(replace(t, folder_id=serving[t.id]) if serving.get(t.id, t.id) != t.id else t for t in trials)
    return served, {t.folder_id for t in served} & existing


def _folders(store: Store) -> set[str]:
    try:
        with os.scandir(store.trials) as entries:
            return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except OSError:
        return set()


def _finished(store: Store, folders: Iterable[str]) -> Iterator[tuple[str, Spec]]:
    """Yield the specs of finished trials: only a result is worth taking over."""
    for name in sorted(folders):
        folder = store.trial(name)
        if folder.result_file.exists() and (spec := folder.spec()) is not None:
            yield name, spec
