"""A training whose model is observed at the end; without epochs, a finished model that is only evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm.models import load_state_dict

from dynvit.analysis.analyse import observe
from dynvit.analysis.token_maps import FILE, packed, token_maps
from dynvit.checkpoint.load import load_official, load_trunk, strict_load
from dynvit.train.evaluate import can_trace, evaluate
from dynvit.train.training import Training

if TYPE_CHECKING:
    from dynvit.tasks.redundancy import Config


class Observed(Training):
    """`classify`'s training, from given weights if there are some, with `observe` and token maps behind it."""

    config: Config

    def _build(self) -> None:
        super()._build()
        start = self.config.start
        if not start.weights:
            return
        if not Path(start.weights).is_file():
            raise FileNotFoundError(f"start.weights: no file {start.weights}")
        state = load_state_dict(start.weights, device="cpu", weights_only=True)
        if start.naming == "trunk":
            self.context.say(str(load_trunk(self.model, state)))
        elif start.naming == "official":
            load_official(self.model, state)
        else:
            strict_load(self.model, state)

    def _result(self) -> dict[str, Any]:
        if not self.progress.best:  # nothing was trained
            found = evaluate(self.model, self.data, self.config.evaluation.traced_images, self.amp)
            self.progress.best = self.progress.last = {**found.scores(), "epoch": 0.0}
            if found.depth is not None:
                self.progress.extra = {"mean_depth": found.depth, "active_share": found.active_share()}
        result = super()._result()
        result["metrics"] |= self._look()
        return result

    def _look(self) -> dict[str, float]:
        """The metrics; matrices go to the events of the last epoch, maps to a file in the trial's folder."""
        look, data = self.config.look, self.data
        batches = data.sample(look.images).split(self.config.evaluation.batch_size)
        kinds = list(look.scores)
        found = observe(self.measured, batches, kinds, look.share)
        if not found.movements and "norm" not in kinds:
            kinds = ["norm"]
            self.context.say(f"the model has no token scores of kind {', '.join(look.scores)}: norm is measured")
            found = observe(self.measured, batches, kinds, look.share)
        self.context.log(self.progress.epoch, found.matrices(), steps=self.config.train.epochs)
        if look.maps and can_trace(self.model):
            maps = token_maps(self.measured, data.sample(look.maps), kinds, look.map_pixels)
            self.context.keep(FILE, packed(maps))
        return found.metrics()
