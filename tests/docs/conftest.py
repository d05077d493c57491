"""What the tests of the documentation share: its pages, code blocks, and a folder in which a tutorial is followed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """A fenced block. bash: run as it stands; console: shown only; with a title: a file."""

    page: str
    language: str
    title: str
    text: str


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    return [Block(page.name, *match.groups()) for match in FENCE.finditer(page.read_text())]


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has installed the package and has nothing else."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("LANG", "CI") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "NO_MKDOCS_2_WARNING": "1",
    }
