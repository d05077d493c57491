"""Task `redundancy`: how token importance changes from layer to layer, in a model trained here or loaded.

Trains as `classify` does, or with ``train.epochs: 0`` and `start.weights` only evaluates; then
analyses the model with ``dynvit.analysis``.
"""

from __future__ import annotations

from typing import Any

from dynvit.analysis.analyse import analyse
from dynvit.analysis.layer_pairs import PAIRS, SAME_LAYER
from dynvit.analysis.token_maps import FILE, pack, token_maps
from dynvit.checkpoint.load import InitSpec, load_initial_weights
from dynvit.config.redundancy import Config, Look, Start
from dynvit.context import Context
from dynvit.data.batches import Batches
from dynvit.tasks import classify
from dynvit.tasks.classify import cautions, inspect, missing, smoke, weigh, work
from dynvit.train.evaluate import can_trace
from dynvit.train.loop import fit
from dynvit.train.result import measure
from dynvit.train.session import training_session
from dynvit.train.state import Clock, TrainState, build, build_state
from dynvit.train.warnings import log_warnings

REVISION: int = classify.REVISION + 0
"""classify's, whose numbers these are, plus our own: increased when the same config would give other numbers."""

SMOKE: dict[str, Any] = {**classify.SMOKE, "look.images": 64, "look.maps": 2}
"""What `--smoke` sets."""

KINDS = ("attention", "own", "norm")
SUMMARIES = (*PAIRS, *SAME_LAYER, "returned_ever", "returned_by_chance")
METRICS: dict[str, tuple[str, ...]] = {
    **classify.METRICS,
    "result": (*classify.METRICS["result"], "restarted", *(f"{name}_{kind}" for name in SUMMARIES for kind in KINDS)),
    "events": (*classify.METRICS["events"], *(f"{name}.{kind}.layer*" for name in PAIRS for kind in KINDS)),
}
"""What a trial has, by place; see `classify`."""
HEADLINE = classify.HEADLINE
"""The metrics of a study that names none."""


def run(config: Config, context: Context) -> dict[str, Any]:
    """Return `classify`'s metrics and those of the analysis; the matrices are events of the last epoch."""
    clock, start = Clock(), InitSpec(config.start.weights, config.start.naming, "start.weights", prefer_ema=True)
    with training_session(config.train, context) as group:
        model, data = build(config, context)
        for spec in (InitSpec.parse(config.init), start):
            load_initial_weights(model, spec, config.model["name"], context.log_text, config.train.epochs > 0)
        state = build_state(model, data, config, context, group, clock)
        log_warnings(config, data, context)
        fit(state, data, config, context, group)
        result = measure(state, data, config, context, group)
        if group.rank == 0:
            result["metrics"] |= analyse_model(state, data, config, context)
        return result


def analyse_model(state: TrainState, data: Batches, config: Config, context: Context) -> dict[str, float]:
    """Return the metrics of the analysis; log its matrices with the last epoch, and save token maps to a file."""
    look, model = config.look, state.eval_model
    batches = data.sample(look.images).split(config.evaluation.batch_size)
    kinds = list(look.scores)
    found = analyse(model, batches, kinds, look.share)
    if not found.layer_pairs and "norm" not in kinds:
        kinds = ["norm"]
        context.log_text(f"the model has no token scores of kind {', '.join(look.scores)}: norm is measured")
        found = analyse(model, batches, kinds, look.share)
    context.log(state.progress.epoch, found.matrices(), steps=config.train.epochs)
    if look.maps and can_trace(state.model):
        context.save_artifact(FILE, pack(token_maps(model, data.sample(look.maps), kinds, look.map_pixels)))
    return found.metrics()


__all__ = [
    "HEADLINE", "METRICS", "REVISION", "SMOKE", "Config", "Look", "Start", "cautions", "inspect", "missing", "run",
    "smoke", "weigh", "work",
]  # fmt: skip
