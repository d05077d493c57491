"""The hash of a frame's contents, independent of the file format."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pandas as pd

AT_ONCE = 100_000
"""Rows whose text is made at a time: of millions the whole text is larger than what it is of."""


def contents_digest(rows: pd.DataFrame, curves: pd.DataFrame, metadata: Any, images: bytes) -> str:
    """Return twelve hexadecimal digits over the tables as CSV, the metadata and the file of predictions."""
    found = hashlib.sha256()
    for table in (rows, curves):
        for start in range(0, max(len(table), 1), AT_ONCE):
            part = table.iloc[start : start + AT_ONCE]
            found.update(part.to_csv(index=False, header=start == 0).encode())
    found.update(json.dumps(metadata, sort_keys=True).encode())
    found.update(images)
    return found.hexdigest()[:12]
