"""Processes whose wall clocks jump: a library before the C library adds to a process's time what a table says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from farm import missing

SOURCE = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const long *jumps = MAP_FAILED;

__attribute__((constructor)) static void map_jumps(void) {
  const char *name = getenv("CHAOS_CLOCKS");
  int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file >= 0) {
    jumps = mmap(0, lseek(file, 0, SEEK_END), PROT_READ, MAP_SHARED, file, 0);
    close(file);
  }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && clock == CLOCK_REALTIME && jumps != MAP_FAILED) now->tv_sec += jumps[getpid()];
  return failed;
}
"""


class Clocks:
    """Files keep the stamps of the machine's clock, as on a file server of another machine."""

    def __init__(self, place: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if sys.platform != "linux" or compiler is None:
            missing("jumping clocks", "needs Linux and a C compiler")
        place.mkdir(parents=True)
        library, table = place / "clocks.so", place / "jumps"
        (place / "clocks.c").write_text(SOURCE)
        subprocess.run([str(compiler), "-O2", "-shared", "-fPIC", "-o", library, place / "clocks.c"], check=True)
        self._jumps = os.open(table, os.O_RDWR | os.O_CREAT)
        os.truncate(self._jumps, 8 * int(Path("/proc/sys/kernel/pid_max").read_text()))  # seconds by process id
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCKS": str(table)}

    def jump(self, pid: int, seconds: int) -> None:
        os.pwrite(self._jumps, seconds.to_bytes(8, sys.byteorder, signed=True), 8 * pid)
