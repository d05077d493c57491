"""A private SLURM for tests, and what a test needs to be there at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

SCRIPTS = Path(__file__).parent
SBIN = ":/usr/sbin:/sbin"


def missing(what: str, reason: str) -> None:
    """A test cannot run here: that is a failure in CI, and a skip with its reason elsewhere."""
    text = f"{what}: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def need(what: str, *programs: str, packages: tuple[str, ...] = ()) -> None:
    """The programs (also those in sbin) and Python packages that a test cannot do without."""
    from importlib.util import find_spec

    absent = [p for p in programs if not shutil.which(p, path=os.environ.get("PATH", "") + SBIN)]
    absent += [p for p in packages if find_spec(p) is None]
    if absent:
        missing(what, f"not installed here: {', '.join(absent)}")


@dataclass(frozen=True)
class Farm:
    """A private SLURM on loopback, see start_slurm.sh."""

    folder: Path
    settings: dict[str, str]

    @property
    def conf(self) -> str:
        return str(self.folder / "slurm.conf")

    def script(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            ["bash", str(SCRIPTS / name), *arguments],
            env={**os.environ, **self.settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr

    def command(self, *arguments: str) -> str:
        """Run a SLURM command and return what it prints."""
        environment = {**os.environ, "SLURM_CONF": self.conf, "PATH": os.environ.get("PATH", "") + SBIN}
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def kill_node(self, node: str) -> None:
        """As a power cut would."""
        self.script("kill_node.sh", node)

    def start(self) -> None:
        """Also brings back nodes that were killed."""
        self.script("start_slurm.sh")


@contextlib.contextmanager
def farm(accounting: bool, **settings: object) -> Iterator[Farm]:
    """Started and stopped; settings are those of start_slurm.sh, as `nodes=4`."""
    need("a SLURM farm", "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
    if accounting:
        need("SLURM's accounting", "slurmdbd", "mariadbd", "sacct")
    root = Path(tempfile.mkdtemp(prefix="dynvit-farm-", dir="/tmp"))  # short: a socket's path ends at 107 bytes
    root.chmod(0o755)
    given = {"SLURM_FARM_DIR": str(root / "s"), "SLURM_FARM_ACCT": "slurmdbd" if accounting else "none"}
    made = Farm(root / "s", given | {f"SLURM_FARM_{key.upper()}": str(value) for key, value in settings.items()})
    try:
        with FileLock(Path(tempfile.gettempdir()) / "dynvit-farms.lock"):  # two that start at once take the same ports
            made.start()
        yield made
    finally:
        made.script("stop_slurm.sh", "--purge")
        shutil.rmtree(root, ignore_errors=True)
