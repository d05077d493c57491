"""Environment variables of the processes that train one trial together. Standard library only.

A launcher starts `world` workers on one trial folder, each with the variables of `rank_environment` (in a SLURM step:
`slurm_rank_environment`). Rank 0 holds the lease, logs and saves; the others follow it. They find each other through a
file in the trial folder, so no launcher deals with ports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

RANK, WORLD, LOCAL = "DYNVIT_RANK", "DYNVIT_WORLD", "DYNVIT_LOCAL_RANK"
RENDEZVOUS_ID = "DYNVIT_RENDEZVOUS_ID"
"""Identifies one start of these processes: the same for all ranks, different for every start."""
ADDRESS = "DYNVIT_ADDRESS"
"""Address at which the other processes reach this one; default: its host name."""
LOOPBACK = "127.0.0.1"
"""Address of rank 0 where all processes are on one node: nothing outside can connect."""


@dataclass(frozen=True)
class RankInfo:
    """Rank of this process among `world`. local: rank on its own node."""

    rank: int = 0
    world: int = 1
    local: int = 0
    rendezvous: str = ""
    address: str = ""


def current_rank(environ: Mapping[str, str] = os.environ) -> RankInfo:
    """Return the rank that the variables give; a single process without them."""
    world = int(environ.get(WORLD) or 1)
    if world <= 1:
        return RankInfo()
    rank = int(environ[RANK])
    return RankInfo(rank, world, int(environ.get(LOCAL) or rank), environ[RENDEZVOUS_ID], environ.get(ADDRESS, ""))


def rank_environment(rank: int, world: int, per_node: int, rendezvous: str) -> dict[str, str]:
    """Return the variables of one worker; none for a trial of one process. rendezvous: text that no other start has."""
    if world <= 1:
        return {}
    variables = {RANK: str(rank), WORLD: str(world), LOCAL: str(rank % per_node), RENDEZVOUS_ID: rendezvous}
    return variables if world > per_node else {**variables, ADDRESS: LOOPBACK}


def slurm_rank_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a worker started by a task of a SLURM step; empty in a step of one task."""
    world = int(environ.get("SLURM_NTASKS") or environ.get("SLURM_NPROCS") or 1)
    if world <= 1 or "SLURM_PROCID" not in environ:
        return {}
    start = [environ.get(f"SLURM_{key}", "0") for key in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
    one_node = (environ.get("SLURM_STEP_NUM_NODES") or environ.get("SLURM_NNODES")) == "1"
    node = LOOPBACK if one_node else environ.get("SLURMD_NODENAME", "")
    variables = {RANK: environ["SLURM_PROCID"], WORLD: str(world), LOCAL: environ.get("SLURM_LOCALID", "0")}
    variables[RENDEZVOUS_ID] = ".".join(["slurm", *start])
    return {**variables, ADDRESS: node} if node and _resolves(node) else variables


def rank_device(device: str, ranks: RankInfo, environ: Mapping[str, str] = os.environ) -> str:
    """Return this process's device: with several visible GPUs, the one of its local rank."""
    if device == "cpu" or ranks.world <= 1:
        return device
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    single = visible is not None and len(visible.split(",")) == 1
    return "cuda:0" if single else f"cuda:{ranks.local}"


def _resolves(host: str) -> bool:
    import socket

    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
