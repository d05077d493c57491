"""A study's claims as an object: each sentence with its verdict, and the tests behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from paper_tables.claims import table as claims_table
from paper_tables.claims.verdicts import VERDICTS, ClaimResult, ConditionResult
from paper_tables.core.text import join_and
from paper_tables.site.study_tables import StudyTables
from paper_tables.view import page
from paper_tables.view.table import Table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("name", "verdict", "quoted", "paper", "where", "kind", "scale", "why")
TESTS = ("verdict", "test", "expected", "measured", "control", "n", "look", "scale", "reason")


@dataclass(frozen=True, repr=False)
class Claims:
    """The claims of a study, judged as the report has them. In a notebook they show themselves."""

    study: StudyTables

    @property
    def results(self) -> list[ClaimResult]:
        return self.study.judged

    @property
    def tables(self) -> list[Table]:
        """That of the sentences, then those of the tests."""
        return [Table(grid) for grid in self.study.claim_grids]

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> number of claims, from reproduced to not run."""
        found = Counter(one.verdict for one in self.results)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @cached_property
    def data(self) -> pd.DataFrame:
        """One row per claim: name, verdict, sentence, paper, kind, scale, and why it is not decided."""
        import pandas as pd

        found = pd.DataFrame([[line[key] for key in COLUMNS] for line in self.study.claims], columns=list(COLUMNS))
        return found.rename(columns={"quoted": "claim"})

    @cached_property
    def tests(self) -> pd.DataFrame:
        """One row per test of a claim: as printed, and `estimate`, `low`, `high` as numbers."""
        import pandas as pd

        rows = [
            [line["name"], *(test[key] for key in TESTS), *_numbers(result)]
            for line, one in zip(self.study.claims, self.results, strict=True)
            for test, result in zip(line["tests"], one.tested, strict=True)
        ]
        return pd.DataFrame(rows, columns=["name", *TESTS, "estimate", "low", "high"])

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[ClaimResult]:
        return iter(self.results)

    def _repr_html_(self) -> str:
        if not self.results:
            return page.framed(page.paragraph(repr(self)))
        sentences, *tests = (table.html for table in self.tables)
        return page.framed(sentences, page.folded("The tests behind the verdicts", "".join(tests)) if tests else "")

    def __repr__(self) -> str:
        if not self.results:
            return f"{self.study.library.own.study} has no claims: they stand in claims.yaml beside its table file"
        head = join_and([f"{n} {verdict}" for verdict, n in self.counts.items()])
        lines = (f"{one.verdict:17}  {claims_table.quoted(one.claim)}" for one in self.results)
        return "\n".join([head, *lines])


def _numbers(result: ConditionResult) -> tuple[float | None, float | None, float | None]:
    return result.estimate, result.low, result.high
