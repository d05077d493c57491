"""A driver of toy trials in a process of its own: ``python drive_toys.py REQUEST.json``. What it says goes to standard
output, line by line; how it ended to `outcome.json` beside the request."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.execution.driver import Driver
from studies.engine.execution.signals import handle_interrupts
from studies.engine.jobs.launcher import LaunchContext, create_launcher
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher


def main(request: Path) -> None:
    asked = json.loads(request.read_text())
    store, stop = Store(Path(asked["results"])), StopRequest()
    trials = [
        toy.trial(t.pop("name"), t.pop("seed", 0), Resources(**t.pop("resources", {})), **t) for t in asked["trials"]
    ]
    watch = StateWatcher(toy.place(store, *trials))
    made = create_launcher(asked["on"], LaunchContext(store.root, store.study(asked["study"]), asked["options"], stop))
    with handle_interrupts(stop):
        outcome = Driver(trials, watch, made, stop, lambda line: print(line, flush=True)).run(asked["detach"])
    (request.parent / "outcome.json").write_text(json.dumps(dataclasses.asdict(outcome)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
