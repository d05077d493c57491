"""The same with accounting on, and how long a thousand trials take to hand in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from farm import Farm
from scenes import LONG, Play, toy, until

from studies.engine.launchers.slurm import squeue, submissions


@pytest.fixture
def play(slurm_accounting: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setenv("SLURM_CONF", slurm_accounting.conf)
    made = Play(slurm_accounting, tmp_path, "accounted")
    del made.options["exclude"]
    return made


def test_disturbed_jobs_end_done(play: Play) -> None:
    driver = play.start(*(toy(play, name, **LONG) for name in ("killed", "cancelled", "calm")))
    play.reach("killed", 2)
    play.reach("cancelled", 2)
    jobs = {name: play.job(name) for name in ("killed", "cancelled", "calm")}
    play.kill("killed")
    play.farm.command("scancel", jobs["cancelled"])
    play.check(play.end(driver), {"killed": 2, "cancelled": 2, "calm": 1})
    wanted = {jobs["killed"]: "FAILED", jobs["cancelled"]: "CANCELLED", jobs["calm"]: "COMPLETED"}
    until("accounting", lambda: {job: seen.state for job, seen in squeue.query_sacct(list(wanted)).items()} == wanted)


def test_a_job_that_squeue_has_forgotten(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounting tells how it ended, where MinJobAge has passed."""
    from studies.engine.core.stop import StopRequest
    from studies.engine.core.trial import Resources
    from studies.engine.jobs.launcher import Job, LaunchContext, create_launcher

    options = {**play.options, "hold": True, "poll_seconds": 0.1}
    slurm = create_launcher(
        "slurm", LaunchContext(play.store.root, play.store.study("accounted"), options, StopRequest())
    )
    (handle,) = slurm.submit([Job((play.store.trial("a").path,), Resources())])
    play.farm.command("scancel", handle.native.id)
    until("accounting", lambda: "CANCELLED" in str(squeue.query_sacct([handle.native.id])))
    monkeypatch.setattr(squeue, "query_squeue", lambda names: {})
    until("its end", lambda: slurm.poll([handle])[handle] == "gone")
    assert (handle.exit_note, handle.ended_by_cluster) == ("its job was cancelled (scancel)", True)


def test_a_thousand_trials_are_handed_in_within_a_minute(play: Play) -> None:
    """Held, so that none begins; the second driver finds all of them."""
    play.options |= {"hold": True}
    trials = [toy(play, f"t{i}") for i in range(1000)]
    began = time.monotonic()
    driver = play.start(*trials, detach=True)
    assert play.end(driver)["detached"] == 1000
    seconds = time.monotonic() - began
    assert seconds < 60
    (record,) = submissions.read_submissions(play.store.root)
    assert len(record.ids) == 1000 and len(play.queued()) == 1000
    began = time.monotonic()
    assert play.end(play.start(*trials, detach=True))["detached"] == 1000
    assert "reattached 1000 trials" in play.said and len(play.queued()) == 1000
    print(f"1000 trials handed in after {seconds:.1f} s, found again after {time.monotonic() - began:.1f} s")
    squeue.cancel(record.ids, record.name)
    until("an empty queue", lambda: not play.queued())
