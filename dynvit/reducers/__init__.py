"""Methods of token reduction, one a file: ``dynvit.reduce(model, method="pitome", ratio=0.9)``."""

from dynvit.reducers import atc as atc
from dynvit.reducers import ats as ats
from dynvit.reducers import controls as controls
from dynvit.reducers import diffrate as diffrate
from dynvit.reducers import dpcknn as dpcknn
from dynvit.reducers import evit as evit
from dynvit.reducers import kmedoids as kmedoids
from dynvit.reducers import mctf as mctf
from dynvit.reducers import patchmerger as patchmerger
from dynvit.reducers import pitome as pitome
from dynvit.reducers import sinkhorn as sinkhorn
from dynvit.reducers import sit as sit
from dynvit.reducers import tofu as tofu
from dynvit.reducers import tome as tome
from dynvit.reducers import topk as topk
from dynvit.reducers import tps as tps
from dynvit.reduction.reduce import reduce
from dynvit.reduction.reducer import list_reducers

__all__ = ["list_reducers", "reduce"]
