"""What each verb asks of a file system where every question costs a round trip, as on a busy NFS or Lustre.

    python benchmarks/engine/slow_files.py [--trials 100 1000] [--milliseconds 1] [--only status]

Calls that name a file below the results folder (open, stat, rename, mkdir, unlink, listing a folder) are counted, and
each one waits, in a library that is put before libc's. The library is built here with cc; Linux only. "each" is the
increase since the size before, for each trial added: a constant there is linear growth. Of the seconds, the waiting is
calls times the latency; what follows after that was the machine's own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from scale import ARMS, ROOT, commands, finish, write_study

BY_NAME = (
    ("int", "stat", "const char *path, void *to", "path, to"),
    ("int", "lstat", "const char *path, void *to", "path, to"),
    ("int", "stat64", "const char *path, void *to", "path, to"),
    ("int", "lstat64", "const char *path, void *to", "path, to"),
    ("int", "fstatat", "int at, const char *path, void *to, int how", "at, path, to, how"),
    ("int", "fstatat64", "int at, const char *path, void *to, int how", "at, path, to, how"),
    ("int", "open", "const char *path, int how, int mode", "path, how, mode"),
    ("int", "open64", "const char *path, int how, int mode", "path, how, mode"),
    ("int", "openat", "int at, const char *path, int how, int mode", "at, path, how, mode"),
    ("int", "openat64", "int at, const char *path, int how, int mode", "at, path, how, mode"),
    ("int", "access", "const char *path, int how", "path, how"),
    ("int", "mkdir", "const char *path, int mode", "path, mode"),
    ("int", "rmdir", "const char *path", "path"),
    ("int", "unlink", "const char *path", "path"),
    ("int", "rename", "const char *path, const char *to", "path, to"),
    ("int", "link", "const char *path, const char *to", "path, to"),
    ("void *", "opendir", "const char *path", "path"),
)
"""Return type, name, parameters and arguments of what is waited for."""
HEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }
static void wait_for(const char *path) {
  const char *below = getenv("SLOW_BELOW"), *count = getenv("SLOW_COUNT");
  if (!below || !count || !path || strncmp(path, below, strlen(below))) return;
  static int (*open_file)(const char *, int, ...);
  static __thread int file = -1;
  if (!open_file) open_file = next("open64");
  if (file < 0) file = open_file(count, 02002001);  // write, append, close on exec: fcntl.h would declare open itself
  if (file >= 0 && write(file, ".", 1) == 1) usleep(atoi(getenv("SLOW_MICROSECONDS")));
}
"""
CALL = """
{type} {name}({parameters}) {{
  static {type} (*real)({parameters});
  if (!real) real = next("{name}");
  wait_for(path);
  return real({arguments});
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--milliseconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=list(commands(Path(), Path())), default=[])
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        print(f"{'trials':>7} {'verb':10} {'calls':>8} {'each':>7} {'seconds':>8} {'without':>8}", flush=True)
        before: dict[str, tuple[int, int]] = {}
        for size in wanted.trials:
            place = Path(folder) / str(size)
            place.mkdir()
            study = write_study(place, "scale", size, min(size, ARMS))
            for name in ("other", "arms"):
                write_study(place, name, size, min(size, ARMS))
            finish(study, place / "results", 0)
            for verb, arguments in commands(study, place / "results").items():
                if wanted.only and verb not in wanted.only:
                    continue
                quick, _, _ = timed(library, place, arguments, 0.0)
                seconds, calls, code = timed(library, place, arguments, wanted.milliseconds)
                old, fewer = before.get(verb, (0, 0))
                before[verb] = size, calls
                ended = f"  exit code {code}" if code else ""
                each = (calls - fewer) / (size - old)
                print(f"{size:7} {verb:10} {calls:8} {each:7.2f} {seconds:8.1f} {quick:8.1f}{ended}", flush=True)


def build(folder: Path) -> Path:
    """Return the library that waits."""
    bodies = [CALL.format(type=kind, name=name, parameters=p, arguments=a) for kind, name, p, a in BY_NAME]
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(HEAD + "".join(bodies))
    quiet = ["-w", "-fno-builtin", "-U_FORTIFY_SOURCE"]
    subprocess.run(["cc", "-O1", *quiet, "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True)
    return library


def timed(library: Path, place: Path, arguments: tuple[str, ...], milliseconds: float) -> tuple[float, int, int]:
    """Return seconds, calls below the results folder and the exit code of a process and its children."""
    count = place.parent / "calls"
    count.write_bytes(b"")
    slow = {
        "LD_PRELOAD": str(library),
        "SLOW_BELOW": f"{place}/results/",
        "SLOW_COUNT": str(count),
        "SLOW_MICROSECONDS": str(round(1000 * milliseconds)),
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **slow}
    start = time.monotonic()
    with open(place.parent / "said.txt", "ab") as said:
        done = subprocess.run([sys.executable, *arguments], cwd=place, env=environment, stdout=said, stderr=said)
    return time.monotonic() - start, count.stat().st_size, done.returncode


if __name__ == "__main__":
    main()
