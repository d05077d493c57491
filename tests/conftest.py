"""For all tests: a property that holds slowly, on a machine with other work, holds; what dynvit answers is kept; the
million objects that imports make are not searched for garbage again and again."""

import gc
import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session", autouse=True)
def description_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What dynvit answers is kept for this run of the tests alone, in a folder that parallel workers share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "dynvit_cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYNVIT_CACHE", str(folder))
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports make no garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Put aside what has been imported: full garbage collections went through it, a fifth of the tests' time.

    The others come less often: a compilation makes a million short-lived objects.
    """
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_unconfigure() -> None:
    gc.unfreeze()
