"""Expected texts in tests/golden. DYNVIT_UPDATE_GOLDEN=1 rewrites them; read the difference before you commit it."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "engine"


def same(name: str, text: str) -> None:
    file = FOLDER / name
    if os.environ.get("DYNVIT_UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
