"""``, did you mean "resources"?``: the end of every message about an unknown name."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "resources"?``, or an empty text where no known name is similar."""
    import difflib

    names = [str(one) for one in known]
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not found:  # another case, or a dotted key whose last part is right
        found = [one for one in names if one.lower() == name.lower() or one.endswith(f".{name}")][:1]
    return f', did you mean "{found[0]}"?' if found else ""


def suggest_or_list(name: str, known: Iterable[str]) -> str:
    """Return the most similar name, or all known names where none is similar."""
    names = [str(one) for one in known]
    listed = f", there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""
    return suggest(name, names) or listed
