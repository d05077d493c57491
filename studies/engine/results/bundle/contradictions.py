"""Where a bundle contradicts itself: frame and means against plan and results of the trials, ids against configs."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.trial import State
from studies.engine.planning.identity import task_name, trial_id
from studies.engine.results.bundle.open import Bundle
from studies.engine.results.bundle.summary import summary
from studies.engine.results.frame_io import csv_text
from studies.engine.results.readings import Reading, is_from_events, rows

FRAME, TYPED_FRAME, MEANS = "trials.csv", "trials.parquet", "results.json"
UNKNOWN = ("attempts", "started", "ended")
"""Columns of a frame that a bundle has nowhere else."""
NUMBERS = ("metric.", "cost.", "model.")
Cells = Mapping[str, str | None]


def contradictions(bundle: Bundle) -> Iterator[str]:
    """Yield a line per trial that is not of its config, per row of the frame that is not its trial's, per mean that is
    not that of its trials.

    Numbers that come from curves are not compared: a bundle has the curves, not the events that they were read from.
    """
    for name in bundle.trials:
        if _id(bundle.spec(name) or {}) != name:
            yield f"{name}  {bundle.label(name)}: its config, seed or task was changed, as they give another id"
    readings = {name: _reading(bundle, name) for name in dict.fromkeys(t.folder for t in bundle.plan.trials)}
    wanted = _cells(csv_text(rows(bundle.plan, readings)))
    if not (bundle.folder / FRAME).is_file():
        yield f"{FRAME} is not in the bundle"
    for file in filter(Path.is_file, (bundle.folder / FRAME, bundle.folder / TYPED_FRAME)):
        try:
            found = _read(file, len(wanted))
        except (csv.Error, OSError, ValueError) as error:
            yield f"{file.name} cannot be read: {str(error).splitlines()[0][:200]}"
        else:
            yield from _frame(bundle, file.name, found, wanted)
    if (bundle.folder / MEANS).is_file():
        yield from _means(bundle, readings)


def _id(spec: Mapping[str, Any]) -> str:
    """Return the id that a config gives; empty where none has such a config."""
    try:
        return trial_id(task_name(spec["task"]), spec.get("revision", 1), spec["config"], spec["seed"])
    except (KeyError, ValueError):  # no config at all, or with what is no number
        return ""


def _reading(bundle: Bundle, name: str) -> Reading:
    result = bundle.result(name)
    state = State("done" if result is not None else "planned")
    return Reading(name, state, state.status, result or {}, bundle.environment(name))


# ---- the frame


def _read(file: Path, planned: int) -> list[dict[str, str]]:
    """Return the rows as text. ValueError for a table that was not written by this package."""
    if file.name == FRAME:
        return _cells(file.read_bytes().decode(errors="replace"))
    from pyarrow import parquet

    opened = parquet.ParquetFile(file)
    if opened.metadata.num_rows > 2 * planned + 1000:  # a few bytes may stand for billions
        raise ValueError(f"{opened.metadata.num_rows} rows, for {planned} of the plan")
    return _cells(csv_text(opened.read().to_pylist()))


def _cells(text: str) -> list[dict[str, str]]:
    found = csv.DictReader(io.StringIO(text, newline=""))
    return [{str(key): str(cell or "") for key, cell in row.items()} for row in found]


def _frame(bundle: Bundle, file: str, found: Iterable[Cells], wanted: Iterable[Cells]) -> Iterator[str]:
    expected = {_key(row): row for row in wanted}
    seen = Counter[tuple[str, ...]]()
    for row in found:
        key = _key(row)
        seen[key] += 1
        if key not in expected:
            yield f"{row.get('trial')}  {_title(key)}: in {file}, and not planned"
        elif seen[key] == 2:
            yield f"{row.get('trial')}  {_title(key)}: more than once in {file}"
        elif seen[key] == 1:
            head = f"{expected[key]['trial']}  {_title(key)}"
            yield from (f"{head}: {text}" for text in _row(bundle, file, row, expected[key]))
    for key in [key for key in expected if key not in seen]:
        yield f"{expected[key]['trial']}  {_title(key)}: not in {file}"


def _key(row: Cells) -> tuple[str, ...]:
    return tuple(str(row.get(column) or "") for column in ("part", "arm", "seed"))


def _title(key: tuple[str, ...]) -> str:
    part, arm, seed = key
    return f"{part} {arm} s{seed}"


def _row(bundle: Bundle, file: str, row: Cells, wanted: Cells) -> Iterator[str]:
    has_result = bundle.result(str(wanted["trial"])) is not None
    if (row.get("status") == "done") != has_result:
        yield f"{row.get('status')} in {file}, and {'with a' if has_result else 'without a'} result"
        return
    events = {f"metric.{name}" for name, metric in bundle.plan.metrics.items() if is_from_events(metric)}
    for column, there in wanted.items():
        if column in (*UNKNOWN, "status", *events) or (column not in row and not column.startswith("metric.")):
            continue  # a frame of an earlier version has fewer columns
        here = row.get(column) or ""
        if here != there and not (column.startswith(NUMBERS) and _equal(here, there or "")):
            where = "result" if column.startswith(NUMBERS) else "environment" if column.startswith("env.") else "plan"
            of = "the" if where == "plan" else "its"
            name = column.removeprefix("metric.")
            yield f"{name} is {here or 'empty'} in {file}, {there or 'empty'} in {of} {where}"


def _equal(cell: str, there: str) -> bool:
    try:
        here, number = float(cell), float(there)
    except ValueError:
        return False
    return math.isclose(here, number, rel_tol=1e-12) or (math.isnan(here) and math.isnan(number))


# ---- the means


def _means(bundle: Bundle, readings: Mapping[str, Reading]) -> Iterator[str]:
    specs = {name: bundle.spec(name) or {} for name in readings}
    wanted = _by_metric(summary(bundle.plan, readings, specs)["results"])
    lines = (read_json(bundle.folder / MEANS) or {}).get("results")
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        yield f"{MEANS} has no list of results"
        return
    events = [name for name, metric in bundle.plan.metrics.items() if is_from_events(metric)]
    found = _by_metric(line for line in lines if line.get("metric") not in events)
    for key in dict.fromkeys((*wanted, *found)):
        here, there = found.get(key, {}), wanted.get(key, {})
        for name in ("value", "sd", "n", "seeds", "trials"):
            if here.get(name) != there.get(name) and not _equal(str(here.get(name)), str(there.get(name))):
                shown = f"{here.get(name, 'missing')} in {MEANS}, {there.get(name, 'missing')} from its trials"
                yield f"{' '.join(key)}: {name} is {shown}"
                break


def _by_metric(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, ...], Mapping[str, Any]]:
    return {tuple(str(line.get(key)) for key in ("part", "arm", "metric")): line for line in lines}
