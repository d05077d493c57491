"""What a study's own code has registered: said where a name is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.formatting import first_few
from studies.engine.core.own_code import OwnCode

KINDS = {"models": "model", "reducers": "reducer", "data_sets": "data set", "losses": "loss", "metrics": "metric"}
"""Parts of dynvit's description that own code adds to."""
SHOWN = 6


def said(own: OwnCode | None, description: Mapping[str, Any]) -> str:
    """Return, as the end of a message, what each import registers, or that there are none."""
    if own is None or not own.imports:
        return "; this study has no `imports:`"
    by_entry: dict[str, list[str]] = {entry: [] for entry in own.locations}
    for part, kind in KINDS.items():
        for name, facts in description[part].items():
            if facts.get("from") in by_entry:
                by_entry[facts["from"]].append(f"{kind} {name}")
    return "".join(f"; {_short(entry)} registers {_listed(names)}" for entry, names in by_entry.items())


def _short(entry: str) -> str:
    return Path(entry).name if Path(entry).is_absolute() else entry


def _listed(names: list[str]) -> str:
    return first_few(names, SHOWN) if names else "nothing when it is imported"
