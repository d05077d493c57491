"""The trial folder, the single source of truth: paths, atomic writes, the state, the event log, the lease."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile, make_folder, modified, set_aside, write_atomic
from studies.engine.core.trial import State
from studies.engine.storage import records
from studies.engine.storage.events import Event, read_events
from studies.engine.storage.lease import Lease


def _uncommitted() -> None: ...


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

    @property
    def weights_files(self) -> tuple[Path, Path, Path]:
        """What a task may leave under `keep_checkpoint`, as `dynvit.checkpoint.read.TRIAL_FILES` has it."""
        return self.path / "last.safetensors", self.path / "best.safetensors", self.checkpoint_file

    def attempt_folder(self, attempt: int) -> Path:
        """attempt counts from 0."""
        return self.path / "attempts" / str(attempt)

    # ---- spec, state, result

    def create(self, spec: dict[str, Any]) -> None:
        """Create the folder with its spec; keep an existing spec that can be read."""
        make_folder(self.path)
        if self.spec() is None:
            write_atomic(self.spec_file, json.dumps(spec, indent=1, sort_keys=True) + "\n", durable=False)

    def spec(self) -> dict[str, Any] | None:
        """Return spec.json; None where it is missing or damaged."""
        with contextlib.suppress(DamagedFile):
            return records.read_spec(self.spec_file)
        return None

    def set_sources(self, spec: dict[str, Any]) -> None:
        """Let the next attempt use the own code and files that a spec names; an existing one keeps everything else."""
        written, keys = self.spec() or {}, ("task", "imports", "own", "inputs")
        if {key: written.get(key) for key in keys} != {key: spec.get(key) for key in keys}:
            kept = {key: value for key, value in written.items() if key not in keys}
            kept |= {key: spec[key] for key in keys if key in spec}
            write_atomic(self.spec_file, json.dumps(kept, indent=1, sort_keys=True) + "\n", durable=False)

    def state(self) -> State:
        """Return state.json corrected by the result and the lease: a trial with a result is done, and a running trial
        without a live worker is lost."""
        return self.state_and_result()[0]

    def state_and_result(self) -> tuple[State, dict[str, Any] | None]:
        """Return both from one reading; there is a result exactly where the status is done."""
        state, result = self._written_state(), self.result()
        if state.status == "running" and result is None and not self.has_live_worker():
            state, result = self._written_state(), self.result()  # a worker releases the lease last
            if state.status == "running":
                why = state.reason or "its process ended without writing a status"
                state = replace(state, status="lost", reason=why)
        if result is not None:
            ended = state.ended or modified(self.result_file)  # which the worker writes last, or was killed before
            return replace(state, status="done", reason="", ended=ended), result
        if state.status == "done":
            return replace(state, status="lost", reason="result.json is missing or damaged"), None
        return state, None

    def _written_state(self) -> State:
        """Return state.json; where it is missing, damaged or of an earlier attempt, what the attempts' folders say."""
        started, why = 0, "is missing"
        try:
            found = records.read_state(self.state_file)
        except DamagedFile as error:
            why = str(error)
        else:
            if found is not None and not self.has_begun(found.attempt):
                return found
            started, why = (found.attempt, "is of an earlier attempt") if found is not None else (started, why)
        while self.has_begun(started):
            started += 1
        return State("running", started, reason=f"state.json {why}") if started else State()

    def has_begun(self, attempt: int) -> bool:
        """Return whether an attempt, counted from 0, has begun: what earlier ones write since then is not read."""
        return os.path.lexists(self.attempt_folder(attempt))

    def set_state(self, state: State, commit: Callable[[], None] = _uncommitted) -> None:
        # not synced: after a power cut the result or the attempts folder give the same information
        write_atomic(self.state_file, json.dumps(dataclasses.asdict(state)) + "\n", durable=False, commit=commit)

    def result(self) -> dict[str, Any] | None:
        """Return result.json, which makes the trial done; None where it is missing, damaged or of an earlier attempt
        than the latest."""
        with contextlib.suppress(DamagedFile):
            found = records.read_result(self.result_file)
            if found is not None and not ("attempt" in found and self.has_begun(found["attempt"])):
                return found
        return None

    def set_result(self, result: dict[str, Any], commit: Callable[[], None] | None = None) -> None:
        """Write the result. commit: of a worker, whose result never replaces another: FileExistsError then."""
        text = json.dumps(result, indent=1, sort_keys=True) + "\n"
        if commit is None:
            write_atomic(self.result_file, text)
            return
        if os.path.lexists(self.result_file) and self.result() is None:
            set_aside(self.result_file)
        write_atomic(self.result_file, text, commit=commit, exclusive=True)

    def environment(self, attempts: int) -> dict[str, Any]:
        """Return env.json of the latest of so many attempts; empty where it is missing or damaged."""
        with contextlib.suppress(DamagedFile):
            return records.read_environment(self.attempt_folder(max(attempts - 1, 0)) / "env.json") or {}
        return {}

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
        """Refresh the lease (the worker's heartbeat); False: the folder was taken from this worker."""
        return Lease(self.lease_file).renew(token)

    def holds_lease(self, token: str) -> bool:
        return Lease(self.lease_file).is_owner(token)

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
            attempts = max(self._written_state().attempt, 1)
            self.set_state(State("queued", attempts))
            self.move_to_attempt(  # killed halfway, the trial is done as before or begins anew: it never goes on
                attempts - 1,
                *(self.checkpoint_file.parent, *self.weights_files[:2], self.result_file),
                *(self.predictions_file, self.events_file),
            )
        finally:
            self.release_lease(token)
        return True

    # ---- events and attempts

    def events(self) -> Iterator[Event]:
        """Yield the complete lines; truncated or damaged ones are skipped."""
        return read_events(self.events_file)

    def begin_attempt(self, attempt: int) -> bool:
        """Make the folder of an attempt, counted from 0; False where another process has begun it."""
        make_folder(self.path / "attempts")
        try:
            self.attempt_folder(attempt).mkdir()
        except FileExistsError:
            return False
        return True

    def move_to_attempt(self, attempt: int, *files: Path) -> None:
        """Move files of an attempt, counted from 0, to its folder."""
        aside = self.attempt_folder(attempt)
        for file in filter(os.path.lexists, files):
            make_folder(aside)
            target = aside / file.name
            if os.path.lexists(target):
                set_aside(target)
            os.rename(file, target)
