"""``python -m dynvit.describe --check``: questions about tasks and configs, answered for as long as stdin is open.

A question is a line ``{"call": name, "arguments": {...}, "cwd": folder, "environ": {...}}``: it is answered in that
folder and environment. Among the arguments may be ``"imports": [...]``, files (absolute paths) and modules of own code:
they are loaded before (`dynvit.plugins`), and what an earlier question had loaded is forgotten. The answer is a line
``{"result": ...}`` or ``{"error": text}``.
The process ends with its parent, and when it was asked nothing for a minute.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from dynvit import plugins
from dynvit.describe import describe, describe_timm
from dynvit.describe.check import check, inspect_data, weigh

CALLS: dict[str, Callable[..., Any]] = {
    "describe": describe,
    "timm": describe_timm,
    "check": lambda task, configs: [check(task, config) for config in configs],
    "weigh": weigh,
    "inspect": inspect_data,
}
IDLE_SECONDS = 60


def serve() -> None:
    """Answer questions until stdin closes. What libraries print goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes stdin
    threading.Thread(target=_exit_with_parent, args=[os.getppid()], daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in _lines():
        print(json.dumps(_answer(**json.loads(line)), ensure_ascii=False), file=answers, flush=True)


def _lines() -> Iterator[bytes]:
    """Yield lines of stdin; end when it closes or stays silent."""
    stdin = sys.stdin.buffer.raw  # type: ignore[attr-defined] # unbuffered, as `select` sees the pipe alone
    rest = b""
    while select.select([stdin], [], [], IDLE_SECONDS)[0] and (piece := stdin.read(1 << 20)):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _answer(call: str, arguments: dict[str, Any], cwd: str, environ: dict[str, str]) -> dict[str, Any]:
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        plugins.load(arguments.pop("imports", ()))
        return {"result": CALLS[call](**arguments)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
