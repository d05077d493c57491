"""Deterministic weight / input rule behind the SReT and Evo-ViT parity fixtures.

Nothing here is taken from the official repositories: this file only says which
number goes into which tensor.  With it, any implementation can be filled with
exactly the weights that the fixtures were computed with.

Rule, in words
--------------
* u(tag, shape) = numpy.random.Generator(PCG64(crc32(tag))).standard_normal(shape)
  where crc32 is zlib.crc32 over the UTF-8 bytes of the tag.  float64 draw.
* A parameter/buffer called NAME with shape SHAPE gets, computed in float64 and then
  rounded ONCE to float32 (the float64 fixtures use that float32 value, widened):

    kind          when                                                value (n = u(NAME, SHAPE))
    counter       NAME ends with "num_batches_tracked"                int64 zero
    running_mean  NAME ends with "running_mean"                       0.1 n
    running_var   NAME ends with "running_var"                        1 + 0.1 |n|
    embed         last component is pos_embed / cls_token             0.2 n
    grid_embed    last component is poss (LeViT position tables)      n
    gate          last component is learn_tradeoff                    0.5 n
    lrc           a component starts with "coefficient", shape (1,)   1 + 0.1 n
    matrix        anything else with >= 2 dimensions                  n / sqrt(prod(SHAPE[1:]))
    norm_weight   anything else 1-D whose last component is "weight"  1 + 0.1 n
    bias          anything else 1-D whose last component is "bias"    0.1 n

  NAME is the official CANONICAL name (see below), even if your module calls it otherwise.
* Shared (recursive) modules occur several times in an official state_dict.  Only the first
  name, in registration order, is canonical and seeds the rule; every alias holds the same
  tensor.  The fixture JSON lists each key with "alias_of" (null for canonical keys).
* Input image batch: 0.5 * fine + coarse, rounded to float32, where
  fine = u("input:BxCxHxW", (B, C, H, W)), e.g. tag "input:2x3x224x224", and coarse is
  u("coarse:BxCxhxw", (B, C, h, w)) with h = H // 32, w = W // 32, every value repeated over
  a 32 x 32 pixel square (plain noise alone gives almost equal tokens and samples).
* Labels for the training-mode loss: label[i] = (37 i + 5) mod num_classes.
* Teacher logits (only for distillation losses): 2 * u("teacher:BxK", (B, K)) -> float32.
* SReT token permutation: the k-th permutation drawn in one forward pass (k = 0, 1, ...)
  over N tokens is Generator(PCG64(crc32("perm:k:N"))).permutation(N).  "identity" fixtures
  use arange(N).  Same permutation for every sample of the batch.
"""

import math
import zlib

import numpy as np


def _gen(tag):
    return np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode("utf-8"))))


def u(tag, shape):
    return _gen(tag).standard_normal(tuple(shape))


def kind_of(name, shape):
    parts = name.split(".")
    last = parts[-1]
    if last == "num_batches_tracked":
        return "counter"
    if last in ("running_mean", "running_var"):
        return last
    if last in ("pos_embed", "cls_token"):
        return "embed"
    if last == "poss":
        return "grid_embed"
    if last == "learn_tradeoff":
        return "gate"
    if tuple(shape) == (1,) and any(p.startswith("coefficient") for p in parts):
        return "lrc"
    if len(shape) >= 2:
        return "matrix"
    if last == "weight":
        return "norm_weight"
    if last == "bias":
        return "bias"
    raise ValueError(f"no rule for {name} {tuple(shape)}")


def value(name, shape):
    """float32 (or int64 for counters) array for the canonical parameter/buffer name."""
    kind = kind_of(name, shape)
    if kind == "counter":
        return np.zeros(tuple(shape), dtype=np.int64)
    n = u(name, shape)
    if kind == "running_mean" or kind == "bias":
        v = 0.1 * n
    elif kind == "running_var":
        v = 1.0 + 0.1 * np.abs(n)
    elif kind == "embed":
        v = 0.2 * n
    elif kind == "grid_embed":
        v = n
    elif kind == "gate":
        v = 0.5 * n
    elif kind in ("lrc", "norm_weight"):
        v = 1.0 + 0.1 * n
    else:
        v = n / math.sqrt(math.prod(shape[1:]))
    return v.astype(np.float32)


def crc(array):
    """crc32 of the little-endian C-order bytes; the fixture JSON stores it per key."""
    a = np.ascontiguousarray(array)
    return zlib.crc32(a.astype(a.dtype.newbyteorder("<")).tobytes())


def image(batch, size, channels=3):
    cells = size // 32
    fine = u(f"input:{batch}x{channels}x{size}x{size}", (batch, channels, size, size))
    coarse = u(f"coarse:{batch}x{channels}x{cells}x{cells}", (batch, channels, cells, cells))
    coarse = coarse.repeat(32, axis=2).repeat(32, axis=3)
    return (0.5 * fine + coarse).astype(np.float32)


def labels(batch, num_classes=1000):
    return (37 * np.arange(batch, dtype=np.int64) + 5) % num_classes


def teacher_logits(batch, num_classes=1000):
    return (2.0 * u(f"teacher:{batch}x{num_classes}", (batch, num_classes))).astype(np.float32)


def permutation(k, n):
    return _gen(f"perm:{k}:{n}").permutation(n)
