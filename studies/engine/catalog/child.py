"""The child process that imports dynvit, and with it torch: ``python -m dynvit.describe --check``.

Started by the first question and closed with this process. It ends by itself when it is asked nothing for a minute; the
next question then starts another.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from studies.engine.core.errors import Problem, StudyError, shown
from studies.engine.core.formatting import first_few
from studies.engine.core.own_code import OwnCode


class DescriptionError(StudyError):
    """dynvit could not be asked: the child process did not start, or crashed."""

    def __init__(self, text: str) -> None:
        super().__init__([Problem("dynvit", text)])


class AnswerError(DescriptionError):
    """The child answers with an error: its type and text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class DescribeProcess:
    """Asks one package folder of dynvit, with the user's own code imported where there is some."""

    def __init__(self, package: Path, own: OwnCode | None = None) -> None:
        self.package, self.own = package, own
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, call: str, **arguments: Any) -> Any:
        """Return the answer. DescriptionError where the child cannot run; AnswerError where its answer is an error."""
        here = {"cwd": os.getcwd(), "environ": dict(os.environ)}  # both may have changed since the child was started
        if self.own is not None and self.own.imports:
            arguments["imports"] = self.own.locations
        line = json.dumps({"call": call, "arguments": arguments, **here}).encode() + b"\n"
        with self._lock:
            answer = self._send(line) if self._process else b""
            if not answer:  # not started yet, or it has ended while idle
                self.close()
                self._start()
                answer = self._send(line)
            if not answer:
                raise DescriptionError(self._why())
        reply = json.loads(answer)
        if "error" in reply:
            raise AnswerError(self._with_short_paths(reply["error"]))
        return reply["result"]

    def close(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        # -P: the package whose sources were read, not one that lies in the current folder.
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "dynvit.describe", "--check"]
        search = [str(self.package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        search += [str(folder) for folder in self.own.folders.values()] if self.own is not None else []
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - read when the child has crashed
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        )
        atexit.register(self.close)

    def _send(self, line: bytes) -> bytes:
        """Return the line that the child answers with; empty if it has ended."""
        assert self._process is not None and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return b""
        return self._process.stdout.readline()

    def _why(self) -> str:
        """Return the end of the child's traceback: where, and which error; of a crash the line of own code."""
        assert self._process is not None and self._stderr is not None
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
        crash = [line for line in lines if line.startswith("Fatal Python error")]
        own = [place for place in places if any(f'"{path}"' in place for path in self._own_files())]
        reason = crash[0] if crash else lines[-1] if lines else f"exit code {code}"
        where = f" ({own[0] if crash and own else places[-1]})" if places else ""
        if not places and (names := [shown(path) for path in self._own_files()]):
            where = f" (with own code: {first_few(names)})"
        self.close()
        return self._with_short_paths(f"python -m dynvit.describe failed: {reason}{where}")

    def _own_files(self) -> list[Path]:
        return list(self.own.sources.values()) if self.own is not None else []

    def _with_short_paths(self, text: str) -> str:
        """Return a text with own files as errors of study files name them."""
        for path in self._own_files():
            text = text.replace(str(path), shown(path))
        return text
