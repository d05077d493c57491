"""The trial folder, which is the truth: paths, atomic writes, the claim, the state, the event log."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.trial import State

HEARTBEAT_SECONDS = float(os.environ.get("DYNVIT_HEARTBEAT", "10"))
STALE_AFTER = 5  # heartbeats


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace a file so that a reader, or a kill at any moment, sees the old or the new one, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        with open(temporary, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object, or None where it is absent or damaged (a writer was killed, a disk was full)."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


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
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def claim_file(self) -> Path:
        return self.path / "claim"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "ckpt" / "last.pt"

    def attempt_folder(self, attempt: int) -> Path:
        """attempt counts from 0."""
        return self.path / "attempts" / str(attempt)

    # ---- spec, state, result

    def create(self, spec: dict[str, Any]) -> None:
        """Make the folder with its spec; an existing spec is left as it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        if read_json(self.spec_file) is None:
            write_atomic(self.spec_file, json.dumps(spec, indent=1, sort_keys=True) + "\n")

    def spec(self) -> dict[str, Any] | None:
        return read_json(self.spec_file)

    def state(self) -> State:
        raw = read_json(self.path / "state.json")
        if raw is None:
            return State(status="done", attempt=1) if self.result_file.exists() else State()
        known = {f.name for f in dataclasses.fields(State)}
        return State(**{k: v for k, v in raw.items() if k in known})

    def set_state(self, state: State) -> None:
        write_atomic(self.path / "state.json", json.dumps(dataclasses.asdict(state)) + "\n")

    def result(self) -> dict[str, Any] | None:
        return read_json(self.result_file)

    def set_result(self, result: dict[str, Any]) -> None:
        write_atomic(self.result_file, json.dumps(result, indent=1, sort_keys=True) + "\n")

    # ---- claim: who works here

    def claim(self) -> str | None:
        """Take the folder for this process: a token, or None where a live worker has it."""
        token = uuid.uuid4().hex
        body = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": token, "time": time.time()})
        for _ in range(3):
            temporary = self.path / f".claim.{token}"
            temporary.write_text(body)
            try:
                os.link(temporary, self.claim_file)  # exclusive and complete at once, also on NFS
                return token
            except FileExistsError:
                if not self._break_stale_claim(token):
                    return None
            finally:
                temporary.unlink(missing_ok=True)
        return None

    def release(self, token: str) -> None:
        held = read_json(self.claim_file)
        if held is not None and held.get("token") == token:
            self.claim_file.unlink(missing_ok=True)

    def claimed(self) -> bool:
        """True while a live worker holds the folder."""
        try:
            age = time.time() - self.claim_file.stat().st_mtime
        except FileNotFoundError:
            return False
        held = read_json(self.claim_file)
        if held is None:
            return age < STALE_AFTER * HEARTBEAT_SECONDS
        if held.get("host") == socket.gethostname() and not _alive(int(held.get("pid", 0))):
            return False
        return age < STALE_AFTER * HEARTBEAT_SECONDS

    def beat(self) -> None:
        """Called by the worker's heartbeat: the claim's age is the time since its last touch."""
        try:
            os.utime(self.claim_file)
        except FileNotFoundError:
            return

    def _break_stale_claim(self, token: str) -> bool:
        if self.claimed():
            return False
        grave = self.path / f".stale.{token}"
        try:
            os.rename(self.claim_file, grave)  # of two breakers only one succeeds
        except FileNotFoundError:
            return True
        grave.unlink(missing_ok=True)
        return True

    # ---- events

    def events(self) -> Iterator[Event]:
        """Complete lines only: a truncated or damaged line is skipped, what follows it is read."""
        try:
            with open(self.events_file, "rb") as f:
                for line in f:
                    event = _event(line)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            return


def _event(line: bytes) -> Event | None:
    if not line.endswith(b"\n"):
        return None
    try:
        raw = json.loads(line)
        return Event(float(raw["t"]), int(raw["step"]), {k: float(v) for k, v in raw["m"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _alive(pid: int) -> bool:
    """Whether a process runs on this host (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except (OSError, IndexError):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Store:
    """A results folder: `trials/<id>`, one folder per study, `mlflow.db`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.trials / trial_id)

    def study(self, name: str) -> Path:
        """`name` carries the label: ``redundancy_ablation@smoke``."""
        return self.root / name
