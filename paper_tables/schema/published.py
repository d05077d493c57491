"""What tables and claims name in the papers and in the results: published rows, arms, metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from paper_tables.schema.base import Entry, Flag, LevelNames, Number, non_empty

Scales = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda v: [v] if isinstance(v, str) else v, json_schema_input_type=str | list[str]),
]
ArmSelector = dict[str, Annotated[LevelNames, AfterValidator(non_empty)]]
"""One arm: `study` (default: this one), `part`, `arm` (its label) or axes; other axes are at their baseline."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


ArmSelectors = Annotated[
    tuple[ArmSelector, ...], BeforeValidator(_as_list, json_schema_input_type=ArmSelector | list[ArmSelector])
]
"""One or several selectors: the first with a value of the metric is used."""
Metrics = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    AfterValidator(non_empty),
]
"""One metric, or several names of it: the first with a value is used."""


class Published(Entry):
    """Which row of ``published/<file>.csv``: the first whose columns match (`*` allowed)."""

    file: str
    where: dict[str, str]
    comparable: Flag = True
    why: str = ""
    factor: dict[str, Annotated[Number, Field(gt=0)]] = Field(default_factory=dict)
    """Column -> factor that converts its number to our way of counting (FLOPs at two per MAC: 0.5)."""

    @model_validator(mode="after")
    def _reason(self) -> Published:
        if not self.comparable and not self.why:
            raise ValueError("says comparable: false, so `why` must name the difference")
        return self


class Incomparable(Entry):
    """Print published and measured numbers of these metrics in gray, with the reason as a note."""

    metrics: Metrics
    why: str = Field(min_length=1)
    scales: Scales = ()
    """Only if our numbers were measured at one of these scales; empty: at any scale."""
