"""What is not installed: a skip with the reason for a person, a failure in CI."""

from __future__ import annotations

import pytest
from farm import need


def test_a_person_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="a farm: not installed here: no-such-daemon, no_such_package"):
        need("a farm", "sh", "no-such-daemon", packages=("pytest", "no_such_package"))


def test_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed here: no-such-daemon"):
        need("a farm", "no-such-daemon")


def test_what_is_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    need("a shell", "sh", packages=("pytest",))
