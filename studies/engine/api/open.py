"""Find the results that a name or a path means, and bring their frame up to date."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.api.errors import ResultsError, as_sentences
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files

FRAMES = ("trials.parquet", "trials.csv")
VARIABLE = "DYNVIT_RESULTS"
_NAME = re.compile(r"\w[\w.@+=,-]*")


@dataclass(frozen=True)
class Place:
    """Where results are. trials: the folder of their trials' folders; held: keeps a temporary folder alive."""

    folder: Path
    trials: Path
    spec: Path | None = None
    held: Any = None


def results_folder(results: str | Path | None) -> Path:
    """Return the results folder: the given one, $DYNVIT_RESULTS, or ``results``."""
    if not isinstance(results, str | Path | None):
        raise ResultsError(f"results is a path, not {results!r}")
    return Path(results or os.environ.get(VARIABLE) or "results").expanduser()


def locate(study: str | Path, results: str | Path | None, scale: str | None) -> Place:
    """Return where the results of a study are: by name, or by the path of their folder, frame or export.

    Raises:
        ResultsError: there are none; the text names the nearest study, or the command that makes them.
    """
    if not isinstance(study, str | Path):
        raise ResultsError(f"{study!r} is no study: give its name, or the path of its results")
    try:
        root, path = results_folder(results), Path(study).expanduser()
    except RuntimeError as error:  # no such person
        raise ResultsError(f"{study}: {error}") from error
    name = str(study)
    if not isinstance(study, Path) and _NAME.fullmatch(name) and (found := _by_name(root, name, scale)):
        return _up_to_date(found)
    if path.suffix in study_files.SUFFIXES:  # the file itself may be gone
        found = _by_name(root, path.stem, scale)
        return _up_to_date(found) if found else _missing(root, name, scale)
    if scale and os.path.exists(path):
        raise ResultsError(f"{path} is one run of a study: leave out scale={scale!r}, or open the study by its name")
    if os.path.isfile(path):
        if path.suffix == ".zip":
            return _unpacked(path)
        if path.name in FRAMES:
            return _up_to_date(path.parent)
        raise ResultsError(f"{path} is neither a study, nor trials.parquet, nor the zip of an export")
    if os.path.isdir(path):
        if _has_results(path):
            return _up_to_date(path)
        inside = sorted(folder.name for folder in path.iterdir() if _has_results(folder))
        hint = f"; open one of the studies in it: {', '.join(inside)}" if inside else ""
        raise ResultsError(f"{path} holds no results of a study (no trials.parquet, no plan.json){hint}")
    return _missing(root, name, scale)


def _by_name(root: Path, name: str, scale: str | None) -> Path | None:
    """Return the folder of a study, with its label (``name@label``) or that of a scale."""
    name, _, label = name.partition("@")
    if label and scale:
        raise ResultsError(f"{name}@{label} already names its scale: leave out scale={scale!r}")
    label = label or scale or ""
    folder = plan_file.find(root, name, label) or root / plan_file.folder_name(name, label)
    return folder if _has_results(folder) else None


def _has_results(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in (*FRAMES, plan_file.NAME))


def _missing(root: Path, name: str, scale: str | None) -> Place:
    """Say where the results might be, or how to make them."""
    known, there = study_files.names(), _folders(root)
    is_file = name.endswith(study_files.SUFFIXES)
    plain = Path(name).stem if is_file else name.partition("@")[0]
    others = [folder for folder in there if folder.partition("@")[0] == plain]
    if is_file and not os.path.isfile(Path(name).expanduser()):
        raise ResultsError(f"{name}: no such file, and no results of that name in {root}{suggest(plain, there)}")
    if plain in known or is_file:
        command = f"python -m studies run {name}{f' --scale {scale}' if scale else ''}"
        hint = f"; there is {', '.join(others)}" if others else f"; `{command}` makes them"
        raise ResultsError(f"{name} has no results{f' at scale {scale}' if scale else ''} in {root}{hint}")
    if others:
        raise ResultsError(
            f"no results {name}{f' at scale {scale}' if scale else ''} in {root}; there is {', '.join(others)}"
        )
    near = suggest(name, [*there, *known]) or (suggest_or_list(name, there) if there else "")
    raise ResultsError(f'no study and no results "{name}" in {root}{near}')


def _folders(root: Path) -> list[str]:
    return sorted(folder.name for folder in root.glob("*") if _has_results(folder)) if root.is_dir() else []


def _up_to_date(folder: Path) -> Place:
    """Collect what the trials have left since, where the trials' folders are there too."""
    trials = folder.resolve().parent / "trials"
    if os.path.isfile(folder / plan_file.NAME) and trials.is_dir():
        from studies.engine.results.collect import collect

        try:
            with as_sentences():
                collect(Store(folder.resolve().parent), folder.resolve())
        except ResultsError as error:
            if not isinstance(error.__cause__, OSError) or not any((folder / name).is_file() for name in FRAMES):
                raise
            warnings.warn(f"{error}: trials that ended since the frame was written are not in it", stacklevel=4)
    return Place(folder, trials)


def _unpacked(archive: Path) -> Place:
    """Unpack an export into a temporary folder, its checksums verified; nothing in it is run."""
    from studies.engine.results.bundle.export import CLAIMS
    from studies.engine.results.bundle.open import unpack

    held = tempfile.TemporaryDirectory(prefix="dynvit-")
    with as_sentences():
        bundle = unpack(archive, Path(held.name))
    spec = next((file for file in sorted(bundle.folder.glob("paper_tables/*.yaml")) if file.name != CLAIMS), None)
    return Place(bundle.folder, bundle.folder / "trials", spec, held)
