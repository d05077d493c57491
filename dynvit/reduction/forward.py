"""Reducing: the forward pass of a transformer whose blocks reduce their tokens by a method of `dynvit.reducers`.

A block that reduces nothing runs as it is.
"""

from __future__ import annotations

from typing import Any

from timm.models import checkpoint
from torch import Tensor

from dynvit.interface import DynamicModel
from dynvit.layers.intermediates import TokenIntermediates, check_no_mask
from dynvit.layers.score_predictor import Noise, gumbel
from dynvit.reduction.block_kinds import parts_of
from dynvit.reduction.block_parts import PreNormParts, Where
from dynvit.reduction.counts import falling
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.source_map import SourceMap
from dynvit.reduction.stream import Stream, key_bias


class Reducing(TokenIntermediates, DynamicModel):
    """Mixin before a transformer's class; `set_reducer` gives it its method. What depends on the transformer is in
    the subclasses of dynvit.reduction.transformers."""

    reducer: Reducer
    depth: int
    """Blocks when the reducer was set: it goes on to reduce at the same ones when `prune_intermediate_layers` drops
    the last."""
    noise: Noise = staticmethod(gumbel)
    """Of training, for methods that draw."""
    sources: SourceMap | None
    """Of the last forward pass under `trace_tokens`: which token each patch went to, and sizes."""

    def set_reducer(self, reducer: Reducer) -> None:
        self.trace, self.execution, self.sources = None, "gathered", None
        self.reducer, self.depth = reducer, len(self.blocks)  # type: ignore[attr-defined]
        self.check_reducer()
        self.plan(self.patch_embed.num_patches)  # type: ignore[attr-defined]
        for name, module in reducer.modules(self, self.patch_embed.num_patches).items():  # type: ignore[attr-defined,arg-type]
            weight = next(self.parameters())  # type: ignore[attr-defined]
            self.add_module(name, module.to(weight.device, weight.dtype).train(self.training))  # type: ignore[attr-defined]

    def check_reducer(self) -> None:
        """ValueError where the method cannot work on this transformer."""
        method, model = self.reducer.name, type(self).__name__.removeprefix("Reduced")
        if self.reducer.needs_class_token and (self.cls_token is None or not self.tokens_in_front()):  # type: ignore[attr-defined]
            raise ValueError(f"{method} ranks tokens by the class token's attention, which the blocks of {model} lack")
        if self.reducer.makes_tokens and self.knows_positions():
            raise ValueError(f"{method} makes tokens of many, without a position, which the attention of {model} needs")
        if self.reducer.attends_itself and not self.parts(0).plain_softmax:
            raise ValueError(f"{method} needs attention that is a softmax times values; the heads of {model} talk")

    @property
    def static_cost(self) -> bool:  # type: ignore[override]
        return self.reducer.static

    def plan(self, patches: int) -> tuple[int | None, ...]:
        """Patch tokens left after each block, of an image of so many patches; None: the block reduces nothing."""
        plan = self.reducer.plan(patches, self.tokens_in_front(), self.depth)
        return falling(plan, patches, self.reducer.added)

    def convert_official(self, state_dict: Any) -> dict[str, Tensor]:
        return dict(state_dict)  # the official models keep timm's names

    def convert_trunk(self, state_dict: Any) -> dict[str, Tensor]:
        return dict(state_dict)

    # ---- what depends on the transformer

    def enter(self, images: Tensor) -> Stream:
        """Tokens in front of the first block ``[B, P + N, D]``, and what attention knows of their positions."""
        raise NotImplementedError

    def knows_positions(self) -> bool:
        """Whether attention does, so that every token must have one."""
        return False

    def positions(self, stream: Stream, block: int) -> Where:
        """What the attention of this block knows of positions."""
        home = stream.home_BN
        return Where(stream.positional, None if home is None or home.ndim == 1 else home, self.tokens_in_front())

    def pools_by_size(self) -> bool:
        """Whether the head weighs tokens by the patches that they represent."""
        raise NotImplementedError

    def head_of(self, x_BND: Tensor, size_BN: Tensor | None, pre_logits: bool = False) -> Any:
        """What the head makes of tokens of these sizes; None: 1 each."""
        raise NotImplementedError

    def finish(self, stream: Stream) -> Tensor:
        """What `forward_features` returns."""
        return self.norm(stream.x_BND)  # type: ignore[attr-defined,no-any-return]

    # ---- forward

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Any:
        check_no_mask(self, attn_mask, is_causal)
        if self.training:  # type: ignore[attr-defined]
            output = self.reducer.train_forward(self, x)
            if output is not None:
                return output
        stream = self.reduce_through(x)
        return self.head_of(self.finish(stream), stream.weights())

    def forward_features(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Normalized tokens: prefix tokens first, then what is left, in no raster order.

        Where pooling over tokens counts how many patches each represents, these numbers are the tensor's attribute
        ``size_BN``, for `forward_head`.
        """
        check_no_mask(self, attn_mask, is_causal)
        return self._features(x)

    def _features(self, images: Tensor, states: list[Tensor] | None = None) -> Tensor:
        stream = self.reduce_through(images, states)
        x_BND = self.finish(stream)
        if self.pools_by_size():
            x_BND.size_BN = stream.weights()  # type: ignore[attr-defined]
        return x_BND

    def reduce_through(self, images: Tensor, states: list[Tensor] | None = None) -> Stream:
        """The tokens before the final norm; states as in `TokenIntermediates`."""
        stream, prefix = self.enter(images), self.tokens_in_front()
        x_BND = stream.x_BND
        watched = self.trace is not None or states is not None
        sources = SourceMap(x_BND, prefix) if watched else None
        grid = self.patch_embed.dynamic_feat_size(tuple(images.shape[-2:]))  # type: ignore[attr-defined]
        places = Places.of(x_BND, prefix, grid, self.plan(x_BND.shape[1] - prefix), self)
        for i, kept in enumerate(places.plan[: len(self.blocks)]):  # type: ignore[attr-defined]
            before = sources.present() if sources is not None and self.reducer.place != "before" else None
            stream, grouping = self._run(i, stream, kept, places)
            if sources is not None:
                self._watch(sources, before, grouping, stream)
            if states is not None and sources is not None:
                states.append(sources.spread(stream.x_BND, states[-1] if states else x_BND))
        if self.trace is not None:
            self.sources = sources
        return stream.filled(prefix)

    def _watch(self, sources: SourceMap, before_BN: Tensor | None, grouping: Grouping | None, stream: Stream) -> None:
        """Record the tokens that the attention of a block saw, and what decided about them."""
        score_BM = None if grouping is None else grouping.score_BN
        score_BN = None if score_BM is None else sources.raster(score_BM)
        sources.grouped(grouping, stream.size_BN, stream.alive_BN)
        if self.trace is not None:
            self.trace.record(sources.present() if before_BN is None else before_BN, score_BN)

    def _run(self, i: int, stream: Stream, kept: int | None, places: Places) -> tuple[Stream, Grouping | None]:
        if self.grad_checkpointing and self.training:  # type: ignore[attr-defined]
            return checkpoint(self._block, i, stream, kept, places)  # type: ignore[no-any-return]
        return self._block(i, stream, kept, places)

    def _block(self, i: int, stream: Stream, kept: int | None, places: Places) -> tuple[Stream, Grouping | None]:
        reducer, block, grouping = self.reducer, self.blocks[i], None  # type: ignore[attr-defined]
        if kept is not None and reducer.place == "own":
            return reducer.run_block(self, i, stream, kept, places)
        if kept is not None and reducer.place == "before":
            stream, grouping = self._reduce(i, stream, None, kept, places)
        parts = self.parts(i)
        bias, where = self.attention_bias(stream), self.positions(stream, i)
        between, carries = kept is not None and reducer.place == "between", reducer.carries(i, places)
        if not between and not carries:
            return stream._replace(x_BND=parts.whole(block, stream.x_BND, bias, where)), grouping
        x_BND, signals = parts.attention(block, stream.x_BND, bias, where)
        stream = stream._replace(x_BND=x_BND, carry=reducer.carry(signals, places) if carries else None)
        if between:
            stream, grouping = self._reduce(i, stream, signals, kept, places)
        return stream._replace(x_BND=parts.add_mlp(block, stream.x_BND)), grouping

    def _reduce(self, i: int, stream: Stream, signals: Any, kept: Any, places: Places) -> tuple[Stream, Grouping]:
        grouping = self.reducer.group(stream, signals, kept, i, places)
        return self.reducer.combine(stream, grouping, i, places).moved(grouping), grouping

    def parts(self, i: int) -> PreNormParts:
        parts = parts_of(self.blocks[i])  # type: ignore[attr-defined]
        assert parts is not None, "checked when the reducer was set"
        return parts

    def attention_bias(self, stream: Stream) -> Tensor | None:
        """What the method adds to the logits of each key."""
        return key_bias(self.reducer.key_bias(stream), stream.alive_BN, stream.x_BND.dtype)
