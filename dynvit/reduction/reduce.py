"""`dynvit.reduce`: any timm transformer with a method of token reduction, over the same weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from dynvit.reduction.block_kinds import check_blocks
from dynvit.reduction.reducer import make_reducer
from dynvit.reduction.target_cost import options_at
from dynvit.reduction.transformers import MIXINS, mixin_for, reduced_class, sharing


def reduce(model: nn.Module, method: str = "pitome", target_gmacs: float | None = None, **options: Any) -> nn.Module:
    """The timm transformer with fewer tokens: `method` and its options as in `dynvit.list_reducers()` and
    docs/reducers.md.

    The result is a model of its own over the same weights: training or moving one moves both, but `model` goes on
    with all its tokens. Options that keep everything give the model itself, bit for bit. Prefix tokens (class,
    distillation, registers) stay in front and take no part; average pooling weighs tokens by size where sizes are
    counted.

    target_gmacs: instead of the method's rate (`keep`, `ratio`, `r`): what the model shall cost per image of its own
    size, in 1e9 multiply-accumulates; `reducer` of the result says the rate.

    Raises ValueError for a model that cannot be reduced, an unknown method, a wrong value or a target out of reach,
    TypeError for an unknown option.
    """
    reducer = make_reducer(method, options)
    mixin = mixin_for(model)
    if mixin is None:
        sizes = {info.get("reduction") for info in getattr(model, "feature_info", ())}
        why = ": its stages halve a grid, which must have all its tokens" if len(sizes) > 1 else ""
        own = ", whose forward is not timm's" if isinstance(model, tuple(MIXINS)) else why
        kinds = " or ".join(sorted(kind.__name__ for kind in MIXINS))
        raise ValueError(f"{method} takes a timm {kinds}, not {type(model).__name__}{own}")
    check_blocks(model)
    if target_gmacs is not None:
        options = options_at(target_gmacs, model, type(reducer), options, partial(reduce, method=method))
        return reduce(model, method, **options)
    reduced: Any = sharing(model)
    reduced.patch_embed = sharing(reduced.patch_embed)  # it knows the image size, which `set_input_size` changes
    reduced.__class__ = reduced_class(mixin, type(model))
    reduced.set_reducer(reducer)
    return reduced
