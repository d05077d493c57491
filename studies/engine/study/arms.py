"""Parts -> arms, each with its whole config and everything that is wrong with its settings. One pass for all uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from studies.engine.core.trial import Config
from studies.engine.study.acting_axes import points, settings
from studies.engine.study.design import DesignPoint
from studies.engine.study.parts import Part, Patch, Setting
from studies.engine.study.resolver import Resolver, SettingIssue
from studies.engine.study.settings import patch, setting

Override = tuple[str, Any]
"""KEY=VALUE of --set: applied in every part, or in one as PART.KEY=VALUE."""


@dataclass(frozen=True)
class ResolvedArm:
    """One arm of a part at one scale."""

    part: Part
    point: DesignPoint
    config: Config
    defaults: Config
    """The config when only the models are named."""
    issues: tuple[SettingIssue, ...]
    """Settings that the task or its model does not take."""
    references: Mapping[str, Setting] = field(default_factory=dict)
    """Settings that name another trial as the origin of weights, by config key."""

    @property
    def key(self) -> tuple[str, str]:
        """Part and label."""
        return self.part.name, self.point.label


def resolve_arms(
    parts: Sequence[Part], resolver: Resolver, overrides: Sequence[Override] = (), smoke: bool = False
) -> tuple[ResolvedArm, ...]:
    """Resolve every arm of every valid part: base, levels, then --set, then what --smoke sets."""
    names = {part.name for part in parts}
    wanted: list[tuple[Part, DesignPoint, Patch]] = []
    for part in parts:
        over = override_patch(names, part.name, overrides)
        if part.valid:
            wanted += [(part, p, settings(part, p, resolver, over)) for p in points(part, resolver, over)]
    resolved = [resolver.resolve(found) for _, _, found in wanted]
    if smoke:
        task = resolver.task
        asked = [found.config for found in resolved] if "smoke" in task.offers else []
        further = [answer.smoke for answer in task.check(asked)] or [{}] * len(resolved)
        for i, ((_, _, found), own) in enumerate(zip(wanted, further, strict=True)):
            resolved[i] = resolver.resolve((*found, *patch({**task.smoke, **own}, ("--smoke",))))
    return tuple(
        ResolvedArm(part, point, found.config, found.defaults, found.issues, found.references)
        for (part, point, _), found in zip(wanted, resolved, strict=True)
    )


def override_patch(parts: Set[str], part: str, overrides: Iterable[Override]) -> Patch:
    """Return the settings that --set makes in a part: ``KEY=VALUE`` in every part, over it ``PART.KEY=VALUE`` in one.

    Their order on the command line means nothing, as it is not part of the label.
    """
    mine = {key: key.partition(".")[0] == part and "." in key for key, _ in overrides}
    return tuple(_override_settings(parts, part, sorted(overrides, key=lambda override: mine[override[0]])))


def _override_settings(parts: Set[str], part: str, overrides: Iterable[Override]) -> Iterator[Any]:
    for key, value in overrides:
        first, _, rest = key.partition(".")
        if first == part and rest:
            yield from setting(rest, value, ("--set", key))
        elif first not in parts:
            yield from setting(key, value, ("--set", key))
