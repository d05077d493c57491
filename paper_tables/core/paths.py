"""Where the package keeps its table files and published numbers. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
PUBLISHED = PACKAGE / "published"
CLAIMS = "claims.yaml"
"""Next to the table files: claims by study."""


def table_file(study: str) -> Path | None:
    """Return ``paper_tables/<study>.yaml`` of the current folder, else of the package; None where neither is.

    A label (``study@gpu``) is another scale of the same file.
    """
    name = study.partition("@")[0]
    files = (folder / f"{name}.yaml" for folder in (Path("paper_tables").resolve(), PACKAGE))
    found = next((path for path in files if path.is_file() and path.name != CLAIMS), None)
    return found if re.fullmatch(r"[\w.-]+", name) else None


def contents(path: Path) -> bytes:
    """Return the bytes of a plain file; OSError without it, and for a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file")
    return path.read_bytes()
