"""Own code as a user would write it, for tests: a model that timm alone knows, a data set, loss, metric, reducer."""

from pathlib import Path

MODEL = '''
"""Models of a test."""
import torch
from timm.models import register_model
from torch import nn


class MyNet(nn.Module):
    """Two layers.

    width: channels in between.
    """

    def __init__(self, width: int = 32, kind: str = "plain", num_classes: int = 1000, in_chans: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, width, 4, 4)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(torch.relu(self.stem(x)).mean((2, 3)))


@register_model
def mynet_tiny(pretrained=False, **kwargs):
    """The small one."""
    return MyNet(kind="small", **kwargs)
'''

DATA = '''
import dynvit, numpy as np


@dynvit.register_dataset("leaves")
def leaves(count: int = 40, bright: float = 1.0, side: int = 12):
    """Squares of two colors.

    count: of each split. bright: of the second class.
    """
    def split(offset):
        labels = np.arange(count) % 2
        noise = np.random.RandomState(offset).randint(0, 60, (count, side, side, 3))
        return (noise + labels[:, None, None, None] * int(120 * bright)).astype(np.uint8), labels
    return split(0), split(1), ["dark", "bright"]
'''

LOSS = '''
import dynvit
import torch.nn.functional as F


@dynvit.register_loss("poly1")
def poly1(logits, target, epsilon: float = 1.0, mode: str = "mean"):
    """Cross entropy with a term of first order.

    epsilon: weight of that term.
    """
    each = F.cross_entropy(logits, target, reduction="none")
    return (each + epsilon * (1 - (-each).exp())).mean()
'''

METRIC = '''
import dynvit, torch


@dynvit.register_metric("balanced_accuracy", unit="%")
def balanced_accuracy(logits, targets):
    """Mean over the classes of their accuracy."""
    hit = (logits.argmax(1) == targets).float()
    return 100 * torch.stack([hit[targets == k].mean() for k in targets.unique()]).mean()
'''

REDUCER = '''
import dynvit


@dynvit.register_reducer("norms")
def norms(tokens, power: float = 2.0):
    """Keeps the longest tokens.

    power: of the length.
    """
    return tokens.norm(dim=-1) ** power
'''

ALL = {"my_models.py": MODEL, "my_data.py": DATA, "my_loss.py": LOSS, "my_metric.py": METRIC, "my_reducer.py": REDUCER}


def write(folder: Path, **files: str) -> list[str]:
    """Write files, ``name=source``, and return their paths; without any, one of each kind."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, source in (files or {name.removesuffix(".py"): text for name, text in ALL.items()}).items():
        (folder / f"{name}.py").write_text(source)
    return [str(folder / f"{name}.py") for name in files or [name.removesuffix(".py") for name in ALL]]
