"""STUDY, --scale, --set, --smoke, --only, --seeds, --results: what the verbs share, and how it becomes a study.

```
@click.command()
@study_argument
@selection_options          # or label_options for a verb that only reads
@results_option
def command(**chosen) -> int:
    plan = plan_of(Selection(**chosen))
```
A verb that plans calls `plan_of`; one that reads results calls `planned`, which opens neither the study file nor the
models' sources and so answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from studies.engine.core.errors import StudyError
from studies.engine.planning.overrides import make_label, parse_override
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files

if TYPE_CHECKING:
    from studies.engine.planning.choice import Choice
    from studies.engine.planning.plan import Plan, Rerun
    from studies.engine.storage.plan_file import PlanFile
    from studies.engine.study.model import Study

F = TypeVar("F", bound=Callable[..., Any])

study_argument = click.argument("study", metavar="STUDY")
"""A name in studies/ (the package's or the current folder's), or a path to a .yaml file."""

results_option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    envvar="DYNVIT_RESULTS",
    show_default=True,
    help="Folder of trials and tables; also $DYNVIT_RESULTS.",
)


device_option = click.option(
    "--device",
    metavar="NAME|TFLOPS:GB",
    envvar="DYNVIT_DEVICE",
    help="The GPU to reckon with: h200, a100, ... or its sustained speed and memory, 60:80; also $DYNVIT_DEVICE.",
)


def label_options(command: F) -> F:
    """What decides which folder a study's results stand in."""
    for option in (
        click.option("--smoke", is_flag=True, help="Minimal: one seed, one epoch, few images. Kept apart as @smoke."),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set a config key everywhere (PART.KEY=VALUE: in one part). Kept apart as @set-....",
        ),
        click.option("--scale", metavar="SCALE", help="Size of the study; without it the file's default_scale."),
    ):
        command = option(command)
    return command


def selection_options(command: F) -> F:
    """`label_options`, and which of the study's trials."""
    for option in (
        click.option("--seeds", metavar="0,1", help="Only these seeds."),
        click.option(
            "--only",
            multiple=True,
            metavar="AXIS=LEVEL,...",
            help="Only these arms: recursion=1,3, part=sret or sret.recursion=1; may be given several times.",
        ),
    ):
        command = option(command)
    return label_options(command)


@dataclass(frozen=True)
class Selection:
    """The options as they were typed."""

    study: str
    results: Path = Path("results")
    scale: str | None = None
    overrides: tuple[str, ...] = ()
    smoke: bool = False
    only: tuple[str, ...] = ()
    seeds: str | None = None

    @property
    def store(self) -> Store:
        return Store(self.results)


class Refused(click.ClickException):
    """Wrong study file or arguments: printed as it is, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


def resolve(selection: Selection) -> tuple[Study, Store, Choice]:
    """The checked study and what was chosen of it. Refused with every problem of file and command line at once."""
    from studies.engine.planning.choice import choose

    try:
        study, chosen = choose(study_files.find(selection.study), selection)
    except StudyError as error:
        raise Refused(str(error)) from error
    return study, selection.store, chosen


def plan_of(selection: Selection, rerun: Rerun | None = None, device: str | None = None, count: bool = False) -> Plan:
    """Read, check, compare with what is on disk, and reckon what is missing."""
    from studies.engine.planning.plan import make_plan

    study, store, chosen = resolve(selection)
    try:
        return make_plan(
            study,
            store,
            scale=chosen.scale,
            overrides=chosen.overrides,
            only=chosen.only,
            seeds=chosen.seeds,
            smoke=chosen.smoke,
            rerun=rerun,
            device=device,
            count=count,
        )
    except StudyError as error:
        raise Refused(str(error)) from error


def planned(selection: Selection) -> PlanFile:
    """The plan a run has written. Refused where there is none."""
    try:
        name = study_files.name_of(selection.study)
        label = label_of(selection)
    except StudyError as error:
        raise Refused(str(error)) from error
    folder = plan_file.find(selection.store.root, name, label)
    if folder is None:
        wanted = plan_file.folder_name(name, label)
        others = [p.name for p in plan_file.folders(selection.store.root) if p.name.partition("@")[0] == name]
        hint = f"; there is {', '.join(others)}" if others else ""
        raise Refused(f"{wanted} has not been run in {selection.results}{hint}")
    return plan_file.read_plan(folder)


def label_of(selection: Selection) -> str:
    """The label as typed; `planfile.find` knows that the default scale's name may be left out."""
    overrides = tuple(parse_override(text) for text in selection.overrides)
    return make_label(selection.scale or "", selection.smoke, overrides)
