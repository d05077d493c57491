"""What a table file may say about figures: one class per kind; ``figures/<kind>.py`` draws it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from paper_tables.schema.base import AxisRef, Entry, Filter, Flag, MetricRef, Name, Number, Reference, Whole, non_empty


class Panel(Entry):
    """One panel of a figure; `color` is the axis (or `part`) whose levels are the lines."""

    title: str = ""
    filter: Filter = Field(default_factory=dict)
    color: Annotated[str | None, Reference.AXIS] = None


Error = Literal["t95", "sd", "none"]
"""Error bars and bands: 95 % Student t interval, standard deviation, none."""
Panels = Annotated[tuple[Panel, ...], Field(max_length=24), AfterValidator(non_empty)]


class FigureSpec(Entry):
    """Keys of all figures. `width`: one or two columns of a paper."""

    name: Name
    kind: str
    caption: str = ""
    width: Literal["one", "two"] = "one"
    height: Number | None = Field(None, gt=0.5, lt=12)
    filter: Filter = Field(default_factory=dict)


class Line(FigureSpec):
    """A metric along an axis, mean with error bars, one line per level of `color`."""

    kind: Literal["line"]
    x: AxisRef
    y: MetricRef
    color: Annotated[str | None, Reference.AXIS] = None
    error: Error = "t95"


class Scatter(FigureSpec):
    """Two metrics, one point per arm, with the Pareto front of each color. join: a line through its points, by x."""

    kind: Literal["scatter"]
    x: MetricRef
    y: MetricRef
    color: Annotated[str, Reference.AXIS] = "part"
    join: Flag = False
    frontier: Flag = False
    names: Flag = False
    """Number every point and name it to the side."""
    diagonal: Flag = False
    """The line x = y, with equal logarithmic axes."""
    error: Error = "none"


class Forest(FigureSpec):
    """Paired differences to each part's baseline, one factor at a time, with intervals."""

    kind: Literal["forest"]
    x: MetricRef
    y: tuple[Literal["part", "axis"], ...] = ("part", "axis")
    show: Literal["paired_difference"] = "paired_difference"


class Dots(FigureSpec):
    """Every arm with its seeds, mean and interval; the default figure of a study without a table file."""

    kind: Literal["dots"]
    x: MetricRef


class MetricsPanel(Entry):
    """One panel: metrics of one unit with the names of their marks."""

    title: str = ""
    metrics: Annotated[dict[str, str], Field(min_length=1, max_length=8), Reference.METRIC]


class Metrics(FigureSpec):
    """Several metrics of every arm: a row per arm, a mark per metric. line: a value to compare with."""

    kind: Literal["metrics"]
    label: str
    """What all the metrics are."""
    panels: Annotated[tuple[MetricsPanel, ...], Field(max_length=6), AfterValidator(non_empty)]
    line: Number | None = None


class Ranks(FigureSpec):
    """Levels of the axis `of` ranked by y within each seed and level of `over`: mean rank, interval over seeds."""

    kind: Literal["ranks"]
    y: MetricRef
    of: AxisRef
    over: AxisRef


class PanelFigure(FigureSpec):
    """A logged metric in panels."""

    metric: str
    panels: Panels


class Curves(PanelFigure):
    """A metric step by step, or (layers) one logged once per layer (`active.layer00`, …) along the depth, at the last
    step: mean over seeds with a band."""

    kind: Literal["curves", "layers"]
    error: Error = "t95"
    chance: Number | None = None
    """Reference line: what a guess gives."""


class Heatmap(PanelFigure):
    """A metric of pairs of layers (`returned.attention.layer00.layer03`, …): one matrix per panel, mean of trials."""

    kind: Literal["heatmap"]
    center: Number
    """Value expected by chance: the center of the color map."""


class Lags(PanelFigure):
    """The same metric by the distance of the two layers, averaged over pairs of equal distance."""

    kind: Literal["lags"]
    chance: Number | None = None
    """Reference line."""
    error: Error = "t95"


class Maps(FigureSpec):
    """Test images with their tokens, from the first arm of each panel that has token maps.

    layers: active tokens of each layer; importance: rank of each token per layer; depth: layers with the token active.
    """

    kind: Literal["maps"]
    show: Literal["layers", "importance", "depth"]
    panels: Panels
    images: Whole = Field(4, ge=1, le=12)


Figure = Annotated[
    Line | Scatter | Forest | Dots | Metrics | Ranks | Curves | Heatmap | Lags | Maps, Field(discriminator="kind")
]
