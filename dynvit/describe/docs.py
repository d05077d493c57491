"""One-line descriptions from docstrings: of a class, of its options, of a dataclass's fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Collection
from itertools import pairwise

COMMON_OPTIONS = {
    "img_size": "Side of the images in pixels, or height and width.",
    "patch_size": "Side of a patch in pixels.",
    "in_chans": "Channels of the images.",
    "num_classes": "Classes; 0: no classifier.",
    "embed_dim": "Width of a token.",
    "depth": "Number of blocks.",
    "num_heads": "Attention heads of a block.",
    "mlp_ratio": "Hidden width of the MLP over the width of a token.",
    "qkv_bias": "Whether queries, keys and values have a bias.",
    "drop_rate": "Dropout before the classifier.",
    "drop_path_rate": "Stochastic depth: rate of the last block, growing linearly from 0.",
    "global_pool": "How tokens become one vector for the classifier.",
}
"""Descriptions of options that timm's models share, for classes whose docstrings leave them out."""


def first_paragraph(thing: object) -> str:
    """Return the first paragraph of a docstring, in one line; empty for the signature that dataclasses generate."""
    text = _own_doc(thing) if isinstance(thing, type) else inspect.getdoc(thing) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _own_doc(cls: type) -> str:
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    return "" if text.startswith(f"{cls.__name__}(") else text


def option_docs(cls: type, options: Collection[str]) -> dict[str, str]:
    """Return what docstrings say of each option: ``name: text`` or ``name, other: text``, nearest class first."""
    found = {name: text for name, text in COMMON_OPTIONS.items() if name in options}
    for base in reversed(cls.__mro__[:-1]):
        found |= mentioned(_own_doc(base), options)
    return found


def mentioned(text: str, options: Collection[str]) -> dict[str, str]:
    """Return what a text says of each option: ``name: text`` or ``name, other: text``."""
    names = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
    if not names:
        return {}
    text = " ".join(text.split())
    heads = list(re.finditer(rf"(?<![\w.`])((?:{names})(?:, (?:{names}))*): ", text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    found = {}
    for head, end in zip(heads, ends, strict=False):
        for name in head[1].split(", "):
            found.setdefault(name, text[head.end() : end].strip())
    return found


def field_docs(cls: type) -> dict[str, str]:
    """Return what a dataclass says of its fields: ``name: text`` in its docstring, or the string below the field."""
    found: dict[str, str] = {}
    names = [field.name for field in dataclasses.fields(cls)]
    for base in reversed(cls.__mro__[:-1]):
        found |= mentioned(_own_doc(base), names)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # made at run time: no source
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for node, following in pairwise(body):
            match node, following:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    found[name] = " ".join(text.split())
    return found
