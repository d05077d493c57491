"""Write the frame: trials.csv, trials.parquet, curves.parquet; equal content gives equal bytes."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.engine.core.files import write_atomic
from studies.engine.results.readings import Cell, Curves, Row
from studies.engine.storage.plan_file import PlanFile

if TYPE_CHECKING:
    import pyarrow as pa

FRAME_VERSION = 1
INTEGERS = ("seed", "attempts", "model.params")
FLOATS = ("metric.", "cost.", "model.")
FORMULA, NUMBER = re.compile(r"'*[=+\-@\t\r＝＋－＠]"), re.compile(r"[=+-]|[+-]?[\d.]+(?:[eE][+-]?\d+)?")
"""What a spreadsheet takes for a formula gets an apostrophe in front; ``paper_tables/core/text.py`` takes it off."""


def write(folder: Path, plan: PlanFile, rows: list[Row], curves: Curves) -> Path:
    """Write all three files, each atomically and only if its bytes change; return the path of trials.csv."""
    path = folder / "trials.csv"
    _replace(folder / "curves.parquet", _parquet(_curve_table(curves, plan)))
    _replace(folder / "trials.parquet", _parquet(_row_table(rows, plan)))
    _replace(path, csv_text(rows).encode())
    return path


def metadata(plan: PlanFile) -> dict[str, Any]:
    """Return what tables need besides the rows."""
    fields = {key: getattr(plan, key) for key in ("study", "title", "label", "scale", "task", "study_text")}
    metrics = {k: {"from": m.source, "direction": m.direction, "unit": m.unit} for k, m in plan.metrics.items()}
    decide = {"decide": asdict(plan.decide)} if plan.decide else {}
    parts = [asdict(part) for part in plan.parts]
    overrides = {"overrides": list(plan.overrides)} if plan.overrides else {}
    return {"frame": FRAME_VERSION, **fields, "metrics": metrics, "parts": parts, **decide, **overrides}


def csv_text(rows: list[Row]) -> str:
    """Format rows as CSV: floats in their shortest exact form, missing values empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
        writer.writerows([_text(v) for v in row.values()] for row in rows)
    return out.getvalue()


def _text(value: Cell) -> str:
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _replace(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def _row_table(rows: list[Row], plan: PlanFile) -> pa.Table:
    import pyarrow as pa

    names = list(rows[0]) if rows else []
    types = [_type(name) for name in names]
    columns = [pa.array([row[name] for row in rows], type=t) for name, t in zip(names, types, strict=True)]
    return _tagged(pa.table(columns, names=names), plan)


def _type(column: str) -> pa.DataType:
    import pyarrow as pa

    if column in INTEGERS:
        return pa.int64()
    if column == "baseline":
        return pa.bool_()
    return pa.float64() if column.startswith(FLOATS) else pa.string()


def _curve_table(curves: Curves, plan: PlanFile) -> pa.Table:
    import pyarrow as pa

    def named(index: object, names: list[str]) -> pa.Array:
        codes = pa.array(memoryview(index), type=pa.int32())  # type: ignore[arg-type]
        return pa.DictionaryArray.from_arrays(codes, pa.array(names, type=pa.string())).cast(pa.string())

    columns = {
        "trial": named(curves.trial, curves.trials),
        "metric": named(curves.metric, list(curves.metrics)),
        "step": pa.array(memoryview(curves.step), type=pa.int64()),
        "value": pa.array(memoryview(curves.value), type=pa.float64()),
    }
    return _tagged(pa.table(columns), plan)


def _tagged(table: pa.Table, plan: PlanFile) -> pa.Table:
    tags = json.dumps(metadata(plan), ensure_ascii=False).encode()
    return table.replace_schema_metadata({b"dynvit": tags})


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()
