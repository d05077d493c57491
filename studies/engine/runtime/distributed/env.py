"""Several processes that train one trial together: which of them this one is. Standard library only.

A launcher starts `world` workers on one and the same trial folder (a job of a single folder), each with the environment
variables of `given`, or inside a SLURM step of `from_slurm`. Rank 0 is the worker that claims, logs and saves; the
others follow it (`rendezvous`). How they find each other is a file in the trial folder: no launcher knows ports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

RANK, WORLD, LOCAL = "DYNVIT_RANK", "DYNVIT_WORLD", "DYNVIT_LOCAL_RANK"
GANG = "DYNVIT_GANG"
"""Names this very start of these processes; the same for all of them, another one for every start."""
ADDRESS = "DYNVIT_ADDRESS"
"""Under which the other processes reach this one; its host name where it is not given."""


@dataclass(frozen=True)
class RankInfo:
    """This process among `world`. local: its number on its own node."""

    rank: int = 0
    world: int = 1
    local: int = 0
    rendezvous: str = ""
    address: str = ""


def current_rank(environ: Mapping[str, str] = os.environ) -> RankInfo:
    """Who this process is, from our variables; alone where there are none."""
    world = int(environ.get(WORLD) or 1)
    if world <= 1:
        return RankInfo()
    rank = int(environ[RANK])
    return RankInfo(rank, world, int(environ.get(LOCAL) or rank), environ[GANG], environ.get(ADDRESS, ""))


def rank_environment(rank: int, world: int, per_node: int, rendezvous: str, address: str = "") -> dict[str, str]:
    """The variables of one worker. rendezvous: any text that no other start has."""
    told = {RANK: str(rank), WORLD: str(world), LOCAL: str(rank % max(1, per_node)), GANG: rendezvous}
    return {**told, ADDRESS: address} if address else told


def slurm_rank_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The same, for a worker that a task of a SLURM step starts; empty where the step has one task only."""
    world = int(environ.get("SLURM_NTASKS") or environ.get("SLURM_NPROCS") or 1)
    if world <= 1 or "SLURM_PROCID" not in environ:
        return {}
    start = [environ.get(f"SLURM_{key}", "0") for key in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
    node = environ.get("SLURMD_NODENAME", "")
    told = {RANK: environ["SLURM_PROCID"], WORLD: str(world), LOCAL: environ.get("SLURM_LOCALID", "0")}
    told[GANG] = ".".join(["slurm", *start])
    return {**told, ADDRESS: node} if node and _resolves(node) else told


def rank_device(asked: str, ranks: RankInfo, environ: Mapping[str, str] = os.environ) -> str:
    """The device of this process: where it sees several GPUs, the one of its number on the node."""
    if asked == "cpu" or ranks.world <= 1:
        return asked
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    alone = visible is not None and len(visible.split(",")) == 1
    return "cuda:0" if alone else f"cuda:{ranks.local}"


def _resolves(host: str) -> bool:
    import socket

    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
