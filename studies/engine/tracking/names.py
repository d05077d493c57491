"""Names, texts and times within MLflow's limits."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping

KEY_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000


def sanitize(key: str) -> str:
    """Return a key that MLflow accepts: ``recursion=1, slices=none`` becomes ``recursion:1 slices:none``. If more has
    to be replaced, a short hash keeps different keys distinct."""
    plain = re.sub(r", *", " ", key.replace("=", ":")) if ":" not in key else key
    safe = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", plain, flags=re.ASCII)).lstrip("/.")
    if safe == plain and len(safe) < KEY_LIMIT - 20:  # room for .ci_high
        return safe
    return f"{safe[: KEY_LIMIT - 30]}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"


def truncate(text: str, limit: int) -> str:
    """Return the text, or as much as fits and a note on how much is missing."""
    note = f" … ({len(text)} characters, cut)"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def to_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return tags within MLflow's limit; those without a value are left out."""
    return {key: truncate(text, TAG_LIMIT) for key, text in tags.items() if text}


def to_params(values: Mapping[str, object]) -> dict[str, str]:
    """Return parameters with names and texts that MLflow accepts."""
    return {sanitize(key): truncate(_text(value), PARAM_LIMIT) for key, value in values.items()}


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
