"""timm's notation of automatic augmentation, such as rand-m9-mstd0.5-inc1: checked before a trial, in which timm ends
with a bare assertion or passes over a part that it cannot read."""

from __future__ import annotations

import re

from dynvit.config.option_checks import did_you_mean

WHOLE, NUMBER = r"\d+", r"\d+(?:\.\d+)?"
NOISE = {"mstd": NUMBER}
POLICIES = {
    "rand": {
        "m": WHOLE, "n": WHOLE, "p": NUMBER, "mstd": f"{NUMBER}|inf", "mmax": WHOLE, "inc": "[01]",
        "t": "weights|3aw|3a",
    },
    "augmix": {"m": WHOLE, "w": WHOLE, "d": WHOLE, "a": NUMBER, "b": "[01]", **NOISE},
    "original": NOISE, "originalr": NOISE, "v0": NOISE, "v0r": NOISE, "3a": NOISE,
}  # fmt: skip
"""By policy: its parts, with the values that they take."""
IN_MEMORY = {"m", "n", "p", "mstd", "inc"}
"""Parts of `rand` that images in memory have."""


def policy_parts(text: str) -> tuple[str, dict[str, str]]:
    """Return a policy's name and the values of its parts. Raises ValueError naming the part that timm does not read."""
    name, *given = text.split("-")
    if name not in POLICIES:
        there = did_you_mean(name, POLICIES) or f"; there are {', '.join(POLICIES)}"
        raise ValueError(f"auto {text}: there is no policy {name}{there}")
    known, found = POLICIES[name], {}
    for part in given:
        key = next((key for key, value in known.items() if re.fullmatch(f"{key}(?:{value})", part)), None)
        if key is None:
            raise ValueError(
                f"auto {text}: {part} is no part of {name}; those are {', '.join(known)}, each with its value as in "
                "rand-m9-mstd0.5-inc1"
            )
        found[key] = part.removeprefix(key)
    return name, found


def in_memory_error(text: str) -> str:
    """Return why images in memory cannot be augmented so; empty where they can."""
    name, found = policy_parts(text)
    if name == "rand" and found.get("inc") == "1" and found.keys() <= IN_MEMORY:
        return ""
    return f"images in memory support rand-...-inc1 with m, n, p and mstd, such as rand-m9-mstd0.5-inc1, not {text}"
