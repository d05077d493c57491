"""scikit-learn's handwritten digits: 1797 gray images of 8 x 8 pixels in 10 classes, on every machine, offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dynvit.data.in_memory import DecodedSet
from dynvit.data.sampling import stratified_order

VALIDATION = 360  # 36 per class; 1437 are left for training
LEVELS = 16  # the images have values 0..16


def decode(image_size: int) -> DecodedSet:
    """Decode all digits, enlarged to `image_size`, in one fixed split."""
    pixels, labels = _read()
    x = torch.from_numpy(pixels).float().view(-1, 1, 8, 8)
    x = F.interpolate(x, size=(image_size, image_size), mode="bilinear", align_corners=False, antialias=image_size < 8)
    images, targets = (x * 255 / LEVELS).round().to(torch.uint8), torch.from_numpy(labels).long()
    order = torch.from_numpy(stratified_order(labels))
    validation, training = order[:VALIDATION], order[VALIDATION:]
    kept_pixels = images[training].float() / 255
    return DecodedSet(
        images[training],
        targets[training],
        images[validation],
        targets[validation],
        10,
        (float(kept_pixels.mean()),),
        (float(kept_pixels.std()),),
    )


def _read() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return pixels ``[1797, 64]`` and labels, from the file in scikit-learn, whose import takes a second."""
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
