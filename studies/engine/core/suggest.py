"""``, did you mean "resources"?``: the end of every message about an unknown name."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "resources"?``, or an empty text where no known name is similar."""
    import difflib

    names = [str(one) for one in known]
    found = _abbreviated(name, names) or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not found:  # another case, or a dotted key whose last part is right
        found = [one for one in names if one.lower() == name.lower() or one.endswith(f".{name}")][:1]
    return f', did you mean "{found[0]}"?' if found else ""


def _abbreviated(name: str, names: list[str]) -> list[str]:
    """Return the name that is short for this one, or that this one is short for: ``train.lr`` for learning_rate."""
    where, _, last = name.rpartition(".")
    short = _initials(last)
    ends = {one: one.rpartition(".")[2] for one in names}
    found = [one for one, end in ends.items() if (short and short == end) or _initials(end) == last]
    return sorted(found, key=lambda one: one.rpartition(".")[0] != where)[:1]


def _initials(words: str) -> str | None:
    """Return ``lr`` of learning_rate; None for a single word."""
    parts = [part for part in words.split("_") if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else None


def suggest_or_list(name: str, known: Iterable[str]) -> str:
    """Return the most similar name, or all known names where none is similar."""
    names = [str(one) for one in known]
    listed = f", there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""
    return suggest(name, names) or listed
