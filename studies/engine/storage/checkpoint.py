"""The trial's checkpoint: written atomically, verified when read, the previous one kept until the next.

``ckpt/last.json`` holds size and sha256 of the newest file and of the one before. It is written before either file
moves, so whichever rename a kill falls between, each file on disk can be verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json, write_atomic
from studies.engine.storage.trial_folder import TrialFolder


class Checkpoint:
    def __init__(self, folder: TrialFolder) -> None:
        self.last = folder.checkpoint_file
        self.previous = self.last.with_name("previous.pt")
        self.sidecar = self.last.with_name("last.json")
        self.step = 0
        """The last step logged before the checkpoint that `find` returned."""

    def save(self, write: Callable[[Path], None], step: int) -> None:
        """Replace the checkpoint by the file that `write` creates at the path it is given."""
        self.last.parent.mkdir(exist_ok=True)
        temporary = self.last.with_name(f".{self.last.name}.{os.getpid()}")
        try:
            write(temporary)
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
            newest = {**_fingerprint(temporary), "step": step}
            known = {"last": newest, "previous": (read_json(self.sidecar) or {}).get("last")}
            write_atomic(self.sidecar, json.dumps(known) + "\n")
            if self.last.exists():
                os.replace(self.last, self.previous)
            os.replace(temporary, self.last)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def find(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest intact checkpoint, or None; damaged ones are set aside and reported."""
        known = [k for k in (read_json(self.sidecar) or {}).values() if k]
        for file in (self.last, self.previous):
            if not file.exists():
                continue
            is_ = _fingerprint(file)
            for entry in known:
                if is_.items() <= entry.items():
                    self.step = int(entry.get("step", 0))
                    return file
            aside = file.with_name(f"{file.name}.damaged.{int(time.time())}")
            os.replace(file, aside)
            say(f"checkpoint {file.name} is damaged, set aside as {aside.name}")
        return None

    def digest(self) -> str:
        """Return the newest file's sha256, empty before the first `save`: shows whether a trial made progress."""
        return str(((read_json(self.sidecar) or {}).get("last") or {}).get("sha256", ""))

    def remove(self) -> None:
        shutil.rmtree(self.last.parent, ignore_errors=True)


def _fingerprint(file: Path) -> dict[str, Any]:
    with open(file, "rb") as f:
        return {"size": os.fstat(f.fileno()).st_size, "sha256": hashlib.file_digest(f, "sha256").hexdigest()}
