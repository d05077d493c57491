"""The trial's checkpoint: written atomically, verified when read, the previous one kept until the next.

``ckpt/last.json`` holds size, sha256, attempt and seconds of the newest file and of the one before. It is written
before either file moves, so whichever rename a kill falls between, each file on disk can be verified, and a file that
it does not name, of a worker that came too late, is not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile, make_folder, open_regular, set_aside, write_atomic
from studies.engine.storage import records
from studies.engine.storage.trial_folder import TrialFolder


class Checkpoint:
    def __init__(self, folder: TrialFolder) -> None:
        self.last = folder.checkpoint_file
        self.previous = self.last.with_name("previous.pt")
        self.sidecar = self.last.with_name("last.json")
        self.step, self.seconds = 0, 0.0
        """The last step logged before the checkpoint that `find` returned, and the time spent until then."""

    def save(
        self,
        write: Callable[[Path], None],
        step: int,
        attempt: int = 0,
        commit: Callable[[], None] = lambda: None,
        seconds: float = 0.0,
    ) -> None:
        """Replace the checkpoint by the file that `write` creates at the path it is given.

        commit: called last before anything is replaced, and may raise. seconds: spent on the trial until here.
        """
        make_folder(self.last.parent)
        temporary = self.last.with_name(f".{self.last.name}.{os.getpid()}")
        try:
            write(temporary)
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
            newest = {**_fingerprint(temporary), "step": step, "attempt": attempt, "seconds": seconds}
            known = {"last": newest, "previous": self._known().get("last")}
            write_atomic(self.sidecar, json.dumps(known) + "\n", commit=commit)
            if self.last.exists():
                os.replace(self.last, self.previous)
            os.replace(temporary, self.last)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def find(self, say: Callable[[str], None]) -> Path | None:
        """Return the newest intact checkpoint, or None; damaged ones are set aside and reported."""
        known = list(self._known().values())
        for file in filter(os.path.lexists, (self.last, self.previous)):
            with contextlib.suppress(OSError):
                is_ = _fingerprint(file)
                for entry in known:
                    if is_.items() <= entry.items():
                        self.step, self.seconds = entry.get("step", 0), float(entry.get("seconds", 0.0))
                        return file
            say(f"checkpoint {file.name} is damaged, set aside as {set_aside(file).name}")
        return None

    def digest(self) -> str:
        """Return the newest file's sha256, empty before the first `save`: shows whether a trial made progress."""
        return str(self._known().get("last", {}).get("sha256", ""))

    def remove(self) -> None:
        shutil.rmtree(self.last.parent, ignore_errors=True)

    def _known(self) -> dict[str, dict[str, Any]]:
        try:
            return records.read_checkpoints(self.sidecar) or {}
        except DamagedFile:
            return {}


def _fingerprint(file: Path) -> dict[str, Any]:
    with open_regular(file) as f:
        return {"size": os.fstat(f.fileno()).st_size, "sha256": hashlib.file_digest(f, "sha256").hexdigest()}


def keeps_checkpoint(config: object) -> bool:
    """Return whether the config has `keep_checkpoint: true` at any level."""
    return isinstance(config, dict) and (
        config.get("keep_checkpoint") is True or any(keeps_checkpoint(value) for value in config.values())
    )
