"""``studies stop STUDY``: through files, so from any shell and for any launcher."""

from __future__ import annotations

import time
from pathlib import Path

import click

from studies.engine import driver
from studies.engine.claim import HEARTBEAT_SECONDS
from studies.engine.planfile import read_plan
from studies.engine.selection import Refused, results_option
from studies.engine.standing import Standing, named
from studies.engine.store import Store


@click.command()
@click.argument("study", metavar="STUDY")
@click.option("--wait", type=float, default=60.0, show_default=True, help="Seconds to wait for them to end.")
@results_option
def command(study: str, wait: float, results: Path) -> int:
    """Ask the running trials of STUDY to save and stop; `run` goes on from there."""
    store = Store(results)
    folders = named(store.root, study)
    if not folders:
        raise Refused(f"{study} has not been run in {results}")
    standings = [Standing(store, read_plan(folder)) for folder in folders]
    drivers = [s for s in standings if driver.ask_to_stop(s.plan.folder)]  # first, lest it start others
    asked = sum(folder.ask_to_stop() for s in standings for folder in s.watch.folders.values())
    if not asked and not drivers:
        click.echo(f"nothing of {study} is running")
        return 0
    click.echo(f"asked {asked} running trial{'' if asked == 1 else 's'} to save and stop")
    until = time.monotonic() + wait
    while time.monotonic() < until:
        if not any(s.driver() for s in drivers) and not any(_runs(s) for s in standings):
            click.echo("stopped; `run` goes on from here")
            return 0
        time.sleep(0.2)
    click.echo(f"some have not stopped after {wait:g} s (their workers look for this every {HEARTBEAT_SECONDS:g} s)")
    return 1


def _runs(standing: Standing) -> bool:
    standing.watch.look()
    return standing.watch.count()["running"] > 0
