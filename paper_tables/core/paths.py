"""Where the package keeps its table files and published numbers. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
PUBLISHED = PACKAGE / "published"
CLAIMS = "claims.yaml"
"""Next to the table files: claims by study."""


def table_file(study: str) -> Path | None:
    """Return ``paper_tables/<study>.yaml`` if it exists. A label (``study@gpu``) is another scale of the same file."""
    name = study.partition("@")[0]
    path = PACKAGE / f"{name}.yaml"
    return path if re.fullmatch(r"[\w.-]+", name) and path.is_file() and path.name != CLAIMS else None


def contents(path: Path) -> bytes:
    """Return the bytes of a plain file; OSError without it, and for a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file")
    return path.read_bytes()
