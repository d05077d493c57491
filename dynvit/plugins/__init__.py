"""Own code: `load` imports files and modules that register models, data sets, losses, metrics and token reducers."""

from dynvit.plugins.load import load, origins
from dynvit.plugins.modules import PluginError

__all__ = ["PluginError", "load", "origins"]
