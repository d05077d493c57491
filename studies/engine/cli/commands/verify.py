"""``studies verify BUNDLE``."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from studies.engine.cli.options import UsageError, json_option, json_output
from studies.engine.core.formatting import and_more
from studies.engine.results.bundle.contradictions import contradictions
from studies.engine.results.bundle.open import Bundle, CorruptBundle, unpack
from studies.engine.results.bundle.rerun import RerunOptions, RerunResult, rerun, sample
from studies.engine.storage.code_snapshot import fingerprint, root

SHOWN = 10
"""Contradictions that are listed."""


@click.command()
@click.argument("bundle", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--sample",
    "count",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Number of randomly chosen trials to rerun (0: none).",
)
@click.option("--pick", "seed", default=0, show_default=True, help="Seed of the random choice.")
@click.option(
    "--trial", "named", multiple=True, metavar="ID", help="Rerun this trial (the beginning of its id is enough)."
)
@click.option(
    "--tolerance", default=0.0, show_default=True, help="Relative difference that counts as agreement (0.01: 1 %)."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda:0.")
@click.option(
    "--cpus", type=click.IntRange(min=1), default=1, show_default=True, help="Threads per trial; use as many as it had."
)
@click.option("--own-code", is_flag=True, help="Run code and tasks of this installation, nothing of the bundle.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="Keep the trial folders here.")
@json_option
def command(
    bundle: Path,
    count: int,
    seed: int,
    named: tuple[str, ...],
    tolerance: float,
    device: str,
    cpus: int,
    own_code: bool,
    results: Path | None,
    as_json: bool,
) -> int:
    """Check an export: its checksums, its frame against its trials, and the numbers of a sample that runs again.

    Runs the code that is in BUNDLE: trust its author, or use --own-code. Exit code 0: all agree,
    1: some differ, 2: BUNDLE was changed after the export.
    """
    if not os.path.isfile(bundle):
        raise UsageError(f"no file {bundle}; `studies export` prints where it writes one")
    options = RerunOptions(device, cpus, own_code, tolerance)
    with json_output(as_json) as found:
        code = _verify(bundle, count, seed, named, options, results, found)
        found["agrees"] = code == 0
    return code


def _verify(
    bundle: Path,
    count: int,
    seed: int,
    named: tuple[str, ...],
    options: RerunOptions,
    results: Path | None,
    found: dict[str, Any],
) -> int:
    """found: what the trials gave is put into it."""
    with tempfile.TemporaryDirectory(prefix="dynvit-verify-") as place:
        try:
            opened = unpack(bundle, Path(place) / "bundle")
        except CorruptBundle as error:
            raise UsageError(str(error)) from error
        available = opened.trials
        click.echo(f"bundle    {opened.folder.name}, {len(available)} trials with results, checksums match")
        wrong, contradicted = list(opened.wrong_starts()), list(contradictions(opened))
        for line in (*wrong, *contradicted[:SHOWN]):
            click.echo(line)
        if len(contradicted) > SHOWN:
            click.echo(and_more(contradicted, SHOWN))
        found |= {
            "wrong_starts": wrong,
            "contradictions": contradicted,
            "available": len(available),
            "trials": [],
        }
        chosen = _named(available, named) if named else sample(opened, count, seed)
        if not chosen:
            return int(bool(wrong or contradicted))
        click.echo(f"code      {_code(opened, chosen, options.own_code)}")
        where = results or Path(place) / "results"
        where.mkdir(parents=True, exist_ok=True)
        done, ran = list[RerunResult](), dict[str, str]()
        for trial in chosen:
            done.append(rerun(opened, trial, where.resolve(), options, ran))
            _say(done[-1], opened.label(trial))
        found["trials"] = [asdict(one) for one in done]
    return max(int(bool(wrong or contradicted)), _summarize(done, len(available)))


def _named(available: list[str], named: tuple[str, ...]) -> list[str]:
    chosen = []
    for start in named:
        found = [trial for trial in available if trial.startswith(start)]
        if len(found) != 1:
            raise UsageError(f"--trial {start}: {len(found) or 'no'} trials of the bundle match")
        chosen += found
    return list(dict.fromkeys(chosen))


def _code(bundle: Bundle, chosen: list[str], own: bool) -> str:
    made = sorted({str(bundle.environment(trial).get("source") or "unknown") for trial in chosen})
    ours = fingerprint(root())
    if own or any(bundle.code(trial) is None for trial in chosen):
        why = "" if own else "the bundle has none; "
        same = "the same" if made == [ours] else f"the bundle's numbers are of {', '.join(made)}"
        return f"{why}this installation's, {ours}: {same}"
    return f"{', '.join(made)} of the bundle"


def _say(result: RerunResult, label: str) -> None:
    head = f"{result.trial}  {label}"
    if result.reason:
        click.echo(f"{head}: {result.reason}")
        return
    close = f", {result.count('close')} within the tolerance" if result.count("close") else ""
    click.echo(f"{head}: {result.count('equal')} equal{close}, {result.count('timing')} timings not compared")
    for number in result.numbers:
        if number.verdict == "differs":
            difference = number.relative_difference
            click.echo(f"  differs  {number.name:24} {number.then:.6g} then, {number.now:.6g} now ({difference:.2g})")
        elif number.verdict == "missing":
            click.echo(f"  missing  {number.name:24} {number.then:.6g} then, not measured now")


def _summarize(done: list[RerunResult], available: int) -> int:
    agree = sum(result.agrees for result in done)
    click.echo(f"verified  {agree} of {len(done)} trials agree ({available} in the bundle)")
    return 0 if agree == len(done) else 1
