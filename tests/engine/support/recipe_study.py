"""A study with an arm for every recipe: small models, ten classes of a few images at 64 px, two epochs.

``python recipe_study.py STUDY RESULTS`` runs it as a machine that keeps failing would: each trial is begun by a process
that is killed at a random update, then taken up again from its last checkpoint.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

TRUNK = "embed_dim: 24, depth: 6, num_heads: 2"
TAUGHT = "{model: {name: test_resnet}, pretrained: false, epochs: 1}"
STUDY = f"""
study: recipes
title: Every recipe for two epochs
task: classify
seeds: [0]
base:
  data: {{name: folder, root: {{root}}, image_size: 64, in_memory: never}}
  train: {{epochs: 2, batch_size: 8, lr_batch: 8, warmup_epochs: 1}} # so lr is the recipe's, and weights move
  evaluation: {{batch_size: 10, traced_images: 10, counted_images: 1, timed_batch_size: 2, timed_batches: 1}}
axes:
  arm:
    baseline: deit
    values:
      deit:
        {{recipe: deit, model: {{name: deit_tiny_patch16_224, {TRUNK}}},
         train.ema_warmup: true, evaluation.weights: ema, keep_checkpoint: true}}
      evo_vit:
        {{recipe: evo_vit, model: {{name: evo_deit_tiny_patch16_224, {TRUNK}, prune_from: 2, switch_epoch: 1}},
         train.layer_decay: 0.8}}
      levit:
        recipe: levit
        model: {{name: levit_128s, embed_dim: [32, 48, 64], key_dim: 8, num_heads: [2, 3, 4], depth: [1, 1, 1]}}
        teacher: {TAUGHT}
      evo_levit:
        recipe: evo_levit
        model:
          {{name: evo_levit_128s, embed_dim: [32, 48, 64], num_heads: [2, 3, 4], depth: [2, 3, 3],
           stem_strides: [2, 2, 2, 1], switch_epoch: 1}}
        teacher: {TAUGHT}
      sret:
        {{recipe: sret, model: {{name: sret_tiny, base_dim: 4, unique: [1, 2, 1]}}, teacher: {TAUGHT},
         train.channels_last: true}}
      dynamic_vit:
        recipe: dynamic_vit
        model: {{name: dynamicvit_deit_tiny_patch16_224, {TRUNK}, locations: [1, 2, 4], freeze_epochs: 1}}
        init: {{trunk}}
        teacher: {{model: {{name: deit_tiny_patch16_224, {TRUNK}}}, pretrained: false, checkpoint: {{trunk}}}}
      evit:
        recipe: evit
        model: {{name: evit_deit_tiny_patch16_224, {TRUNK}, locations: [1, 2, 4], shrink_start: 0, shrink_epochs: 2}}
        train.amp: bfloat16
      a_vit:
        {{recipe: a_vit, model: {{name: avit_deit_tiny_patch16_224, {TRUNK}, gate_center: 3}}, init: {{trunk}},
         train.accumulate: 2}}
      edge_recvit:
        {{recipe: edge_recvit, model: {{name: edge_recvit_tiny_patch16_224, {TRUNK}, recursion: 4}}, init: {{trunk}}}}
      mor_vit_cifar:
        {{recipe: mor_vit_cifar, model: {{name: mor_vit_tiny_patch16_224, {TRUNK}, recursion: 4}}, init: {{trunk}}}}
      tpc_vit:
        {{recipe: tpc_vit, model: {{name: tpc_deit_tiny_patch16_224, {TRUNK}, keep_rate: 0.7}}, init: {{trunk}},
         train.amp: float16}}
      lv_vit: {{recipe: lv_vit, model: {{name: lvvit_small, stem_width: 8, embed_dim: 32, depth: 4, num_heads: 2}}}}
metrics: {{top1: {{from: best, direction: max, unit: "%"}}, gflops: {{direction: min}}}}
resources: {{gpus: 0, cpus: 1, retries: 0}}
"""
CLASSES, IMAGES, PIXELS = 10, 4, 64
BOUNDARIES = 2 * (CLASSES * IMAGES // 8 + 1)
"""Of a trial: after every update and every epoch."""


def write(place: Path) -> Path:
    """Images, the trunk's weights and the study; its file."""
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    rng = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 1)):
        for label in range(CLASSES):
            folder = place / "images" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (PIXELS, PIXELS, 3), dtype=np.uint8)
                pixels[..., label % 3] += 12 * label
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    torch.manual_seed(0)
    trunk = timm.create_model("deit_tiny_patch16_224", img_size=PIXELS, embed_dim=24, depth=6, num_heads=2,
                              num_classes=CLASSES)  # fmt: skip
    save_file(trunk.state_dict(), place / "trunk.safetensors")
    study = place / "recipes.yaml"
    text = STUDY.replace("{root}", str(place / "images"))
    study.write_text(text.replace("{trunk}", str(place / "trunk.safetensors")))
    return study


def hunted(study: Path, results: Path) -> None:
    """Every trial dies once, then is taken up again by the next attempt."""
    import torch

    import dynvit  # noqa: F401  before the fork: each child would import it anew
    from studies.engine.core.stop import StopRequest
    from studies.engine.planning.plan import make_plan
    from studies.engine.runtime import worker
    from studies.engine.storage.results_dir import Store
    from studies.engine.study import parser

    torch.set_num_threads(1)
    store, chance = Store(results), random.Random(7)
    for trial in make_plan(parser.load(study), store).trials:
        folder, last = store.trial(trial.folder_id), chance.randrange(2, BOUNDARIES + 1)
        folder.create(trial.spec())
        if (child := os.fork()) == 0:
            _dying(last)
            worker.run_attempt(folder, StopRequest())
            os._exit(0)  # not reached: the trial is longer
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9, trial.arm.label
        folder.set_state(replace(folder.state(), status="queued"))
        worker.run_attempt(folder, StopRequest())
        log = (folder.attempt_folder(1) / "log.txt").read_text()
        assert "resumed in epoch" in log, f"{trial.arm.label}: {log}"


def _dying(last: int) -> None:
    """Killed at the `last` boundary of the training; every second boundary leaves a checkpoint."""
    from studies.engine.runtime.context import TrialContext

    seen = 0

    def due(self: TrialContext) -> bool:
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), 9)
        return seen % 2 == 1

    TrialContext.checkpoint_due = due  # type: ignore[method-assign]


if __name__ == "__main__":
    hunted(Path(sys.argv[1]), Path(sys.argv[2]))
