"""Scenes of what can happen to a job on SLURM; `test_slurm` plays them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from farm import Farm
from scenes import LONG, UNTIL_SIGNALLED, Play, toy, until

from studies.engine.launchers.slurm import submissions


def a_job_killed(farm: Farm, folder: Path) -> None:
    """By SIGKILL, worker and all; another loses its worker only, as by the out-of-memory killer."""
    play = Play(farm, folder, "killed")
    driver = play.start(toy(play, "job", **UNTIL_SIGNALLED), toy(play, "worker", **UNTIL_SIGNALLED))
    play.reach("job", 3)
    play.kill("job")
    os.kill(play.reach("worker", 3).state().pid, signal.SIGKILL)
    play.check(play.end(driver), {"job": 2, "worker": 2})
    assert "lost: killed by SIGKILL (out of memory?)" in play.said
    assert "resumed before step" in play.log("job") and "resumed before step" in play.log("worker")


def a_task_cancelled(farm: Farm, folder: Path) -> None:
    """One task of an array, by scancel: it saves, and is submitted again; the other does not notice."""
    play = Play(farm, folder, "cancelled")
    driver = play.start(toy(play, "one", **UNTIL_SIGNALLED), toy(play, "other", **LONG))
    play.reach("one", 3)
    farm.command("scancel", play.job("one"))
    play.check(play.end(driver), {"one": 2, "other": 1})
    assert "its job was cancelled (scancel)" in play.said
    assert "resumed before step" in play.log("one")


def cancelled_while_it_waits(farm: Farm, folder: Path) -> None:
    """Twice, so the trial is given up, with the reason."""
    play = Play(farm, folder, "waits", hold=True)
    driver = play.start(toy(play, "a"))
    first = play.job("a")
    farm.command("scancel", first)
    until("a second job", lambda: play.job("a") != first)
    farm.command("scancel", play.job("a"))
    state = play.end(driver)["states"]["a"]
    assert (state["status"], state["attempt"], state["reason"]) == ("lost", 0, "its job was cancelled (scancel)")
    assert not (play.side / "completed").exists()


def preempted_and_requeued(farm: Farm, folder: Path) -> None:
    """By a job of a higher partition: saved, requeued by the job itself, gone on from the checkpoint, same job."""
    play = Play(farm, folder, "preempted", partition="low", exclude="n[1-2,4-5]")
    driver = play.start(toy(play, "a", **UNTIL_SIGNALLED))
    play.reach("a", 3)
    job = play.job("a")
    farm.command("sbatch", "-p", "high", "-w", "n3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    play.check(play.end(driver), {"a": 2})
    assert play.job("a") == job if list(submissions.read_submissions(play.store.root)) else True
    assert "resumed before step" in play.log("a")
    assert "retry" not in play.said  # nothing was submitted a second time


def the_time_limit(farm: Farm, folder: Path) -> None:
    """The job is signalled some seconds before its end, saves, requeues itself and goes on.

    It works until it is signalled: SLURM sends the signal up to a minute earlier than asked.
    """
    play = Play(farm, folder, "limit", partition="short", time=1)
    driver = play.start(toy(play, "a", fault="hang", attempts=1))
    play.check(play.end(driver), {"a": 2})
    assert "resumed before step" in play.log("a")
    assert "preempted after" in play.log("a")


def signalled_early_four_times(farm: Farm, folder: Path) -> None:
    """In a job of five minutes submitit takes each for a time-out, and would give up after three."""
    play = Play(farm, folder, "early", time=5)
    driver = play.start(toy(play, "a", steps=30, seconds=0.25))
    for attempt in range(1, 5):
        until(f"attempt {attempt}", lambda n=attempt: (s := play.trial("a").state()).attempt == n and s.step > 3 * n)
        farm.command("scancel", "--signal=USR2", play.job("a"))
    play.check(play.end(driver), {"a": 5})
    assert "retry" not in play.said


def no_scontrol_on_the_node(farm: Farm, folder: Path) -> None:
    """A job that cannot requeue itself ends, and the driver submits the trial again."""
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").symlink_to(shutil.which("srun") or "")
    play = Play(farm, folder, "alone", setup=[f"export PATH={folder / 'bin'}"])
    driver = play.start(toy(play, "a", **UNTIL_SIGNALLED))
    play.reach("a", 3)
    farm.command("scancel", "--signal=USR2", play.job("a"))
    play.check(play.end(driver), {"a": 2})
    assert "its job ended after saving a checkpoint" in play.said
    assert "resumed before step" in play.log("a")


def a_node_killed(farm: Farm, folder: Path) -> None:
    """SLURM takes the node for dead and runs the job again on another one."""
    play = Play(farm, folder, "dead_node", exclude="n[1-3]")
    driver = play.start(toy(play, "a", **UNTIL_SIGNALLED))
    play.reach("a", 3)
    node = play.node(play.job("a"))
    farm.kill_node(node)
    play.check(play.end(driver), {"a": 2})
    assert "resumed before step" in play.log("a")
    assert "retry     a  killed" not in play.said


def killed_between_the_stages(farm: Farm, folder: Path) -> None:
    """The worker of the first trial; then the driver, and the worker of the second trial, which starts from the first.
    The third is submitted by the next driver, when the second is done."""
    play = Play(farm, folder, "stages")
    trials = [
        toy(play, "a", **UNTIL_SIGNALLED),
        toy(play, "b", starts="a", **UNTIL_SIGNALLED),
        toy(play, "c", starts="b"),
    ]
    driver = play.start(*trials)
    os.kill(play.reach("a", 3).state().pid, signal.SIGKILL)
    play.reach("b", 3)
    driver.kill()
    driver.wait()
    submitted = [
        name for record in submissions.read_submissions(play.store.root) for task in record.tasks for name in task
    ]
    assert "c" not in submitted
    os.kill(play.trial("b").state().pid, signal.SIGKILL)
    play.check(play.end(play.start(*trials)), {"a": 2, "b": 2, "c": 1})
    first, second = (play.trial(name).result() or {} for name in "ab")
    assert second["started_from"] == {"a": first["kept_weights"]}


def held_while_it_still_writes(farm: Farm, folder: Path) -> None:
    """`scontrol requeuehold`: the dying attempt completes the trial; its job, held to run again, leaves the queue."""
    play = Play(farm, folder, "held")
    driver = play.start(toy(play, "a", steps=1, seconds=1.5))
    play.reach("a", 1)
    farm.command("scontrol", "requeuehold", play.job("a"))
    play.check(play.end(driver), {"a": 1})
    until("an empty queue", lambda: not play.queued())


def held_and_released(farm: Farm, folder: Path) -> None:
    """A held job is spoken of, not submitted again; released, it goes on."""
    play = Play(farm, folder, "released")
    driver = play.start(toy(play, "a", **UNTIL_SIGNALLED))
    play.reach("a", 3)
    job = play.job("a")
    farm.command("scontrol", "requeuehold", job)
    until("the message", lambda: f"job {job} is held" in play.said)
    farm.command("scontrol", "release", job)
    play.check(play.end(driver), {"a": 2})
