"""One trial of a study: its config, numbers, log, curve, and its trained model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.engine.api.errors import ResultsError
from studies.engine.core.config import flat
from studies.engine.core.files import read_json
from studies.engine.storage.trial_folder import TrialFolder

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "metric."


class Trial:
    """A trial as the frame and its folder have it. In a notebook it shows itself."""

    def __init__(self, row: dict[str, Any], curves: pd.DataFrame, folder: Path, held: Any = None) -> None:
        """row: the frame's, of the first arm that has it. folder: its own, which may not be there. held: keeps the
        folder alive where it is in an export that was unpacked."""
        self.id, self.part, self.arm = str(row["trial"]), str(row["part"]), str(row["arm"])
        self.seed, self.status, self.folder = int(row["seed"]), str(row["status"]), folder
        self._row, self._curves, self._held = row, curves, held

    @property
    def name(self) -> str:
        return f"{self.part} {self.arm} s{self.seed}"

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that the tables use; none before the trial is done."""
        found = {key.removeprefix(PREFIX): value for key, value in self._row.items() if key.startswith(PREFIX)}
        return {name: value for name, value in found.items() if isinstance(value, float) and math.isfinite(value)}

    @property
    def curves(self) -> pd.DataFrame:
        """Every logged value: a row per step, a column per metric."""
        mine = self._curves[self._curves["trial"] == self.id]
        return mine.drop_duplicates(["step", "metric"]).pivot(index="step", columns="metric", values="value")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole resolved config. Raises ResultsError if the trial's folder is not there."""
        spec = TrialFolder(self._there()).spec()
        if spec is None:
            raise ResultsError(f"{self.folder / 'spec.json'} is missing or damaged")
        config: dict[str, Any] = spec["config"]
        return config

    @property
    def result(self) -> dict[str, Any]:
        """result.json: everything that the trial measured; {} before it is done."""
        return TrialFolder(self._there()).result() or {}

    @property
    def environment(self) -> dict[str, Any]:
        """Packages, commit, host and device of the last attempt."""
        folder = TrialFolder(self._there())
        exported = read_json(self.folder / "env.json")
        return exported if exported is not None else folder.environment(folder.state().attempt)

    @property
    def log(self) -> str:
        """The log of the last attempt. Raises ResultsError if there is none."""
        attempts = sorted(self._attempts(), key=lambda path: int(path.parent.name))
        if not attempts:
            raise ResultsError(f"trial {self.id} has no log in {self.folder}")
        return attempts[-1].read_text(encoding="utf-8", errors="replace")

    def _attempts(self) -> Iterator[Path]:
        yield from (path for path in self._there().glob("attempts/*/log.txt") if path.parent.name.isdigit())

    def load(self, weights: str = "last") -> Any:
        """Return the trained model in eval mode, its options included; see `dynvit.load_trial`.

        Raises ResultsError if no weights were kept, or they are damaged.
        """
        folder = self._there()
        try:
            return import_module("dynvit").load_trial(folder, weights)
        except ValueError as error:
            raise ResultsError(str(error)) from None

    def _there(self) -> Path:
        if not self.folder.is_dir():
            raise ResultsError(
                f"the folder of trial {self.id} is not in {self.folder.parent}: only the frame is here, "
                "with `.metrics` and `.curves`"
            )
        return self.folder

    # ---- how it shows itself

    def lines(self) -> list[str]:
        """Return what there is, in words."""
        numbers = ", ".join(f"{name} {value:.5g}" for name, value in self.metrics.items())
        where = str(self.folder) if self.folder.is_dir() else "its folder is not here"
        return [line for line in (f"{self.status}, seed {self.seed}", numbers, where) if line]

    def _repr_html_(self) -> str:
        from paper_tables.view import page

        config = flat(self.config) if self.folder.is_dir() else []
        rows = [(key, str(value)) for key, value in config]
        options = page.folded("config", page.plain_table(["option", "value"], rows)) if rows else ""
        return page.framed(page.heading(f"{self.id}  {self.name}"), page.items(self.lines()), options)

    def __repr__(self) -> str:
        return "\n".join([f"{self.id}  {self.name}", *(f"  {line}" for line in self.lines())])
