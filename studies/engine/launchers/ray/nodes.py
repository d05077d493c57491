"""Capacity of a Ray cluster's nodes and address of an existing cluster, without importing Ray."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from studies.engine.core.formatting import count
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import LaunchError

Node = Mapping[str, float]
"""Amounts by name: CPU, GPU, memory (bytes)."""
PROBE_SECONDS = 3.0
MAX_CONCURRENT = 1000


def requirements(resources: Resources, processes: int = 1) -> dict[str, float]:
    """Return what `processes` processes of a trial need on one node."""
    need = {"CPU": float(max(1, resources.cpus) * processes)}
    if resources.gpus > 0:
        need["GPU"] = float(resources.gpus) * processes / resources.per_node
    if resources.memory_gb:
        need["memory"] = resources.memory_gb * 2**30 * processes / resources.per_node
    return need


def concurrent_trials(nodes: Sequence[Node], resources: Resources) -> int:
    """Return how many such trials fit on these nodes at once, with each trial's nodes distinct."""
    need = requirements(resources, resources.per_node)
    room = [min(int(node.get(key, 0.0) / amount + 1e-6) for key, amount in need.items()) for node in nodes]
    if resources.nodes <= 1:
        return sum(room)
    trials = 0
    while len(room) >= resources.nodes and trials < MAX_CONCURRENT:
        room.sort(reverse=True)
        if not room[resources.nodes - 1]:
            break
        room[: resources.nodes] = [left - 1 for left in room[: resources.nodes]]
        trials += 1
    return trials


def shortage(nodes: Sequence[Node], resources: Resources, where: str) -> str:
    """Return why no such trial can run there. where: "here", or the cluster's address."""
    need = requirements(resources, resources.per_node)
    here = where == "here"
    size = "" if here else f"; {describe_cluster(nodes, where)}"
    for key, amount in need.items():
        largest = max((node.get(key, 0.0) for node in nodes), default=0.0)
        if amount > largest + 1e-6:
            place, end = ("Ray has", " here") if here else ("its largest node has", size)
            return f"a trial asks for {quantity(key, amount)}, {place} {quantity(key, largest)}{end}"
    asked = " and ".join(quantity(key, amount) for key, amount in need.items())
    if resources.nodes > 1:
        return f"a trial asks for {resources.nodes} nodes with {asked} each{size or ', Ray has one node here'}"
    return f"a trial asks for {asked}, which no one node has{size}"


def describe_cluster(nodes: Sequence[Node], where: str) -> str:
    """ "the Ray cluster at 10.0.0.1:6379 has 2 nodes, 8 cores, 4 GPUs"."""
    sums = [quantity(key, sum(node.get(key, 0.0) for node in nodes)) for key in ("CPU", "GPU")]
    return f"the Ray cluster at {where} has {', '.join([count(len(nodes), 'node'), *sums])}"


def quantity(key: str, value: float) -> str:
    if key == "memory":
        return f"{value / 2**30:.1f} GB of memory"
    return f"{value:g} {'GPU' if key == 'GPU' else 'core'}{'' if value == 1 else 's'}"


def find_cluster(asked: str) -> str:
    """Return HOST:PORT or ray://HOST:PORT of a reachable cluster; LaunchError if there is none."""
    address = os.environ.get("RAY_ADDRESS", "").strip() or _current() if asked == "auto" else asked
    if not address:
        raise LaunchError(
            "no Ray cluster was started on this machine (`ray start --head`), and RAY_ADDRESS is not set; "
            "give its address, or leave --address out: then Ray runs for this study alone"
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise LaunchError(f"{address} is no address of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS):
            return address
    except OSError as error:
        raise LaunchError(f"no Ray cluster answers at {address} ({error.strerror or error})") from None


def _current() -> str:
    """Return the address that `ray start` recorded on this machine."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("RAY_TEMP_DIR") or tempfile.gettempdir()
    for folder in dict.fromkeys((base, "/tmp")):
        try:
            return Path(folder, "ray", "ray_current_cluster").read_text().strip()
        except OSError:
            continue
    return ""
