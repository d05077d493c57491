"""A study's plan as an object: its trials, what they take, and a run of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studies.engine.api.errors import ResultsError, as_sentences
from studies.engine.api.open import results_folder
from studies.engine.cli.plan_report import plan_lines, plan_notes, warnings
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.cli.text import format_counts
from studies.engine.core.suggest import suggest
from studies.engine.planning.forecast.estimate import Estimate
from studies.engine.planning.plan import RERUNS, Plan, Rerun
from studies.engine.planning.selection import Selection

if TYPE_CHECKING:
    import pandas as pd

    from studies.engine.api.results import Results

WIDTH = 100
"""Columns of the plan as text."""


class StudyPlan:
    """What `studies.plan` returns: the study against the results on disk, at that moment."""

    def __init__(self, selection: Selection, rerun: Rerun | None, device: str | None) -> None:
        self._options = selection, rerun, device
        with as_sentences():
            self.plan: Plan = plan_selection(selection, rerun, device)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.plan.folder

    @property
    def trials(self) -> pd.DataFrame:
        """One row per selected trial: part, arm, seed, id, status, whether a run launches it, and seconds, if known."""
        import pandas as pd

        plan, seconds = self.plan, self.cost.seconds_of if self.cost else {}
        launched = {trial.folder_id for trial in plan.to_run}
        rows = [
            (t.arm.part, t.arm.label, t.seed, t.folder_id, plan.state(t).status, t.folder_id in launched,
             seconds.get(t.folder_id))
            for t in (*plan.selected, *plan.added)
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=["part", "arm", "seed", "trial", "status", "to_run", "seconds"])

    @property
    def cost(self) -> Estimate | None:
        """What the trials to run take (`seconds`, `gpu_hours`, `memory_gb`); None: nothing to run, or nothing known."""
        return self.plan.estimate

    @property
    def warnings(self) -> list[str]:
        """What the task objects to in settings that it accepts."""
        return [line.removeprefix("warning").strip() for line in warnings(self.plan)]

    def run(
        self,
        on: str | None = None,
        *,
        cluster: str | None = None,
        launch: Mapping[str, Any] | None = None,
        address: str | None = None,
        until: Literal["decided"] | None = None,
    ) -> Results:
        """Run everything that is missing, as ``studies run`` does, and return the results.

        on: ``"inline"`` (in this process), ``"ray"``, ``"slurm"``; default: Ray where it helps. launch: options of the
        launcher. until: ``"decided"`` adds seeds, look by look, to the arms of claims that are not decided yet
        (``decide:`` of the study). A failed trial is a row of the results, not an exception. An interrupt (Ctrl-C, the
        stop button) lets the trials save and stop; the same call goes on from there.

        Raises `StudyError` for options that the launcher does not take, or that do not go together.
        """
        from studies.engine.api.run import run_plan

        selection, rerun, device = self._options
        with as_sentences():
            return run_plan(selection, until, cluster, launch or {}, rerun=rerun, device=device, on=on, address=address)

    # ---- how it shows itself

    def _repr_html_(self) -> str:
        from paper_tables.view import page

        trials, lines = self.trials, plan_lines(self.plan, WIDTH)
        rows = [
            (part, arm, len(group), format_counts(Counter(group["status"])), int(group["to_run"].sum()))
            for (part, arm), group in trials.groupby(["part", "arm"], sort=False)
        ]
        table = page.plain_table(["part", "arm", "seeds", "state", "to run"], rows)
        totals = lines[lines.index("", 2) + 1 :]  # behind the head and the arms
        return page.framed(
            page.heading(self.plan.study.title), page.paragraph(lines[0]), table, page.text([*totals, *self._notes])
        )

    @property
    def _notes(self) -> list[str]:
        return plan_notes(self.plan)

    def __repr__(self) -> str:
        return "\n".join([*plan_lines(self.plan, WIDTH), *self._notes])


def plan_study(
    study: str | Path,
    scale: str | None,
    changes: Mapping[str, Any] | None,
    only: str | Iterable[str],
    seeds: Iterable[int] | None,
    smoke: bool,
    rerun: Rerun | None,
    device: str | None,
    results: str | Path | None,
) -> StudyPlan:
    """See `studies.plan`."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable | None):
        raise ResultsError(f"seeds is a list, as in seeds=[0, 1], not {seeds!r}")
    if rerun is not None and rerun not in RERUNS:
        raise ResultsError(f"rerun is one of {', '.join(RERUNS)}, not {rerun!r}{suggest(str(rerun), RERUNS)}")
    if not isinstance(smoke, bool):
        raise ResultsError(f"smoke is True or False, not {smoke!r}")
    if not isinstance(changes, Mapping | None):
        raise ResultsError(f'set is a mapping, as in set={{"train.epochs": 5}}, not {changes!r}')
    for name, text in (("scale", scale), ("device", device)):
        if not isinstance(text, str | None):
            raise ResultsError(f"{name} is a text, not {text!r}")
    filters = [only] if isinstance(only, str) else list(only) if isinstance(only, Iterable) else [only]
    if wrong := [one for one in filters if not isinstance(one, str)]:
        raise ResultsError(f'only is text such as "pause=false", or several, not {wrong[0]!r}')
    selection = Selection(
        study=str(study),
        results=results_folder(results),
        scale=scale,
        overrides=tuple(f"{key}={_as_yaml(key, value)}" for key, value in (changes or {}).items()),
        smoke=smoke,
        only=tuple(filters),
        seeds=None if seeds is None else ",".join(map(str, seeds)),
    )
    return StudyPlan(selection, rerun, device)


def _as_yaml(key: str, value: Any) -> str:
    """Return a setting as the command line takes it; what is no JSON is asked for its plain value, as numpy's."""
    try:
        return json.dumps(value, ensure_ascii=False, default=lambda thing: thing.item())
    except (TypeError, ValueError, AttributeError) as error:
        raise ResultsError(
            f"set: {key} is a {type(value).__name__}, and settings are numbers, texts, lists and mappings"
        ) from error
