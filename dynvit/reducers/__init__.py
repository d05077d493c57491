"""Methods of token reduction, one a file: ``dynvit.reduce(model, method="pitome", ratio=0.9)``."""

from dynvit.reducers import controls as controls
from dynvit.reducers import mctf as mctf
from dynvit.reducers import pitome as pitome
from dynvit.reducers import tofu as tofu
from dynvit.reducers import tome as tome
from dynvit.reducers import topk as topk
from dynvit.reduction.reduce import reduce
from dynvit.reduction.reducer import list_reducers

__all__ = ["list_reducers", "reduce"]
