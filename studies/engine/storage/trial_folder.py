"""The trial folder, the single source of truth: paths, atomic writes, the state, the event log, the lease."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json, write_atomic
from studies.engine.core.trial import State
from studies.engine.storage.lease import Lease


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl."""

    time: float
    step: int
    metrics: dict[str, float]


class TrialFolder:
    """`results/trials/<id>`; see README, "What is in a trial folder"."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def spec_file(self) -> Path:
        return self.path / "spec.json"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def predictions_file(self) -> Path:
        """Optional: `prediction` and `target` per validation image."""
        return self.path / "predictions.npz"

    @property
    def lease_file(self) -> Path:
        return self.path / "claim"

    @property
    def stop_file(self) -> Path:
        """Holds the token of the lease whose worker should save and stop; any other token is outdated."""
        return self.path / "stop"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "ckpt" / "last.pt"

    def attempt_folder(self, attempt: int) -> Path:
        """attempt counts from 0."""
        return self.path / "attempts" / str(attempt)

    # ---- spec, state, result

    def create(self, spec: dict[str, Any]) -> None:
        """Create the folder with its spec; keep an existing spec."""
        self.path.mkdir(parents=True, exist_ok=True)
        if read_json(self.spec_file) is None:
            write_atomic(self.spec_file, json.dumps(spec, indent=1, sort_keys=True) + "\n", durable=False)

    def spec(self) -> dict[str, Any] | None:
        return read_json(self.spec_file)

    def state(self) -> State:
        """Return state.json corrected by the result and the lease: a trial with a result is done, and a running trial
        without a live worker is lost."""
        state = self._written_state()
        if state.status == "done":
            gone = State("lost", state.attempt, reason="result.json is missing or damaged")
            return state if self._has_result() else gone
        if self._has_result():
            return replace(state, status="done", reason="")
        if state.status == "running" and not self.has_live_worker():
            latest = self._written_state()  # a worker writes its last state before it releases the lease
            if latest.status != "running" or self._has_result():
                return replace(latest, status="done", reason="") if self._has_result() else latest
            return replace(state, status="lost", reason=state.reason or "its process ended without writing a status")
        return state

    def _written_state(self) -> State:
        raw = read_json(self.state_file)
        if raw is not None:
            known = {f.name for f in dataclasses.fields(State)}
            try:
                return State(**{k: v for k, v in raw.items() if k in known})
            except TypeError:
                pass
        try:
            attempts = sum(1 for name in os.listdir(self.path / "attempts") if name.isdigit())
        except OSError:
            return State()
        return State("lost" if attempts else "planned", attempts, reason="state.json was missing or damaged")

    def _has_result(self) -> bool:
        try:
            return os.stat(self.result_file).st_size > 2
        except OSError:
            return False

    def set_state(self, state: State) -> None:
        # not synced: after a power cut the result or the attempts folder give the same information
        write_atomic(self.state_file, json.dumps(dataclasses.asdict(state)) + "\n", durable=False)

    def result(self) -> dict[str, Any] | None:
        return read_json(self.result_file)

    def set_result(self, result: dict[str, Any]) -> None:
        write_atomic(self.result_file, json.dumps(result, indent=1, sort_keys=True) + "\n")

    # ---- lease: which process works here

    def acquire_lease(self) -> str | None:
        """Take the folder for this process; return a token, or None where a live worker holds it."""
        return Lease(self.lease_file).acquire()

    def release_lease(self, token: str) -> None:
        Lease(self.lease_file).release(token)

    def has_live_worker(self) -> bool:
        """Return whether a live worker holds the folder."""
        return Lease(self.lease_file).is_alive()

    def renew_lease(self, token: str) -> bool:
        """Refresh the lease (the worker's heartbeat); False: another worker holds the folder now."""
        return Lease(self.lease_file).renew(token)

    def request_stop(self) -> bool:
        """Ask the live worker to save and stop; False without one. The request carries the lease's token, so that it
        never stops a later attempt."""
        lease = Lease(self.lease_file)
        owner = lease.owner()
        if owner is None or not lease.is_alive():
            return False
        write_atomic(self.stop_file, str(owner.get("token", "")), durable=False)
        return True

    def set_state_if_idle(self, state: State) -> bool:
        """Write a state from outside the worker; False where a worker is active or the trial is done."""
        token = self.acquire_lease()
        if token is None:
            return False
        try:
            if self.state().status == "done":
                return False
            self.set_state(state)
        finally:
            self.release_lease(token)
        return True

    def archive_attempt(self) -> bool:
        """Move the last attempt's files to its folder and queue the trial; False where a worker is active."""
        token = self.acquire_lease()
        if token is None:
            return False
        try:
            state = self._written_state()
            aside = self.attempt_folder(max(state.attempt - 1, 0))
            aside.mkdir(parents=True, exist_ok=True)
            self.set_state(State("queued", state.attempt))
            for file in (self.result_file, self.predictions_file, self.events_file, self.checkpoint_file.parent):
                if file.exists():
                    target = aside / file.name
                    os.rename(file, target if not target.exists() else aside / f"{file.name}.{int(time.time())}")
        finally:
            self.release_lease(token)
        return True

    # ---- events

    def events(self) -> Iterator[Event]:
        """Yield the complete lines; truncated or damaged ones are skipped."""
        try:
            with open(self.events_file, "rb") as f:
                for line in f:
                    event = parse_event(line)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            return


def parse_event(line: bytes) -> Event | None:
    """Return None for a truncated or damaged line."""
    if not line.endswith(b"\n"):
        return None
    try:
        raw = json.loads(line)
        return Event(float(raw["t"]), int(raw["step"]), {k: float(v) for k, v in raw["m"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
