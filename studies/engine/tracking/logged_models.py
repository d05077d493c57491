"""The logged models of an MLflow experiment: the weights that trials have kept, linked to their runs."""

from __future__ import annotations

from typing import Any

from studies.engine.tracking.weights import Weights

TYPE = "dynvit"


class LoggedModels:
    def __init__(self, client: Any, entities: Any, experiment: str) -> None:
        """client, entities: MLflow's. experiment: its id."""
        self._client, self._entities, self._experiment = client, entities, experiment

    def put(self, run: Any, weights: Weights) -> str:
        """Return the id of the run's model of these weights; one of other weights is deleted."""
        id, same = str(run.info.run_id), None
        for model in self._client.search_logged_models([self._experiment], f"source_run_id = '{id}'"):
            if model.tags.get("sha256") == weights.tags["sha256"]:
                same = model
            else:
                self._client.delete_logged_model(model.model_id)
        if same is None:
            same = self._client.create_logged_model(
                self._experiment, weights.name, id, weights.tags, weights.params, TYPE
            )
        elif dict(same.tags) != weights.tags:  # the results folder was moved
            self._client.set_logged_model_tags(same.model_id, weights.tags)
        self._complete(same, id, weights)
        return str(same.model_id)

    def _complete(self, model: Any, run: str, weights: Weights) -> None:
        """Link it to its run and copy a small file; what was interrupted is done again."""
        if model.model_id not in _outputs(self._client.get_run(run)):
            self._client.log_outputs(run, [self._entities.LoggedModelOutput(model.model_id, 0)])
        if str(model.status) != "READY":
            if weights.is_small:
                self._client.log_model_artifact(model.model_id, weights.file)
            self._client.finalize_logged_model(model.model_id, "READY")

    def delete(self, run: Any) -> None:
        """Delete the models of a run."""
        for model in _outputs(run):
            self._client.delete_logged_model(model)


def _outputs(run: Any) -> list[str]:
    return [str(output.model_id) for output in run.outputs.model_outputs] if run.outputs else []
