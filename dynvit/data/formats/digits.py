"""scikit-learn's handwritten digits: 1797 grey images of 8 x 8 pixels in 10 classes, on every machine, offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dynvit.data.in_memory import Decoded
from dynvit.data.sampling import mixed_order

VALIDATION = 360  # 36 per class; 1437 are left for training
LEVELS = 16  # the images have values 0..16


def decode(image_size: int) -> Decoded:
    """All digits, enlarged to `image_size`, in the one fixed split that this project uses."""
    pixels, labels = _read()
    x = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
    x = F.interpolate(x, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=image_size < 8)
    images, targets = (x * 255 / LEVELS).round().to(torch.uint8), torch.from_numpy(labels).long()
    order = torch.from_numpy(mixed_order(labels))
    held, kept = order[:VALIDATION], order[VALIDATION:]
    share = images[kept].float() / 255
    return Decoded(
        images[kept], targets[kept], images[held], targets[held], 10, (float(share.mean()),), (float(share.std()),)
    )


def _read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels ``[1797, 64]`` and labels, from the file in scikit-learn: importing it whole takes a second."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the data set digits comes with scikit-learn: pip install scikit-learn")
    file = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data, digits.target.astype(np.int64)
