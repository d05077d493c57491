"""The terminal in README shows what its command prints today, and asks no server for a font."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from doc_pages import ROOT


def test_the_picture_is_what_the_command_prints(tmp_path: Path, user: dict[str, str]) -> None:
    kept, made = ROOT / "docs" / "terminal.svg", tmp_path / "terminal.svg"
    program = ROOT / "docs" / "generate" / "terminal.py"
    subprocess.run([sys.executable, str(program), str(made)], env=user, check=True)
    assert made.read_text() == kept.read_text(), f"python {program.relative_to(ROOT)} draws it again"
    assert kept.read_text().count("http") == 1  # the name of the format
    assert "docs/terminal.svg" in (ROOT / "README.md").read_text()
