"""Real clusters on this machine. `need` skips with the reason for a person and fails where CI is true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("farm", "scenes", "disturbances")

from farm import Farm, farm, need  # noqa: E402

__all__ = ["need"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Farm]:
    """Five nodes without accounting, as on many small clusters; arrays of 40 at most."""
    with farm(False, nodes=5, cpus=8, array=40, killwait=2, dead=5) as made:
        yield made


@pytest.fixture(scope="session")
def slurm_accounting() -> Iterator[Farm]:
    """Two nodes with slurmdbd."""
    with farm(True, nodes=2, cpus=8, killwait=2, dead=5) as made:
        yield made
