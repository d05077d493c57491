"""Open a bundle of `studies export`, verify its checksums, and find its trials and code."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.results.bundle.export import CHECKSUMS


class CorruptBundle(ValueError):
    """The file is not a bundle, or was changed after the export; the message has one line per file."""


@dataclass(frozen=True)
class Bundle:
    """The unpacked folder."""

    folder: Path

    @property
    def plan(self) -> dict[str, Any]:
        return read_json(self.folder / "plan.json") or {}

    def trials(self) -> list[str]:
        """Return the ids of trials that have both a config and a result, in the plan's order."""
        planned = dict.fromkeys(str(trial["folder"]) for trial in self.plan.get("trials", []))
        return [name for name in planned if self.spec(name) and self.result(name)]

    def label(self, trial: str) -> str:
        """ "sret recursion=1 s0"."""
        found = (t for t in self.plan.get("trials", []) if t["folder"] == trial)
        return next((f"{t['part']} {t['arm']} s{t['seed']}" for t in found), "")

    def spec(self, trial: str) -> dict[str, Any] | None:
        return read_json(self.folder / "trials" / trial / "spec.json")

    def result(self, trial: str) -> dict[str, Any] | None:
        return read_json(self.folder / "trials" / trial / "result.json")

    def environment(self, trial: str) -> dict[str, Any]:
        return read_json(self.folder / "trials" / trial / "env.json") or {}

    def code(self, trial: str) -> Path | None:
        """Return the code that the trial ran, if the bundle has it."""
        folder = self.folder / "code" / str(self.environment(trial).get("source"))
        return folder if (folder / "studies" / "engine" / "worker.py").is_file() else None


def unpack(archive: Path, place: Path) -> Bundle:
    """Unpack and verify a bundle.

    Raises:
        CorruptBundle: not a zip, a file would land outside the folder, or a checksum is wrong.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [PurePosixPath(name) for name in opened.namelist()]
            strays = [str(name) for name in names if name.is_absolute() or ".." in name.parts or "\\" in str(name)]
            if strays:
                raise CorruptBundle(f"{archive}: {strays[0]} would land outside the folder")
            opened.extractall(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise CorruptBundle(f"{archive}: {error}") from error
    tops = {name.parts[0] for name in names}
    if len(tops) != 1 or not (place / next(iter(tops)) / CHECKSUMS).is_file():
        raise CorruptBundle(f"{archive}: not a bundle of studies export (no {CHECKSUMS})")
    bundle = Bundle(place / next(iter(tops)))
    wrong = list(_wrong(bundle.folder))
    if wrong:
        raise CorruptBundle("\n".join(f"{archive}: {line}" for line in wrong))
    return bundle


def _wrong(folder: Path) -> list[str]:
    listed, wrong = set(), []
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        listed.add(name)
        try:
            body = (folder / name).read_bytes()
        except OSError:
            wrong.append(f"{name} is missing")
            continue
        if hashlib.sha256(body).hexdigest() != digest:
            wrong.append(f"{name} has changed since it was exported")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return wrong + [f"{name} is not part of the export" for name in sorted(here - listed - {CHECKSUMS})]
