"""Answers about resolved configs, by the code that will run them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import torch

from dynvit.checkpoint.load import load_state
from dynvit.checkpoint.read import TRIAL_FILES
from dynvit.config.data import BUILT_IN, KNOWN_SETS
from dynvit.config.extensions import DATA_SETS, VERSION
from dynvit.config.model import named_weights
from dynvit.config.workload import DEFAULT_CLASSES
from dynvit.data import paths
from dynvit.data.factory import FINDERS
from dynvit.describe import own_code
from dynvit.describe.json_schema import plain
from dynvit.describe.labels import unlearned
from dynvit.describe.own_model import is_own, is_own_reducer, own_fault
from dynvit.describe.skip_init import SkipInit
from dynvit.describe.tasks import build_config, model_keys, task_module
from dynvit.models.build import build_model, check_reduced


def check(task: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return what a task says of a config.

    refusal: why its rules refuse the config, a reason a line, or None; then nothing else is asked.
    models: by config key, why a model cannot be built or its reducer not be applied. starts: by config key, why weights
    do not fit that a trial takes from another; ``config["starts"]`` has the other's task and config.
    cautions: what is allowed and likely a mistake, of models that can be built. folders: what they depend on besides
    the config. inputs: by config key, the folder of a data set or the file of weights that is there. missing: which
    files are not there without which no trial runs.
    work: what a training amounts to. smoke: what `--smoke` sets in such a config.
    """
    module = task_module(task)
    built, refusals = build_config(module.Config, config)
    if refusals:
        return {"refusal": "\n".join(refusals)}
    if refused := own_code.refusal(built, module.work(config) if hasattr(module, "work") else None):
        reason = " ".join(refused["refusal"].splitlines())  # one reason, however an own error is broken into lines
        return {**refused, "refusal": reason + _stand_in(reason, config)}
    answer: dict[str, Any] = {"refusal": None}
    faults: dict[str, str] = {}
    for key, arguments in _models(module, config):
        if (key != "reducer" or "model" not in faults) and (text := _build_error(arguments, VERSION.number)):
            faults[key] = text + _stand_in(text, config)
    if faults:
        answer["models"] = faults
    elif starts := {
        key: text
        for key, first in config.get("starts", {}).items()
        if (text := _start_error(_start(module, config, key, **first), VERSION.number))
    }:
        answer["starts"] = starts
    cautions = [*module.cautions(built)] if not faults and hasattr(module, "cautions") else []
    refused, caution = ("", "") if faults else unlearned(built, _model_inputs(module, config))
    if refused:
        return {"refusal": refused}
    remarked = own_code.cautions(built)
    if all_remarks := [*cautions, *filter(None, [caution]), *remarked]:
        answer["cautions"] = all_remarks
    if hasattr(module, "missing") and (missing := module.missing(built)):
        answer["missing"] = missing
    if folders := own_code.NOT_KEPT if remarked else _folders(built):
        answer["folders"] = folders
    if inputs := dict(_inputs(built)):
        answer["inputs"] = inputs
    for question in ("work", "smoke"):
        if hasattr(module, question):
            answer[question] = plain(getattr(module, question)(config))
    return answer


def inspect_data(task: str, config: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what the task finds in the data set of a config: (fine, note or attention; what; what to do)."""
    module = task_module(task)
    built, refusals = build_config(module.Config, config)
    if refusals:
        raise ValueError("\n".join(refusals))
    return [tuple(finding) for finding in module.inspect(built)]


def weigh(task: str, options: dict[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """Return what a training step of a model takes."""
    return dict(task_module(task).weigh(options, size, channels, classes))


# ---- models


def _models(module: ModuleType, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the config key of each model that a trial builds, and as JSON the arguments it is built with; then its
    reducer's, if it has one."""
    inputs, reducer = _model_inputs(module, config), config.get("reducer", {})
    for key in model_keys(module.Config):
        options: Any = config
        for step in key.split("."):
            options = options.get(step, {})
        if options.get("name"):
            given = {k: v for k, v in inputs.items() if key == "model" or k != "drop_path_rate"}
            yield key, json.dumps([options, given, {}], sort_keys=True)
    if reducer.get("name"):
        yield "reducer", json.dumps([config["model"], inputs, reducer], sort_keys=True)


def _model_inputs(module: ModuleType, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the task sets itself: from its data, or as its config has them."""
    if hasattr(module, "work"):
        work = module.work(config)
        given = {"num_classes": work["classes"], "in_chans": work["channels"], "img_size": work["size"]}
        drop_path = config["train"]["drop_path"]
        return {**given, **({"drop_path_rate": drop_path} if drop_path else {})}
    names = {"num_classes": "num_classes", "in_chans": "in_chans", "img_size": "image_size"}
    return {name: config[key] for name, key in names.items() if config.get(key) is not None}


def _stand_in(text: str, config: Mapping[str, Any]) -> str:
    """Return what to add to a sentence that names the number of classes where that is only tried: the data's own is
    not known before a trial reads it."""
    data = config.get("data")
    if not data or str(DEFAULT_CLASSES) not in text:
        return ""
    known: Any = KNOWN_SETS.get(data["name"]) or DATA_SETS.get(data["name"])
    if data["classes"] or data["labels"] or (known and known.classes):
        return ""
    return f" ({DEFAULT_CLASSES} classes are a trial value, as the data is not read yet; data.classes gives the number)"


@cache
def _build_error(arguments: str, version: int) -> str:
    """Return why a model cannot be built, in the constructor's words; empty where it can, or where that is not known.
    version: of own code, whose models and reducers are run, too.

    Built on the meta device, which takes neither memory nor time for weights. What fails there is built on the CPU
    before it is refused; a constructor that reads values of its weights cannot be tried.
    """
    for device in ("meta", "cpu"):
        options, given, reducer = json.loads(arguments)
        if is_own_reducer(reducer.get("name")) or (is_own(options.get("name")) and not reducer):
            return own_fault(options, given, reducer)
        try:
            with torch.device(device), SkipInit():
                check_reduced(options, reducer, **given)
        except Exception as error:
            if device == "meta" and "meta" not in str(error).lower():
                continue
            return "" if device == "meta" else str(error) or type(error).__name__
        return ""
    raise AssertionError("unreachable")


def _start(module: ModuleType, ours: Mapping[str, Any], key: str, task: str, config: Mapping[str, Any]) -> str:
    """Return as JSON both models' arguments and whose names the weights have."""
    models = [(c["model"], _model_inputs(m, c)) for m, c in ((module, ours), (task_module(task), config))]
    return json.dumps([*models, ours["start"]["naming"] if key == "start.weights" else "auto"], sort_keys=True)


@cache
def _start_error(arguments: str, version: int) -> str:
    """Return why one model's weights do not fit the other, in the words of the trial; empty where they do."""
    text = ""
    for device in ("meta", "cpu"):  # what fails on the first may be for want of values
        *models, naming = json.loads(arguments)
        try:
            with torch.device(device), SkipInit():
                model, first = (build_model(options, **given) for options, given in models)
            load_state(model, first.state_dict(), naming)
        except Exception as error:
            text = str(error) or type(error).__name__
        else:
            return ""
    return text


# ---- data


def _data_sets(config: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(config, "data"):
        yield "data", config.data
    if getattr(getattr(config, "source", None), "epochs", 0):
        yield "source.data", config.source.data


def _is_on_disk(data: Any) -> bool:
    return data.name in FINDERS or (data.name not in BUILT_IN and bool(data.root))


def _inputs(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the config key and the path of every data set in files and of every file of weights that is there."""
    for key, data in _data_sets(config):
        if _is_on_disk(data) and (root := next(filter(os.path.exists, paths.places(data)), None)):
            yield key, str(root.resolve())
    for key, path in named_weights(config):
        whole = os.path.expanduser(path)
        files = [whole, *(os.path.join(whole, name) for name in TRIAL_FILES)]
        if file := next(filter(os.path.isfile, files), ""):
            yield key, os.path.abspath(file)


def _folders(config: Any) -> dict[str, Any]:
    """Return the places of data sets and weights in files, when each was changed, and what they hang on."""
    data = [data for _, data in _data_sets(config) if _is_on_disk(data)]
    sought = [os.path.join(place.absolute(), "") for d in data for place in paths.places(d)]  # folders only
    for weights in (os.path.expanduser(path) for _, path in named_weights(config)):
        sought += [weights, *(os.path.join(weights, name) for name in ("", *TRIAL_FILES))]
    places = {place: _last_change(place) for place in sought}
    environ = {name: os.environ.get(name) for name in (paths.VARIABLE, "XDG_CACHE_HOME")}
    return {"cwd": os.getcwd(), "environ": environ, "places": places} if places else {}


def _last_change(path: str) -> int | None:
    """Return when a folder got or lost an entry, or a file was written, in ns; None where there is nothing."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
