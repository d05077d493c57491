"""The hooks by which training, profiling, checkpoints and analysis talk to a model (docs/model_interface.md).

`DynamicModel` gives every hook a default; the models of this package inherit it and override what applies to them.
`interface_of(model)` gives the same hooks for any other model, such as timm's own, so that no caller probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

Execution = Literal["gathered", "masked"]


class TokenRecorder(Protocol):
    """Where a model records its active tokens; see ``dynvit.tokens.TokenTrace``."""

    def record(self, active_BN: Tensor, scores_BN: Tensor | None = None) -> None:
        """Append one layer: ``bool[B, N]`` and ``float[B, N]``, patches in raster order of that layer's grid."""


class DynamicModel:
    """Mixin in front of an ``nn.Module`` class."""

    # ---- options

    withheld_options: tuple[str, ...] = ()
    """Options of a base class's constructor that this class does not offer; they stay at their defaults."""

    added_options: tuple[str, ...] = ()
    """Options that older trials do not have: at their defaults they are left out of trials' configs, whose ids stay."""

    # ---- cost

    static_cost: bool = False
    """Whether evaluation costs the same for every image, so that one image is enough to count it."""
    training_only: tuple[str, ...] = ()
    """Prefixes of parameter names that evaluation does not use."""
    execution: Execution = "gathered"
    """How evaluation leaves tokens out; set by `set_execution`."""

    def set_execution(self, execution: Execution) -> None:
        """Select "gathered", which removes inactive tokens, or "masked", which keeps dense shapes: equal results."""
        if execution not in get_args(Execution):
            raise ValueError(f"execution must be gathered or masked, got {execution!r}")
        self.execution = execution

    def fuse(self) -> nn.Module:
        """Return the model for deployment, with normalization folded into its neighbors where that is possible."""
        return self  # type: ignore[return-value]

    # ---- schedules of training

    def set_schedule(self, epochs: int, updates_per_epoch: int) -> None:
        """Receive the length of the training, before its first epoch."""

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Adapt to an epoch of `epochs`, counted from 0; called before each."""

    def set_step(self, step: int) -> None:
        """Adapt to an optimizer step, counted from 0; called before each forward pass in training."""

    def end_step(self) -> None:
        """Adapt to what the forward passes of an optimizer step have seen, in all processes; called after the step."""

    @property
    def at_final_operating_point(self) -> bool:
        """Whether evaluation now costs and selects as it will after training: False while a schedule runs."""
        return True

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]] | None:
        """Return optimizer groups with `lr_scale` and `weight_decay`; None: the usual ones.

        The learning rate of a group with `freeze_epochs` is 0 in the first so many epochs.
        """
        return None

    # ---- teachers and labels

    def set_teacher(self, teacher: nn.Module | None) -> bool:
        """Keep the teacher, to run it in each training forward pass; False: the model does not, the caller has to."""
        return False

    def set_distilled_training(self, enable: bool = True) -> None:
        """Return the logits of both heads in training, for timm models that have two."""
        if hasattr(super(), "set_distilled_training"):
            super().set_distilled_training(enable)

    def set_token_labels(self, patches_BNK: Tensor, image_BK: Tensor | None = None) -> None:
        """Set label probabilities of the next training batch's patches, and of its images."""
        raise ValueError(f"{type(self).__name__} does not train with labels for patches")

    def token_classifier(self) -> nn.Module:
        """Return the layer that maps normalized patch tokens to logits, for a teacher of patches."""
        return self.get_classifier()  # type: ignore[attr-defined,no-any-return]

    # ---- tokens

    records_tokens: bool = True
    """Whether the model records into `trace` by itself."""
    trace: TokenRecorder | None = None
    """Receives the active tokens of each layer of a forward pass; None: nothing is recorded."""
    num_prefix_tokens: int = 0
    """Tokens in front of the patches (class token, registers)."""

    @property
    def img_size(self) -> int | tuple[int, int]:
        """Side of the images in pixels, or height and width."""
        return side_or_sides(self.patch_embed.img_size)  # type: ignore[attr-defined]

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the patches in the first layer; None where they are not known."""
        return getattr(getattr(self, "patch_embed", None), "grid_size", None)

    def embed_tokens(self, images: Tensor) -> Tensor | None:
        """Return the tokens in front of the first block ``[B, T, C]``; None without a class token."""
        return _embed_tokens(self, images)

    def block_input(self, block: int, x_BTC: Tensor) -> Tensor:
        """Return what a block makes of the state ``[B, T, C]`` in front of it."""
        return x_BTC

    def received_attention(self, images: Tensor) -> list[Tensor] | None:
        """Return per layer ``[B, N]`` the attention that each token gets; None: the blocks have to be watched."""
        return None

    # ---- checkpoints and timm's configuration

    def position_grids(self) -> dict[str, tuple[int, int]]:
        """Return the grid of each position table of tokens, by parameter name, to resample checkpoints of others."""
        return {} if self.grid is None else {"pos_embed": self.grid}

    classifier_name: str = "head"
    """Path of the classifier of timm's ``default_cfg``."""
    classifier_names: tuple[str, ...] = ("head",)
    """Modules whose shape depends on the number of classes."""
    first_conv: str | None = None
    """Path of the first convolution, whose shape depends on the image channels."""

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename an official checkpoint to the model's own names; ValueError if there is none."""
        raise ValueError(f"{type(self).__name__} has no official checkpoint format")

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of the timm backbone to the model's own names; ValueError without such a backbone."""
        raise ValueError(f"{type(self).__name__} is not built on a timm backbone")

    @property
    def has_backbone(self) -> bool:
        """Whether `convert_trunk` accepts weights of a timm model."""
        return type(self).convert_trunk is not DynamicModel.convert_trunk

    @property
    def has_intermediates(self) -> bool:
        """Whether the model offers timm's ``forward_intermediates``."""
        return hasattr(self, "forward_intermediates")


def side_or_sides(size: tuple[int, int]) -> int | tuple[int, int]:
    """Return a size as the option `img_size` is usually given: one number where both sides are equal."""
    return size[0] if size[0] == size[1] else size


def _embed_tokens(model: Any, images: Tensor) -> Tensor | None:
    if not isinstance(model, VisionTransformer) or model.cls_token is None:
        return None
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def interface_of(model: nn.Module) -> DynamicModel:
    """Return the hooks of any model: its own, and the defaults where it has none."""
    return model if isinstance(model, DynamicModel) else _Adapter(model)


def _last_linear(model: nn.Module) -> str:
    """Return the path of the classifier of a model that does not say which it is: `head`, or its last linear layer."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return "head" if hasattr(model, "head") or not linear else linear[-1]


def put_to_update(model: nn.Module, epoch: int, step: int, epochs: int, steps: int) -> None:
    """Put a model whose behavior changes during a training to where it is, `step` updates into an epoch of `steps`.

    step 0 is the beginning of the epoch, `steps` its end.
    """
    hooks = interface_of(model)
    hooks.set_schedule(epochs, steps)
    hooks.set_epoch(epoch, epochs)
    if step:
        hooks.set_step(epoch * steps + step - 1)


class _Adapter(DynamicModel):
    """The hooks of a model that does not inherit `DynamicModel`, such as timm's: what it defines itself comes first."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            model = object.__getattribute__(self, "_model")
            if hasattr(model, name):
                return getattr(model, name)
        return object.__getattribute__(self, name)

    @property
    def static_cost(self) -> bool:  # type: ignore[override]
        return type(self._model).__module__.startswith("timm.")

    @property
    def records_tokens(self) -> bool:  # type: ignore[override]
        return hasattr(self._model, "trace")

    @property
    def classifier_names(self) -> tuple[str, ...]:  # type: ignore[override]
        names = (getattr(self._model, "pretrained_cfg", None) or {}).get("classifier") or _last_linear(self._model)
        return (names,) if isinstance(names, str) else tuple(names)

    @property
    def has_backbone(self) -> bool:
        return hasattr(self._model, "convert_trunk")

    @property
    def has_intermediates(self) -> bool:
        return hasattr(self._model, "forward_intermediates")

    def fuse(self) -> nn.Module:
        return self._model

    def embed_tokens(self, images: Tensor) -> Tensor | None:
        return _embed_tokens(self._model, images)

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise ValueError(f"{type(self._model).__name__} has no official checkpoint format")

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise ValueError(f"{type(self._model).__name__} is not built on a timm backbone")
