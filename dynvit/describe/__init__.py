"""Everything this package offers as JSON: models, reducers, tasks, recipes, from the real signatures.

``python -m dynvit.describe`` prints it. Options and configs are JSON Schema (draft 2020-12): types, defaults, choices
(``enum``) and one-line descriptions; a mapping without type accepts any value.
"""

from __future__ import annotations

from typing import Any

from dynvit.describe import models, recipes, reducers, tasks


def describe() -> dict[str, Any]:
    """Return ``{"classes", "models", "reducers", "tasks", "recipes"}`` of this package; `describe_timm` has timm's
    models."""
    return {
        **models.our_models(),
        "reducers": reducers.describe_reducers(),
        "tasks": tasks.describe_tasks(),
        "recipes": recipes.describe_recipes(),
    }


def describe_timm() -> dict[str, Any]:
    """Return ``{"classes", "models"}`` of timm's own models; their presets are not known."""
    return models.timm_models()
