"""Open a bundle of `studies export`, verify its checksums, and find its trials and code.

A bundle may come from anybody: nothing outside its own folder is read, and nothing in it is run here.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from studies.engine.core.files import ZIP_ERRORS, DamagedFile
from studies.engine.core.trial import first_trials
from studies.engine.results.bundle.export import CHECKSUMS
from studies.engine.storage import records
from studies.engine.storage.plan_file import PlanFile, read_plan

ID = re.compile(r"[0-9a-f]{12}")
"""Of a trial, and of the code that it ran."""
MAX_FILES, MAX_RATIO, MAX_BYTES = 500_000, 200, 16 * 2**30
"""Of a bundle: files, and bytes unpacked; ratio: unpacked bytes per byte of the zip, beyond the first 64 MB."""


class CorruptBundle(ValueError):
    """The file is not a bundle, or was changed after the export; the message has one line per file."""


@dataclass(frozen=True)
class Bundle:
    """The unpacked folder."""

    folder: Path
    plan: PlanFile

    @cached_property
    def trials(self) -> list[str]:
        """Return the ids of trials that have both a config and a result, in the plan's order."""
        planned = dict.fromkeys(trial.folder for trial in self.plan.trials)
        return [name for name in planned if self.spec(name) and self.result(name)]

    def label(self, trial: str) -> str:
        """ "sret recursion=1 s0"."""
        found = (t for t in self.plan.trials if t.folder == trial)
        return next((f"{t.part} {t.arm} s{t.seed}" for t in found), "")

    def spec(self, trial: str) -> dict[str, Any] | None:
        return records.read_spec(self.folder / "trials" / trial / "spec.json")

    def result(self, trial: str) -> dict[str, Any] | None:
        return records.read_result(self.folder / "trials" / trial / "result.json")

    def firsts(self, trial: str) -> set[str]:
        """Return the trials that a trial starts from."""
        return set(first_trials((self.spec(trial) or {}).get("config", {})).values())

    def wrong_starts(self) -> Iterator[str]:
        """Yield trials that did not start from what their config names, or from other weights than that trial left."""
        waiting = list(self.trials)
        seen = set(waiting)
        for trial in waiting:
            firsts = self.firsts(trial)
            waiting += sorted(firsts - seen)
            seen |= firsts
            taken = (self.result(trial) or {}).get("started_from", {})
            if taken.keys() != firsts:
                yield f"{trial}  started from {_names(taken)}, but its config names {_names(firsts)}"
            for first, used in taken.items():
                result = self.result(first) if ID.fullmatch(first) else None
                if result is None:
                    yield f"{trial}  starts from {first}, whose result is not in the bundle"
                elif result.get("kept_weights", used).get("sha256") != used.get("sha256"):
                    yield f"{trial}  started from other weights than {first} has left: it was trained again since"

    def environment(self, trial: str) -> dict[str, Any]:
        return records.read_environment(self.folder / "trials" / trial / "env.json") or {}

    def code(self, trial: str) -> Path | None:
        """Return the code that the trial ran, if the bundle has it."""
        source = str(self.environment(trial).get("source"))
        folder = self.folder / "code" / source
        return folder if ID.fullmatch(source) and (folder / "studies" / "engine" / "worker.py").is_file() else None


def _names(trials: Iterable[str]) -> str:
    return ", ".join(sorted(trials)) or "nothing"


def unpack(archive: Path, place: Path) -> Bundle:
    """Unpack and verify a bundle.

    Raises:
        CorruptBundle: not a zip, too large, a file would land outside the folder, a checksum is wrong, or a file does
            not hold what it should.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            top = _top(archive, opened)
            opened.extractall(place)
    except ZIP_ERRORS as error:
        if isinstance(error, CorruptBundle):
            raise
        raise CorruptBundle(f"{archive}: {error}") from error
    folder = place / top
    if not (folder / CHECKSUMS).is_file():
        raise CorruptBundle(f"{archive}: not a bundle of studies export (no {CHECKSUMS})")
    if wrong := list(_wrong(folder)):
        raise CorruptBundle("\n".join(f"{archive}: {line}" for line in wrong))
    try:
        bundle = Bundle(folder, read_plan(folder))
        foreign = [trial.folder for trial in bundle.plan.trials if not ID.fullmatch(trial.folder)]
        if foreign:
            raise CorruptBundle(f"{archive}: plan.json: {foreign[0]} is not the id of a trial")
    except FileNotFoundError as error:
        raise CorruptBundle(f"{archive}: plan.json is missing") from error
    except DamagedFile as error:
        raise CorruptBundle(f"{archive}: plan.json is damaged") from error
    _read_all(archive, bundle)
    return bundle


def _read_all(archive: Path, bundle: Bundle) -> None:
    """Raise CorruptBundle where a file of a trial does not hold what it should."""
    for name in sorted(path.name for path in (bundle.folder / "trials").glob("*")):
        for file, read in (("spec", bundle.spec), ("result", bundle.result), ("env", bundle.environment)):
            try:
                read(name)
            except DamagedFile as error:
                raise CorruptBundle(f"{archive}: trials/{name}/{file}.json {error}") from error


def _top(archive: Path, opened: zipfile.ZipFile) -> str:
    """Return the one folder that everything is in."""
    names = [PurePosixPath(name) for name in opened.namelist()]
    for name in names:
        if name.is_absolute() or ".." in name.parts or not name.parts or "\\" in str(name):
            raise CorruptBundle(f"{archive}: {name} would land outside the folder")
    size = sum(entry.file_size for entry in opened.infolist())
    room = min(MAX_BYTES, 64 * 2**20 + MAX_RATIO * archive.stat().st_size)
    if size > room or len(names) > MAX_FILES:
        raise CorruptBundle(f"{archive}: {len(names)} files, {size} bytes unpacked: no export is that large")
    tops = {name.parts[0] for name in names}
    if len(tops) != 1:
        raise CorruptBundle(f"{archive}: not a bundle of studies export (no {CHECKSUMS})")
    return tops.pop()


def _wrong(folder: Path) -> Iterator[str]:
    here = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    text = here.pop(CHECKSUMS).read_text(encoding="utf-8", errors="replace")
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    for name, digest in listed.items():
        if name not in here:
            yield f"{name} is missing"
            continue
        with open(here[name], "rb") as f:
            if hashlib.file_digest(f, "sha256").hexdigest() != digest:
                yield f"{name} has changed since it was exported"
    yield from (f"{name} is not part of the export" for name in sorted(here.keys() - listed.keys()))
