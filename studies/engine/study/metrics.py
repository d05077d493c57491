"""The metrics of a study against what its task's trials have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from studies.engine.core.formatting import first_few
from studies.engine.core.suggest import suggest
from studies.engine.study.parts import Metric

SHOWN = 8
PLACES = ("best", "last")
"""Sources that are part of the result; any other is the key of an event, none is the result itself."""


def unknown_metrics(
    metrics: Mapping[str, Metric], has: Mapping[str, Sequence[str]], task: str
) -> Iterator[tuple[str, bool, str]]:
    """Yield name, whether its source is wrong, and a text, of each metric that no trial can have."""
    for name, metric in metrics.items() if has else ():
        place = "result" if metric.source is None else metric.source if metric.source in PLACES else "events"
        wanted, known = name if place != "events" else str(metric.source), has.get(place, ())
        if any(fnmatchcase(wanted, pattern) for pattern in known):
            continue
        elsewhere = [other for other in PLACES if place == "result" and name in has.get(other, ())]
        if elsewhere:
            nearest = f", it is in {' and '.join(elsewhere)}: `from: {elsewhere[0]}`"
        else:
            near = suggest(wanted, [*known, *(PLACES if place == "events" else ())])
            nearest = near or f", there are {first_few(known, SHOWN) or 'none'}"
        yield name, place == "events", f"{task} has no {wanted} in its {place}{nearest}"
