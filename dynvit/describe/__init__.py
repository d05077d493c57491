"""Everything there is as JSON: models, data sets, losses, metrics, reducers, tasks, recipes, from the real signatures.

``python -m dynvit.describe`` prints it: what is ours, what installed plugins register, and the own code of
``--imports``, each of the last two with the entry that it is from. Options and configs are JSON Schema (draft
2020-12): types, defaults, choices (``enum``) and one-line descriptions; a mapping without type accepts any value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynvit import plugins
from dynvit.describe import extensions, models, recipes, reducers, tasks


def describe(imports: Sequence[str] = ()) -> dict[str, Any]:
    """Return ``{"classes", "models", "data_sets", "losses", "metrics", "reducers", "tasks", "recipes"}``;
    `describe_timm` has timm's models. imports: own code to load before."""
    if imports:
        plugins.load(imports)
    return {
        **models.our_models(),
        **extensions.describe_extensions(),
        "reducers": reducers.describe_reducers(),
        "tasks": tasks.describe_tasks(),
        "recipes": recipes.describe_recipes(),
    }


def describe_timm() -> dict[str, Any]:
    """Return ``{"classes", "models"}`` of timm's own models; their presets are not known."""
    return models.timm_models()
