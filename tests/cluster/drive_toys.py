"""A driver of toy trials in a process of its own: ``python drive_toys.py REQUEST.json``. What it says goes to standard
output, line by line; how it ended to `outcome.json` beside the request."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import toy

from studies.engine.core.trial import Resources
from studies.engine.execution.driver import Drive
from studies.engine.execution.signals import interrupts
from studies.engine.jobs.launcher import Site, launcher
from studies.engine.runtime.context import Stop
from studies.engine.storage.state_watcher import Watch
from studies.engine.storage.trial_folder import Store


def main(request: Path) -> None:
    asked = json.loads(request.read_text())
    store, stop = Store(Path(asked["results"])), Stop()
    trials = [
        toy.trial(t.pop("name"), t.pop("seed", 0), Resources(**t.pop("resources", {})), **t) for t in asked["trials"]
    ]
    watch = Watch(toy.place(store, *trials))
    made = launcher(asked["on"], Site(store.root, store.study(asked["study"]), asked["options"], stop))
    with interrupts(stop):
        outcome = Drive(trials, watch, made, stop, lambda line: print(line, flush=True)).run(asked["detach"])
    (request.parent / "outcome.json").write_text(json.dumps(dataclasses.asdict(outcome)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
