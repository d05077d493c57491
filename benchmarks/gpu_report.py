"""Rows of results as JSON lines, and what is made of them: CSV files and README.md of one device (see on_gpu.py)."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TRAINING = (
    "model", "mac_ratio", "training_mac_ratio", "step_ratio", "low", "high", "excess", "saved_ratio", "step_ms",
    "data_percent", "memory_mb",
)  # fmt: skip
SPEED = (
    "model",
    "batch",
    "mode",
    "dtype",
    "speed_up",
    "low",
    "high",
    "mac_ratio",
    "share",
    "ms",
    "backbone_ms",
    "error",
)
CHECK = ("check", "model", "size", "dtype", "mode", "value", "limit", "ok", "differing", "decisions", "error")
Row = dict[str, Any]


def record(file: Path, row: Row) -> None:
    """Append one row; several processes may do so at once."""
    with file.open("a") as f:
        f.write(json.dumps(row) + "\n")


def read_rows(file: Path) -> list[Row]:
    """Every complete row."""
    rows = []
    for line in file.read_text().splitlines() if file.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def short(error: BaseException) -> str:
    """Type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


def write_csv(file: Path, rows: list[Row], about: Row) -> None:
    """Comment lines that say where it was measured, then one line a row."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "kind"))
    with file.open("w", newline="") as f:
        f.writelines(f"# {key}: {value}\n" for key, value in about.items())
        writer = csv.DictWriter(f, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def report(about: Row, rows: list[Row]) -> Iterator[str]:
    """README.md, line by line."""
    yield f"# {about['device']}" + " (rehearsal: these numbers mean nothing)" * about["rehearsal"]
    yield "\nMade by `benchmarks/on_gpu.py`. " + ", ".join(f"{key} {value}" for key, value in about.items()) + ".\n"
    yield from table([r for r in rows if r["kind"] == "step"], ("step", "status", "seconds", "budget"))
    for ceiling in (r for r in rows if r["kind"] == "ceiling"):
        yield f"\nThis card: {ceiling['bf16_tflops']} TFLOP/s (bf16 product), {ceiling['copy_tb_per_s']} TB/s (copy)."
    yield "\n## Speed\n\nMedian of rounds in turn with the backbone, `low` and `high` their quartiles; share: speed-up"
    yield "over MAC ratio. Methods with image-dependent shapes run masked when compiled, which saves no time.\n"
    yield from table([r for r in rows if r["kind"] == "speed"], SPEED)
    for mode in (r for r in rows if r["kind"] == "planned"):
        done = sum(r["kind"] == "speed" and r["mode"] == mode["mode"] for r in rows)
        if done < mode["count"]:
            yield f"\nOf {mode['count']} {mode['mode']} measurements {mode['count'] - done} were not reached in time."
    yield "\n## Training\n\nTime of an update over the backbone's (`step_ratio`), quartiles, MACs at inference and in"
    yield "training mode; excess: step ratio over the latter; saved: memory kept for backward over the backbone's.\n"
    yield from table([r for r in rows if r["kind"] == "training"], TRAINING)
    checks = [r for r in rows if r["kind"] == "correctness"]
    judged = [r for r in checks if "ok" in r]
    yield f"\n## Correctness\n\n{sum(r['ok'] for r in judged)} of {len(judged)} judged checks hold.\n"
    yield from table(checks, CHECK)
    for campaign in (r for r in rows if r["kind"] == "campaign"):
        yield "\n## CIFAR-10 (JPEG) campaign\n\n```\n" + "\n".join(campaign["output"]) + "\n```"


def table(rows: list[Row], columns: Sequence[str]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |"


def cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) and abs(value) < 1e-2 else str(value)
    return text.replace("|", "/")[:160]
