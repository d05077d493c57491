"""Tables of published parameters and multiply-accumulates."""

from __future__ import annotations

from pydantic import Field

from paper_tables.schema.base import Entry, Name


class CountTable(Entry):
    """Published parameters and multiply-accumulates next to measured ones, each pair with a verdict."""

    name: Name
    label: str = Field("", pattern=r"^[A-Za-z0-9:._-]*$")
    caption: str = ""
    verdicts: str
    """Group in ``published/counted.csv``."""
    notes: tuple[str, ...] = ()
