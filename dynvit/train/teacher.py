"""The teacher of a distilled training: a frozen model whose logits replace or complement the labels."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from dynvit.checkpoint.hub import hub_or_cache, random_tensors
from dynvit.checkpoint.load import check_numbers
from dynvit.checkpoint.read import InitError, read_state_dict, weights_file
from dynvit.checkpoint.report import first
from dynvit.config import teacher as config
from dynvit.data.batches import Batches, fitting
from dynvit.interface import interface_of, put_to_update
from dynvit.models.build import build_reduced, is_own
from dynvit.rng import seed_globally
from dynvit.train.trained_model import reducer_of


class TeacherError(ValueError):
    """A teacher without weights, with weights of another model, or without tokens."""


def _build(options: config.Teacher, data: Batches) -> nn.Module:
    name = options.model["name"]
    from_hub = options.pretrained and not options.checkpoint
    model = {**options.model, "pretrained": True} if from_hub else options.model
    given = fitting("teacher.model", model, data)
    reducer = reducer_of(weights_file(Path(options.checkpoint), "teacher.checkpoint")) if options.checkpoint else {}
    make = partial(build_reduced, model, reducer, **given)
    try:
        with hub_or_cache() if from_hub else nullcontext():
            teacher = make()
            odd = random_tensors(make) if from_hub and is_own(name) else []
    except Exception as error:  # many types, of constructors, of timm and of the hub's client
        advice = ""
        if from_hub:
            advice = f". Without a network give teacher.checkpoint a file with the weights of {name}, saved elsewhere"
        raise TeacherError(f"teacher.model {name}: {type(error).__name__}: {error}{advice}") from error
    if from_hub and not options.epochs:
        _check_pretrained(name, teacher, odd, data.classes)
    return teacher


def _check_pretrained(name: str, teacher: nn.Module, odd: list[str], classes: int) -> None:
    """Raise TeacherError for a classifier, or more, that no weights were loaded into. odd: random tensors."""
    known = (getattr(teacher, "pretrained_cfg", None) or {}).get("num_classes")
    if not odd and known in (None, classes):
        return
    what = f"are random in {first(odd)}" if odd else f"are of {known} classes and the data has {classes}"
    raise TeacherError(
        f"teacher.pretrained: the weights of {name} {what}: it would teach at random; set teacher.epochs (to train it "
        "first), or give teacher.checkpoint a file with weights for this data"
    )


class Teacher:
    """A model in eval mode without gradients; its weights: a file's, timm's, or those of a training before."""

    def __init__(self, options: config.Teacher, data: Batches, seed: int, device: str) -> None:
        if not (options.checkpoint or options.pretrained or options.epochs):
            raise TeacherError(
                f"teacher {options.model['name']} has no weights: set teacher.checkpoint, teacher.pretrained or "
                "teacher.epochs (to train it first)"
            )
        self.options, self.seed = options, seed
        seed_globally(seed, "teacher")
        self.model = _build(options, data).to(device)
        if options.checkpoint:
            file = Path(options.checkpoint)
            own = self.model.state_dict()
            state = read_state_dict(file, "teacher.checkpoint", known=own)
            try:
                check_numbers(state, own)
                self.model.load_state_dict(state)
            except (InitError, RuntimeError) as error:
                message = f"{file} does not fit the teacher {type(self.model).__name__}: {error}"
                raise TeacherError(message) from error
        self.trained = not options.epochs
        self.provides_logits = True
        self._freeze()

    def _freeze(self) -> None:
        self.model.eval().requires_grad_(False)

    def attach_to(self, student: nn.Module) -> None:
        """Hand the model to a student that uses its tokens in its own forward pass (DynamicViT)."""
        if self.options.tokens and interface_of(student).set_teacher(self.model):
            self.provides_logits = False

    def logits(self, x_BCSS: Tensor) -> Tensor | None:
        """Return ``[B, K]``, or ``[B, N, K]``, one per patch, with `teacher.tokens`; None if attached."""
        if not self.provides_logits:
            return None
        with torch.no_grad():
            if self.options.tokens:
                return self._patch_logits(x_BCSS)
            output: Tensor = self.model(x_BCSS)
        return output

    def _patch_logits(self, x_BCSS: Tensor) -> Tensor:
        features_BTC = self.model.forward_features(x_BCSS)
        if features_BTC.ndim != 3:
            raise TeacherError(f"teacher.tokens: {type(self.model).__name__} has no tokens")
        hooks = interface_of(self.model)
        logits_BNK: Tensor = hooks.token_classifier()(features_BTC[:, hooks.num_prefix_tokens :])
        return logits_BNK

    def keep_weights(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of its training, or of a checkpoint of the student."""
        self.model.load_state_dict(weights)
        self.trained = True
        self._freeze()

    def finish_schedule(self, steps: int) -> None:
        """Put a model whose behavior changes to the end of its training of so many updates per epoch, if it had one."""
        if epochs := self.options.epochs:
            put_to_update(self.model, epochs - 1, steps, epochs, steps)

    def state_dict(self) -> dict[str, Tensor]:
        """Return its weights for the student's checkpoint, so that it is not trained again."""
        return dict(self.model.state_dict())
