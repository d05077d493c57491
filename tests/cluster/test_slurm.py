"""A real SLURM, and what happens to jobs on it: each trial ends done, or failed with the true reason, none runs twice.

The scenes are played at once, each by a driver of its own; a test waits for one of them.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import growing
import own_study
import pytest
from disturbances import (
    a_job_killed,
    a_node_killed,
    a_task_cancelled,
    cancelled_while_it_waits,
    held_and_released,
    held_while_it_still_writes,
    killed_between_the_stages,
    no_scontrol_on_the_node,
    preempted_and_requeued,
    signalled_early_four_times,
    the_time_limit,
)
from farm import Farm
from made_frames import frame, write_study
from scenes import LONG, Play, toy, until

from studies.engine.core.files import write_atomic
from studies.engine.launchers.slurm import submissions

Scene = Callable[[Farm, Path], None]


# ---- drivers that come and go


def left_and_come_back_to(farm: Farm, folder: Path) -> None:
    """One driver submits and leaves, the next is killed, the third finds the jobs: nothing is submitted twice."""
    play = Play(farm, folder, "left", hold=True)
    trials = [toy(play, name) for name in "abc"]
    assert play.end(play.start(*trials, detach=True))["detached"] == 3
    second = play.start(*trials)
    until("the second driver", lambda: play.said.count("reattached 3 trials") == 1)
    second.kill()
    second.wait()
    third = play.start(*trials)
    until("the third driver", lambda: play.said.count("reattached 3 trials") == 2)
    (record,) = submissions.read_submissions(play.store.root)
    for job in record.ids:
        farm.command("scontrol", "release", job)
    play.check(play.end(third), dict.fromkeys("abc", 1))


def interrupted_once(farm: Farm, folder: Path) -> None:
    """Ctrl-C leaves the jobs in the queue, at once."""
    play = Play(farm, folder, "interrupted")
    trials = [toy(play, name, **LONG) for name in "ab"]
    driver = play.start(*trials)
    play.reach("a", 2)
    driver.send_signal(signal.SIGINT)
    outcome = play.end(driver, 120)
    assert outcome["interrupted"] and outcome["detached"] == 2
    play.check(play.end(play.start(*trials)), {"a": 1, "b": 1})


def an_id_that_came_back(farm: Farm, folder: Path) -> None:
    """A record of an earlier SLURM has the id of somebody's job of today: not ours, neither watched nor cancelled."""
    play = Play(farm, folder, "ids")
    job = farm.command("sbatch", "--parsable", "-J", "somebody", "-w", "n1", "-o", "/dev/null", "--wrap", "sleep 900")
    old = submissions.create_submission(play.store.root, "ids", [["a"]])
    old.array = job
    old.write()
    play.check(play.end(play.start(toy(play, "a"))), {"a": 1})
    assert "reattached" not in play.said
    assert play.state(job) in ("RUNNING", "PENDING")
    farm.command("scancel", job)


# ---- many, and several side by side


def sixty_as_inline(farm: Farm, folder: Path) -> None:
    """Through the command line: the frame is the one of the inline run, but for times and hosts."""
    play = Play(farm, folder, "sixty")
    study = str(write_study(folder, "sixty"))
    options = [f"--launch={key}={value}" for key, value in play.options.items()]
    with ThreadPoolExecutor() as pool:
        inline = pool.submit(play.studies, "run", study, "--on", "inline", "--results", "inline")
        done = play.studies("run", study, "--on", "slurm", "--results", "results", *options)
        assert done.returncode == 0 and "60/60 trials, 0 failed" in done.stdout, done.stdout
        assert inline.result().returncode == 0, inline.result().stdout
    ours, theirs = frame(folder / "results" / "sixty"), frame(folder / "inline" / "sixty")
    assert len(ours) == 60 and ours == theirs
    until("an empty queue", lambda: not play.queued())


def seeds_until_decided(farm: Farm, folder: Path) -> None:
    """One driver submits the first look and leaves, the next is killed at the second, the third takes the rest."""
    play = Play(farm, folder, "growing")
    growing.write(folder)
    words = ("run", "growing.yaml", "--until", "decided", "--on", "slurm", "--results", "results")
    words += tuple(f"--launch={key}={value}" for key, value in play.options.items())
    done = play.studies(*words, "--detach")
    assert done.returncode == 0 and "the same command takes the look at n = 3" in done.stdout, done.stdout
    driver = play.background(*words)
    until("the first look", (folder / "results" / "growing" / "decisions.json").exists)
    driver.kill()
    driver.wait()
    done = play.studies(*words)
    assert done.returncode == 0 and "verdicts  4 decided, 1 futile (hopeless)" in done.stdout, done.stdout
    done = play.studies("run", "growing.yaml", "--until", "decided", "--on", "inline", "--results", "inline")
    assert done.returncode == 0, done.stdout
    assert growing.outcome(folder / "results") == growing.outcome(folder / "inline")


def side_by_side(farm: Farm, folder: Path) -> None:
    """Two trials of half a GPU in a job, on the same device; three of a core."""
    play = Play(farm, folder, "packed")
    half = {"gpus": 0.5, "retries": 0}
    trials = [toy(play, f"t{i}", fault="print", step=1, seconds=0.3, resources=half) for i in range(4)]
    driver = play.start(*trials)
    (record,) = until("a record", lambda: [r for r in submissions.read_submissions(play.store.root) if r.array])
    assert record.tasks == [["t0", "t1"], ["t2", "t3"]]
    play.check(play.end(driver), {f"t{i}": 1 for i in range(4)})
    devices = [line for i in range(4) for line in play.log(f"t{i}").split() if line.startswith("CUDA_VISIBLE")]
    assert len(devices) == 4 and devices[0] == devices[1] and devices[2] == devices[3]
    assert f"PYTHONPATH='{play.store.root / 'code'}/" in play.log("t0")  # the code as it was when they were submitted
    assert set(devices) <= {"CUDA_VISIBLE_DEVICES='0'", "CUDA_VISIBLE_DEVICES='1'"}


def from_another_shell(farm: Farm, folder: Path) -> None:
    """--detach, then status, logs and stop, then the rest; one job at a time, so that some wait."""
    play = Play(farm, folder, "shell", throttle=1)
    study = str(write_study(folder, "shell", seconds=0.3))
    options = [f"--launch={key}={value}" for key, value in play.options.items()]
    few = ["--only", "depth=1", "--seeds", "0", "--results", "results"]
    done = play.studies("run", study, *few, "--on", "slurm", *options, "--detach")
    assert done.returncode == 0 and "detached" in done.stdout, done.stdout
    (record,) = submissions.read_submissions(play.store.root)
    done = play.studies("status", "shell", "--results", "results")
    assert "in the queue: " in " ".join(done.stdout.split()), done.stdout
    done = play.studies("logs", record.tasks[-1][0], "--results", "results")
    assert done.returncode == 2 and "PENDING" in done.stdout, done.stdout
    done = play.studies("stop", "shell", "--results", "results")
    assert done.returncode == 0 and "from the queue" in done.stdout and "stopped" in done.stdout, done.stdout
    assert play.queued() == []
    done = play.studies("run", study, *few, "--on", "inline")
    assert done.returncode == 0 and "10/10 trials, 0 failed" in done.stdout, done.stdout


def refused(farm: Farm, folder: Path) -> None:
    """What sbatch says, in one line; what no sbatch knows is not even submitted."""
    play = Play(farm, folder, "refused", partition="nope")
    driver = play.start(toy(play, "a"))
    driver.wait(240)
    assert "LaunchError: sbatch: invalid partition specified: nope" in play.said
    assert list(submissions.read_submissions(play.store.root)) == []


def own_code(farm: Farm, folder: Path) -> None:
    calm = ("--launch", "exclude=n[3-5]", "--launch", "poll_seconds=1")
    own_study.check_on(folder, "--on", "slurm", *calm, SLURM_CONF=farm.conf)


SCENES: tuple[Scene, ...] = (
    the_time_limit,
    sixty_as_inline,
    signalled_early_four_times,
    no_scontrol_on_the_node,
    a_node_killed,
    a_job_killed,
    a_task_cancelled,
    killed_between_the_stages,
    preempted_and_requeued,
    held_and_released,
    left_and_come_back_to,
    interrupted_once,
    an_id_that_came_back,
    side_by_side,
    seeds_until_decided,
    from_another_shell,
    held_while_it_still_writes,
    cancelled_while_it_waits,
    refused,
    own_code,
)


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[Scene], None]]:
    """Plays a scene, and with the first all that were asked for. Of several test processes one does so for all."""
    wanted = [item.callspec.params["scene"] for item in request.session.items if "scene" in _params(item)]
    base = tmp_path_factory.getbasetemp()
    stage = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "stage"
    try:
        stage.mkdir()
    except FileExistsError:
        yield lambda scene: _wait_for(stage / scene.__name__)
        return
    farm: Farm = request.getfixturevalue("slurm")

    def play(scene: Scene) -> None:
        try:
            scene(farm, tmp_path_factory.mktemp(scene.__name__))
        except BaseException:
            write_atomic(stage / scene.__name__, traceback.format_exc())
            raise
        write_atomic(stage / scene.__name__, "")

    with ThreadPoolExecutor(len(wanted)) as pool:
        futures = {scene: pool.submit(play, scene) for scene in wanted}
        yield lambda scene: futures[scene].result()
    farm.start()  # the node that was killed


def _wait_for(end: Path) -> None:
    """Wait for the end of a scene that another process plays; fail as it did."""
    until(end.name, end.exists, 800)
    if text := end.read_text():
        pytest.fail(text)


def _params(item: pytest.Item) -> dict[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_scene(scene: Scene, played: Callable[[Scene], None]) -> None:
    played(scene)
