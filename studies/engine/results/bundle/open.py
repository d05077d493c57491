"""A bundle that `studies export` made: opened, checked against its checksums, its trials and its code found."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.results.bundle.export import SUMS


class Damaged(ValueError):
    """Not a bundle, or not as it was exported; the message has a line per file."""


@dataclass(frozen=True)
class Bundle:
    """The unpacked folder."""

    folder: Path

    @property
    def plan(self) -> dict[str, Any]:
        return read_json(self.folder / "plan.json") or {}

    def trials(self) -> list[str]:
        """Ids of the trials that have both a config and a result, in the plan's order."""
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
        """The code that the trial ran, if the bundle has it."""
        folder = self.folder / "code" / str(self.environment(trial).get("source"))
        return folder if (folder / "studies" / "engine" / "worker.py").is_file() else None


def unpack(archive: Path, place: Path) -> Bundle:
    """Raises Damaged where the zip is none, where a file would land elsewhere, or where a checksum is wrong."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [PurePosixPath(name) for name in opened.namelist()]
            strays = [str(name) for name in names if name.is_absolute() or ".." in name.parts or "\\" in str(name)]
            if strays:
                raise Damaged(f"{archive}: {strays[0]} would land outside the folder")
            opened.extractall(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise Damaged(f"{archive}: {error}") from error
    tops = {name.parts[0] for name in names}
    if len(tops) != 1 or not (place / next(iter(tops)) / SUMS).is_file():
        raise Damaged(f"{archive}: no bundle of studies export (no {SUMS})")
    bundle = Bundle(place / next(iter(tops)))
    wrong = list(_wrong(bundle.folder))
    if wrong:
        raise Damaged("\n".join(f"{archive}: {line}" for line in wrong))
    return bundle


def _wrong(folder: Path) -> list[str]:
    listed, wrong = set(), []
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
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
    return wrong + [f"{name} is not of the export" for name in sorted(here - listed - {SUMS})]
