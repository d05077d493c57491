"""Every table that own code adds names to, and what it added."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, MutableMapping
from types import ModuleType
from typing import Any

from timm.models import _registry as timm_registry
from timm.models import register_model

from dynvit.config.extensions import DATA_SETS, LOSSES, METRICS, VERSION, place_of
from dynvit.reduction.reducer import REDUCERS
from dynvit.registry import MODELS


class _TimmModels(MutableMapping[str, Any]):
    """timm's entry points by name; to set one is to register it."""

    def __getitem__(self, name: str) -> Any:
        return timm_registry._model_entrypoints[name]

    def __setitem__(self, name: str, entry_point: Any) -> None:
        register_model(entry_point)

    def __delitem__(self, name: str) -> None:
        for table in list(vars(timm_registry).values()):
            if isinstance(table, dict):
                table.pop(name, None)
                for names in table.values():
                    if isinstance(names, set):
                        names.discard(name)

    def __iter__(self) -> Iterator[str]:
        return iter(timm_registry._model_entrypoints)

    def __len__(self) -> int:
        return len(timm_registry._model_entrypoints)


TABLES: dict[str, MutableMapping[str, Any]] = {
    "model": _TimmModels(),
    "method": MODELS,
    "data set": DATA_SETS,
    "loss": LOSSES,
    "metric": METRICS,
    "reducer": REDUCERS,
}
"""By what they hold, in messages. A model of `dynvit.register` stands in the first two."""

State = dict[str, dict[str, Any]]


def state() -> State:
    return {kind: dict(table) for kind, table in TABLES.items()}


def restore(before: State) -> None:
    """Make the tables what they were."""
    for kind, table in TABLES.items():
        for name in [name for name in table if table[name] is not before[kind].get(name)]:
            del table[name]
        put({kind: {name: value for name, value in before[kind].items() if name not in table}})


def put(entries: State) -> None:
    for kind, named in entries.items():
        for name, value in named.items():
            TABLES[kind][name] = value
    VERSION.number += 1


def drop(entries: State) -> None:
    for kind, named in entries.items():
        for name in named:
            TABLES[kind].pop(name, None)
    VERSION.number += 1


def of_modules(names: Collection[str]) -> State:
    """Return what these modules have registered."""
    return {
        kind: {name: value for name, value in table.items() if _made(value).__module__ in names}
        for kind, table in TABLES.items()
    }


def added(before: State) -> State:
    """Return what was added since. Raises ValueError for a name that had another meaning."""
    found: State = {}
    for kind, table in TABLES.items():
        for name, value in table.items():
            old = before[kind].get(name, value)
            if old is not value:
                raise ValueError(f"registers the {kind} {name}, which {_owner(old)} has: choose another name")
        found[kind] = {name: value for name, value in table.items() if name not in before[kind]}
    return found


def _made(registered: Any) -> Any:
    """Return the function or class that was registered."""
    return getattr(registered, "make", registered[0] if isinstance(registered, tuple) else registered)


def _owner(registered: Any) -> str:
    made = _made(registered)
    module: ModuleType | None = sys.modules.get(made.__module__)
    return place_of(made) if module is None or made.__module__.split(".")[0] not in ("timm", "dynvit") else (
        made.__module__.split(".")[0]
    )  # fmt: skip
