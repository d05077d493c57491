"""Efficient vision transformers, registered with timm: ``import dynvit; timm.create_model("sret_tiny")``."""

from dynvit import models as models  # registers every model with timm
from dynvit.checkpoint.load import LoadReport, load_official, load_trunk
from dynvit.macs import Complexity, complexity
from dynvit.models.tome.model import tome
from dynvit.output import Output, training_loss
from dynvit.reducers import list_reducers, reduce
from dynvit.registry import list_models
from dynvit.tokens import TokenTrace, trace_tokens
from dynvit.train.trained_model import load_trial

__all__ = [
    "Complexity",
    "LoadReport",
    "Output",
    "TokenTrace",
    "complexity",
    "list_models",
    "list_reducers",
    "load_official",
    "load_trial",
    "load_trunk",
    "reduce",
    "tome",
    "trace_tokens",
    "training_loss",
]
