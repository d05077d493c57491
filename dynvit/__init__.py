"""Efficient vision transformers, registered with timm: ``import dynvit; timm.create_model("sret_tiny")``."""

from dynvit import fast_import as fast_import  # isort: skip # before anything else imports timm
from dynvit import models as models  # registers every model with timm
from dynvit.checkpoint.load import LoadReport, load_official, load_trunk
from dynvit.macs import Complexity, complexity
from dynvit.models.tome.model import tome
from dynvit.output import Output, training_loss
from dynvit.plugins.reducers import register_reducer
from dynvit.plugins.register import register_dataset, register_loss, register_metric
from dynvit.reducers import list_reducers, reduce
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Reducer
from dynvit.registry import list_models, register
from dynvit.tokens import TokenTrace, trace_tokens
from dynvit.train.trained_model import load_trial

__all__ = [
    "Complexity",
    "Keeping",
    "LoadReport",
    "Output",
    "Reducer",
    "TokenTrace",
    "complexity",
    "list_models",
    "list_reducers",
    "load_official",
    "load_trial",
    "load_trunk",
    "reduce",
    "register",
    "register_dataset",
    "register_loss",
    "register_metric",
    "register_reducer",
    "tome",
    "trace_tokens",
    "training_loss",
]
