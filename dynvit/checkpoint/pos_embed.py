"""Position tables on another grid: of a checkpoint, or of a model whose images change their size."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynvit.checkpoint.report import shapes
from dynvit.interface import interface_of

Grid = tuple[int, int]


def resample_tables(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the state with its tables on the model's grid; for timm's own models by timm's filter function.

    Raises ValueError for tables that timm cannot resample, such as those with other tokens beside the patches'.
    """
    state, own = dict(state), model.state_dict()
    filter_fn = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if filter_fn is not None and type(model).__module__.startswith("timm."):
        try:
            state = dict(filter_fn(state, model))
        except AttributeError as error:  # tables are looked up by their layers' names
            raise ValueError(f"weights of another size: it has layers that the model lacks: {error}") from error
        except (RuntimeError, ValueError, LookupError) as error:
            odd = [name for name in state if name in own and state[name].shape != own[name].shape]
            kind = f"weights of another kind than {type(model).__name__}"
            raise ValueError(f"{kind}: {shapes(odd, state, own) or error}") from error
    grids = interface_of(model).position_grids()
    for name, table in state.items():
        if name in own and "pos" in name.rsplit(".", 1)[-1] and own[name].shape != table.shape:
            if name.endswith("relative_position_bias_table"):
                windows = model.get_submodule(name.rpartition(".")[0])
                state[name] = resize_rel_pos_bias_table(table, windows.window_size, own[name].shape)
            else:
                state[name] = _resample(table, own[name], grids.get(name))
    return state


def resize_position_table(state_dict: Mapping[str, Tensor], model: VisionTransformer) -> dict[str, Tensor]:
    """Return a copy of the state dict whose ``pos_embed`` ``[1, T, C]`` fits the model's grid (timm's bicubic)."""
    resized = dict(state_dict)
    table = resized.get("pos_embed")
    if table is not None and table.shape != model.pos_embed.shape:
        resized["pos_embed"] = _resample(table, model.pos_embed, model.patch_embed.grid_size)
    return resized


def resample_map(table_1CHW: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic, as timm resamples tables of tokens."""
    resized = F.interpolate(table_1CHW.float(), tuple(size), mode="bicubic", antialias=True)
    return resized.to(table_1CHW.dtype)


def _resample(table: Tensor, own: Tensor, grid: Grid | None) -> Tensor:
    """Resample a table ``[1, C, H, W]``, or ``[1, prefix + side**2, C]`` of a square grid to `grid`, or to a square."""
    if table.ndim == own.ndim == 4 and table.shape[:2] == own.shape[:2]:
        return resample_map(table, own.shape[2:])
    if not table.ndim == own.ndim == 3 or table.shape[::2] != own.shape[::2]:
        return table
    for prefix in (1, 0, 2) if grid is None else (own.shape[1] - math.prod(grid),):
        new, old = grid or _square(own.shape[1] - prefix), _square(table.shape[1] - prefix)
        if new and old:
            return resample_abs_pos_embed(table, list(new), list(old), num_prefix_tokens=prefix)
    return table


def _square(tokens: int) -> Grid | None:
    side = math.isqrt(max(tokens, 0))
    return (side, side) if side * side == tokens > 0 else None
