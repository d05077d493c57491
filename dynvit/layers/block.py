"""A timm transformer block run on the tokens of a layout."""

from __future__ import annotations

from collections.abc import Callable

from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.attention import attend, cls_attention, key_mask
from dynvit.layers.token_layout import GridLayout, Packed

GridMap = Callable[[Tensor], Tensor]
"""Map of the MLP's hidden layer on the full grid ``[B, T, H]``, inactive positions being zero."""


def run_block(block: Block, x: Tensor, layout: GridLayout) -> Tensor:
    """Return the block's output for the tokens `x` of the layout."""
    if not isinstance(layout, Packed):
        return block(x, attn_mask=key_mask(layout))
    x = x + block.drop_path1(block.ls1(attend(block.attn, block.norm1(x), layout)[0]))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def run_block_on_grid(
    block: Block, u_BTC: Tensor, layout: GridLayout, want_cls: bool = False, grid_map: GridMap | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the block's output for the layout's tokens of the states ``[B, T, C]``.

    want_cls: return the class attention ``[B, T]`` too, mean over heads, 0 where a token is inactive.
    """
    x, tokens = layout.gather(u_BTC), u_BTC.shape[1]
    if not want_cls and grid_map is None:
        return run_block(block, x, layout), None
    mixed, q_BHND, k_BHND = attend(block.attn, block.norm1(x), layout)
    x = x + block.drop_path1(block.ls1(mixed))
    x = x + block.drop_path2(block.ls2(feed_forward(block.mlp, block.norm2(x), layout, tokens, grid_map)))
    if not want_cls:
        return x, None
    row_BK1 = cls_attention(q_BHND, k_BHND, key_mask(layout)).mean(1)[..., None]
    return x, layout.to_grid(layout.pack(row_BK1), tokens)[..., 0]


def feed_forward(mlp: Mlp, x: Tensor, layout: GridLayout, tokens: int, grid_map: GridMap | None) -> Tensor:
    """Return timm's MLP of the layout's tokens, `grid_map` acting on the hidden layer of all `tokens`."""
    hidden = mlp.fc1(x)
    if grid_map is not None:
        hidden = layout.gather(grid_map(layout.to_grid(hidden, tokens)))
    return mlp.drop2(mlp.fc2(mlp.norm(mlp.drop1(mlp.act(hidden)))))
