"""Hashes of the inputs and outputs of a rendering, so that nothing is rendered twice. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paper_tables.core.files import write_atomic
from paper_tables.core.paths import CLAIMS, PACKAGE, RECORD, contents, is_own, table_file_of
from paper_tables.site import mlflow_links

FRAMES = ("trials.parquet", "trials.csv", "curves.parquet", "predictions.npz", "decisions.json")
LIBRARIES = ("matplotlib", "seaborn", "pandas", "numpy", "scipy", "jinja2")


@dataclass(frozen=True)
class Rendered:
    """Contents by file name; `about`: summary for the index of all studies; `studies`: other studies that were used."""

    files: dict[str, bytes]
    about: dict[str, Any] = field(default_factory=dict)
    studies: tuple[str, ...] = ()


@dataclass(frozen=True)
class RenderCache:
    """Hashes of the inputs of a rendering, and the record of its outputs."""

    folder: Path
    spec: Path | None
    inputs: dict[str, str]

    @classmethod
    def of(cls, folder: Path, spec: Path | None) -> RenderCache:
        spec = table_file_of(folder, spec)
        inputs = {name: _hash(folder / name) for name in FRAMES}
        inputs.update({f"maps/{file.name}": _hash(file) for file in sorted(folder.glob("maps/*.npz"))})
        inputs["spec"] = _hash(spec) if spec else ""
        inputs["spec.name"] = spec.name if spec else ""
        inputs["claims"] = _hash(spec.with_name(CLAIMS)) if spec and spec.with_name(CLAIMS).is_file() else ""
        for file in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2"), *(PACKAGE / "published").glob("*.csv")]):
            inputs[file.relative_to(PACKAGE).as_posix()] = _hash(file)
        inputs.update({name: _version(name) for name in LIBRARIES})
        inputs["runs"] = hashlib.sha256(json.dumps(mlflow_links.links(folder)).encode()).hexdigest()
        return cls(folder, spec, inputs | _other_frames(folder, read_record(folder).get("studies", ())))

    def cached_outputs(self) -> list[str] | None:
        """Return the outputs if all exist unchanged since they were rendered from these inputs, else None."""
        last = read_record(self.folder)
        outputs = last.get("outputs", {})
        if last.get("inputs") != self.inputs or not outputs:
            return None
        if any(_hash(self.folder / name) != digest for name, digest in outputs.items()):
            return None
        return list(outputs)

    def write(self, rendered: Rendered) -> list[str]:
        """Write and record the outputs, remove those of an earlier rendering; return the names."""
        files = rendered.files
        for name in set(read_record(self.folder).get("outputs", {})) - set(files):
            if _inside(name):
                (self.folder / name).unlink(missing_ok=True)
        for name, data in files.items():
            write_atomic(self.folder / name, data)
        outputs = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        inputs = {name: digest for name, digest in self.inputs.items() if not name.startswith("../")}
        inputs |= _other_frames(self.folder, rendered.studies)
        record: dict[str, Any] = {
            "inputs": inputs,
            "outputs": outputs,
            "studies": list(rendered.studies),
            "about": rendered.about,
        }
        record["spec"] = str(self.spec.resolve()) if self.spec and is_own(self.spec) else ""
        write_atomic(self.folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
        return list(files)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder's last rendering, or {}."""
    try:
        last = json.loads(contents(folder / RECORD))
    except (OSError, ValueError, RecursionError):
        return {}
    return last if isinstance(last, dict) else {}


def _other_frames(folder: Path, studies: Iterable[str]) -> dict[str, str]:
    """Return the hashes of the frames of other studies, in all folders where they may be."""
    place = folder.resolve()
    label = place.name.partition("@")[1:]
    names = dict.fromkeys(name for study in studies for name in (study + "".join(label), study))
    return {f"../{name}/{file}": _hash(place.parent / name / file) for name in names for file in FRAMES}


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(contents(path)).hexdigest()
    except OSError:
        return ""


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _inside(name: str) -> bool:
    """Return whether a rendering can have made the file: the record may be edited by hand."""
    return ".." not in name and (name.startswith(("tables/", "figures/")) or name == "origins.csv")
