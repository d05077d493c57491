"""Weights for our models: official checkpoints, backbones, files, timm's hub and trained trials.

Position tables and windows' bias tables of another grid are resampled; a classifier of other classes is left out. The
log reports what was and was not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from dynvit.checkpoint.hub import hub_or_cache, random_tensors
from dynvit.checkpoint.pos_embed import resample_tables
from dynvit.checkpoint.read import InitError, read_state_dict
from dynvit.checkpoint.report import LoadReport, first, first_and_more, other_depth, raise_problems, shapes
from dynvit.context import permanent_errors
from dynvit.interface import interface_of
from dynvit.trunks import trunk_of

Naming = Literal["auto", "own", "trunk", "official"]
"""Whose parameter names: the model's (strict), its timm backbone's, the authors'; auto: the model's or the backbone's,
resampled to the model's grid."""


@dataclass(frozen=True)
class InitSpec:
    """Where initial weights come from; an empty source means the model's own initialization."""

    source: str = ""
    """A file, a trial's folder, or ``timm``: the hub."""
    naming: Naming = "auto"
    key: str = "init"
    """The option that it comes from, for messages."""
    prefer_ema: bool = False
    """Use the averaged weights of a file that has both."""

    @classmethod
    def parse(cls, init: str) -> InitSpec:
        """Parse the option `init`: ``timm``, ``FILE``, ``FOLDER`` or ``official FILE``."""
        if init.startswith("official "):
            return cls(init.removeprefix("official ").strip(), "official")
        return cls(init)


@permanent_errors()
def load_initial_weights(
    model: nn.Module, spec: InitSpec, name: str, log_text: Callable[[str], None], trained: bool = True
) -> None:
    """Load what `spec` describes into the model and log a report. Raises ValueError if it does not fit.

    name: the model's name in timm. trained: whether training follows; without it, weights that were not there are said.
    """
    if not spec.source:
        return
    source = spec.source
    if source == "timm" and spec.naming == "auto":
        state, source = _from_hub(name)
    else:
        state = read_state_dict(Path(source), spec.key, spec.prefer_ema, model.state_dict())
    report = load_state(model, state, spec.naming)
    log_text(f"{spec.key} {source}: {report}")
    if layers := first(report.unmatched_layers()) or other_depth(state, model):
        log_text(f"warning: {spec.key} {source} has another number of layers than the model: {layers}")
    elif len(report.kept) > len(report.loaded):
        fresh = f"{len(report.kept)} of the model's {len(report.kept) + len(report.loaded)} tensors are not in it"
        log_text(f"warning: {spec.key} {source} is of another kind of model: {fresh} and start at initialisation")
    if report.kept and not trained:
        log_text(f"warning: train.epochs is 0: evaluated as initialised: {first_and_more(report.kept)}")


def load_state(model: nn.Module, state: Mapping[str, Tensor], naming: Naming) -> LoadReport:
    """Load tensors by whosever names they have. Raises ValueError if they do not fit."""
    if naming == "trunk":
        return load_trunk(model, state)
    if naming == "auto":
        return load_matching(model, state)
    (load_official if naming == "official" else load_strict)(model, state)
    return LoadReport(tuple(model.state_dict()), (), ())


def load_matching(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Load by the model's own names or by those of its backbone, whichever covers more of the model."""
    own, state = model.state_dict(), resample_tables(state, model)
    matching = [name for name in state if name in own]
    if len(matching) < len(own) and interface_of(model).has_backbone:
        return load_trunk(model, _without_other_classes(state, model))
    return _copy_matching(model, state, "init")


def transfer_weights(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Load from the same model trained on other data: everything except the classifiers."""
    heads = classifier_prefixes(model)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(heads)}
    return _copy_matching(model, resample_tables(kept, model), "source")


def classifier_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of its classifiers' parameter names; a distilled model has two classifiers."""
    names = interface_of(model).classifier_names
    return tuple(f"{name}." for name, _ in model.named_modules() if name in names)


def load_official(model: nn.Module, state_dict: Mapping[str, Any]) -> nn.Module:
    """Load a state dict with the official repository's key names, also wrapped in ``{"model": ...}``.

    Works at the dtype the model has. Raises ValueError listing missing, unexpected and mis-shaped keys.
    The mapping of names is the model's ``convert_official(state_dict) -> state_dict`` method.
    """
    load_strict(model, interface_of(model).convert_official(_unwrap(state_dict)))
    return model


def load_trunk(model: nn.Module, state_dict: Mapping[str, Any]) -> LoadReport:
    """Initialize a method from its timm backbone's state dict; what the method adds keeps its initialization.

    The mapping of names is the model's ``convert_trunk(state_dict) -> state_dict`` method. A classifier of
    another class count is left out and reported; any other mis-shaped tensor raises ValueError, as does a state dict
    of which nothing fits.
    """
    given, hooks = _unwrap(state_dict), interface_of(model)
    try:
        source = hooks.convert_trunk(given)
    except AttributeError as error:  # Swin's tables are looked up by the layers' names
        raise ValueError(f"backbone weights of another size: it has layers that the model lacks: {error}") from error
    except (RuntimeError, KeyError) as error:  # a table or a layer of another shape than any backbone has
        raise ValueError(f"weights of another kind than {type(model).__name__}'s backbone: {error}") from error
    own = model.state_dict()
    heads = hooks.classifier_names
    usable, wrong, unused = {}, [], []
    for name, tensor in source.items():
        if name not in own:
            unused.append(name)
        elif own[name].shape != tensor.shape:
            (unused if name.split(".")[0] in heads else wrong).append(name)
        else:
            usable[name] = tensor
    if wrong:
        raise ValueError(f"backbone weights of another size: {shapes(wrong, source, own)}")
    _check_more_than_classifier(usable, given, model, "", " or its backbone")
    _copy(model, usable)
    return LoadReport(tuple(usable), tuple(n for n in own if n not in usable), tuple(unused))


def load_strict(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy tensors by name. Raises ValueError listing every missing, unexpected and mis-shaped key."""
    own = model.state_dict()
    both = [n for n in own if n in state_dict and state_dict[n].shape != own[n].shape]
    problems = {
        "missing": [n for n in own if n not in state_dict],
        "unexpected": [n for n in state_dict if n not in own],
        "wrong shape": [f"{n} {tuple(state_dict[n].shape)}, ours {tuple(own[n].shape)}" for n in both],
    }
    raise_problems(type(model).__name__, problems)
    _copy(model, state_dict)


def _from_hub(name: str) -> tuple[dict[str, Tensor], str]:
    """Return the published weights of a timm model, or of the backbone that a method is built on, and the name."""
    trunk = trunk_of({"name": name})
    source = str(trunk["name"]) if trunk else name
    make = partial(timm.create_model, source, pretrained=True)
    try:
        with hub_or_cache():
            state = make().state_dict()
            own = timm.is_model(source) and timm.model_entrypoint(source).__module__.split(".")[0] != "timm"
            odd = random_tensors(make) if own else []
    except Exception as error:  # many types, of timm and of the hub's client
        raise InitError(
            f"init: timm: no weights of {source} ({type(error).__name__}: {error}). Without a network give a file: "
            f"init: FILE, saved elsewhere from timm.create_model('{source}', pretrained=True).state_dict()"
        ) from error
    if odd:
        text = "is no model of timm's, and with pretrained=True its weights are random"
        raise InitError(f"init: timm: {source} {text}: {first(odd)}")
    return state, source


def _copy_matching(model: nn.Module, state: Mapping[str, Tensor], key: str) -> LoadReport:
    """Copy what the model has. Raises InitError for a tensor of another shape that is not a classifier's."""
    own, heads = model.state_dict(), classifier_prefixes(model)
    usable = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    wrong = [name for name in state if name in own and name not in usable and not name.startswith(heads)]
    if wrong:
        raise InitError(f"{key}: weights of another size: {shapes(wrong, state, own)}")
    _check_more_than_classifier(usable, state, model, f"{key}: ")
    _copy(model, usable)
    unused = tuple(name for name in state if name not in usable)
    return LoadReport(tuple(usable), tuple(name for name in own if name not in usable), unused)


def _check_more_than_classifier(
    usable: Collection[str], given: Collection[str], model: nn.Module, prefix: str, backbone: str = ""
) -> None:
    """Raise InitError if nothing but a classifier is loaded: the training would start from scratch."""
    heads = classifier_prefixes(model)
    body = [name for name in model.state_dict() if not name.startswith(heads)]
    if usable if not body else any(name in usable for name in body):
        return
    others, but = [name for name in given if name not in usable], " but the classifier's" if usable else ""
    raise InitError(
        f"{prefix}not one of {len(given)} tensors{but} is known to {type(model).__name__}{backbone}: "
        f"{first(others)}; it has {first(body)}"
    )


def _without_other_classes(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drop a backbone's classifiers over other classes, wherever a method would put them."""
    classes, heads = int(getattr(model, "num_classes", 0)), ("head", "head_dist", "aux_head", "fc")
    other = {n.split(".")[0] for n, t in state.items() if t.ndim > 1 and len(t) != classes}.intersection(heads)
    return {n: t for n, t in state.items() if n.split(".")[0] not in other}


def _unwrap(state_dict: Mapping[str, Any]) -> Mapping[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(state_dict.get(key), Mapping):
            return state_dict[key]  # type: ignore[no-any-return]
    return state_dict


def check_numbers(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise InitError for integers and complex numbers where a model has others: copied, they would be other values."""
    odd = [n for n, t in state.items() if n in own and own[n].is_floating_point() and not t.is_floating_point()]
    if odd:
        raise InitError(f"{len(odd)} tensors are not of floating point ({state[odd[0]].dtype}): {first(odd)}")


@torch.no_grad()
def _copy(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    own = model.state_dict()  # shares storage with the model, so copy_ keeps its dtype and device
    check_numbers(state_dict, own)
    for name, tensor in state_dict.items():
        own[name].copy_(tensor)
