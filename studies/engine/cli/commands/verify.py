"""``studies verify BUNDLE``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from studies.engine.cli.options import UsageError
from studies.engine.results.bundle.open import Bundle, Damaged, unpack
from studies.engine.results.bundle.rerun import How, Repeated, repeat, sample
from studies.engine.storage.code_snapshot import fingerprint, root


@click.command()
@click.argument("bundle", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--sample", "count", default=3, show_default=True, help="How many trials, drawn by lot; 0: checksums only."
)
@click.option("--pick", default=0, show_default=True, help="Another number draws other trials.")
@click.option("--trial", "named", multiple=True, metavar="ID", help="This trial (the id's beginning is enough).")
@click.option("--tolerance", default=0.0, show_default=True, help="Relative difference that still agrees (0.01: 1 %).")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda:0.")
@click.option("--cpus", default=1, show_default=True, help="Threads per trial; as many as it had.")
@click.option("--own-code", is_flag=True, help="Run the code of this installation, not the one in the bundle.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="Keep the trials' folders here.")
def command(
    bundle: Path,
    count: int,
    pick: int,
    named: tuple[str, ...],
    tolerance: float,
    device: str,
    cpus: int,
    own_code: bool,
    results: Path | None,
) -> int:
    """Check an export's checksums, run a sample of its trials again, and say which numbers agree.

    Runs the code that is in BUNDLE. Exit code 0 where all agree, 1 where not, 2 where BUNDLE is not as it was exported.
    """
    if not bundle.is_file():
        raise UsageError(f"no file {bundle}; `studies export` says where it has put one")
    with tempfile.TemporaryDirectory(prefix="dynvit-verify-") as place:
        try:
            opened = unpack(bundle, Path(place) / "bundle")
        except Damaged as error:
            raise UsageError(str(error)) from error
        available = opened.trials()
        click.echo(f"bundle    {opened.folder.name}, {len(available)} trials with results, checksums right")
        chosen = _named(available, named) if named else sample(opened, count, pick)
        if not chosen:
            return 0
        click.echo(f"code      {_code(opened, chosen, own_code)}")
        where = results or Path(place) / "results"
        where.mkdir(parents=True, exist_ok=True)
        how, done = How(device, cpus, own_code, tolerance), []
        for trial in chosen:
            done.append(repeat(opened, trial, where.resolve(), how))
            _say(done[-1], opened.label(trial))
    return _sum(done, len(available))


def _named(available: list[str], named: tuple[str, ...]) -> list[str]:
    chosen = []
    for start in named:
        found = [trial for trial in available if trial.startswith(start)]
        if len(found) != 1:
            raise UsageError(f"--trial {start}: {len(found) or 'no'} trials of the bundle begin so")
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


def _say(repeated: Repeated, label: str) -> None:
    head = f"{repeated.trial}  {label}"
    if repeated.reason:
        click.echo(f"{head}: {repeated.reason}")
        return
    close = f", {repeated.count('close')} within the tolerance" if repeated.count("close") else ""
    click.echo(f"{head}: {repeated.count('equal')} equal{close}, {repeated.count('clocked')} timings not compared")
    for number in repeated.numbers:
        if number.verdict == "differs":
            click.echo(f"  differs  {number.name:24} {number.then:.6g} then, {number.now:.6g} now ({number.apart:.2g})")
        elif number.verdict == "missing":
            click.echo(f"  missing  {number.name:24} {number.then:.6g} then, not measured now")


def _sum(done: list[Repeated], available: int) -> int:
    agree = sum(repeated.agrees for repeated in done)
    click.echo(f"verified  {agree} of {len(done)} trials agree ({available} in the bundle)")
    return 0 if agree == len(done) else 1
