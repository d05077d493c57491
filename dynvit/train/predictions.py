"""The model's prediction for every validation image, in the set's order, for McNemar's test."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from dynvit.data.batches import Batches
from dynvit.macs import evaluating
from dynvit.train.evaluate import autocast, predicted

FILE = "predictions.npz"


@torch.no_grad()
def predictions(model: nn.Module, data: Batches, amp: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Return the class that is predicted for each image and the right one, ``int64[N]`` both."""
    found, targets = [], []
    with evaluating(model):
        for x_BCSS, target_B in data.validation():
            with autocast(x_BCSS.device.type, amp):
                found.append(predicted(model(x_BCSS)).cpu())
            targets.append(target_B.cpu())
    return torch.cat(found), torch.cat(targets)


def packed(prediction_N: Tensor, target_N: Tensor, classes: int) -> bytes:
    """Return an npz of `prediction` and `target`, in the smallest unsigned type; equal predictions give equal bytes."""
    out, kind = io.BytesIO(), np.min_scalar_type(classes - 1)
    np.savez_compressed(out, prediction=prediction_N.numpy().astype(kind), target=target_N.numpy().astype(kind))
    return out.getvalue()
