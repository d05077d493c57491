"""Passwords and tokens in addresses: hidden in whatever is shown or stored."""

from __future__ import annotations

import re

_NAMES = r"[\w.-]*(?:token|secret|pass|pwd|key|auth|sig|cred)[\w.-]*"
_HIDDEN = (
    # a password may hold a slash; `name:5000/a@b` is taken for one too, unless the name has a dot
    (re.compile(r"(?<=://)(?:[^/?#\s]*@|(?!localhost:)[^/?#\s:@.\[]*:\S*@|[^/?#\s:@\[]*:(?!\d*[/?#])\S*@)"), ""),
    (re.compile(r"^[^/?#\s:@]+:[^/\s]\S*@(?=[\w.-]+(?::\d+)?(?:/|$))"), ""),
    (re.compile(rf"([?&;#]{_NAMES}=)[^&;#\s'\"]+", re.IGNORECASE), r"\1..."),
)


def hide_secrets(text: str) -> str:
    """Return an address, or a text with addresses, without user and password, and without the values of tokens."""
    for pattern, shown in _HIDDEN:
        text = pattern.sub(shown, text)
    return text
