"""A small model with auxiliary losses and chance in it, and a context that can stop, for tests of `classify`."""

import dataclasses
import shutil
from fnmatch import fnmatchcase

import timm
import torch
from torch import nn

from dynvit import Output
from dynvit.context import NullContext
from dynvit.tasks.classify import Augment, Config, Data, Evaluation, Train
from dynvit.train.distributed import ProcessGroup
from dynvit.train.loop import fit
from dynvit.train.state import Clock, build, build_state

MODEL = "small_dynamic_for_tests"


class SmallDynamic(nn.Module):
    """Two layers over patch tokens; the second keeps the brighter half. Training draws from torch's global stream.

    unread: the loss leaves the guide out.
    """

    def __init__(
        self, img_size=8, in_chans=1, num_classes=10, embed_dim=16, drop_path_rate=0.1, poison=-1, unread=False
    ):
        super().__init__()
        self.unread = unread
        self.embed = nn.Conv2d(in_chans, embed_dim, 2, 2)
        self.place = nn.Parameter(torch.randn((img_size // 2) ** 2, embed_dim))
        self.layers = nn.ModuleList([nn.Linear(embed_dim, embed_dim) for _ in range(2)])
        self.guide, self.head = nn.Linear(embed_dim, 1), nn.Linear(self.place.numel(), num_classes)
        self.training_only = ("guide",)
        self.trace, self.rate, self.poison = None, drop_path_rate, poison
        self.epochs_seen, self.execution = [], "masked"
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def set_execution(self, mode):
        self.execution = mode

    def set_epoch(self, epoch, epochs):
        self.epochs_seen.append((epoch, epochs))

    def forward(self, x):
        x = torch.relu(self.layers[0](self.embed(x).flatten(2).mT + self.place))
        score = x.mean(2)
        keep = score >= score.median(1, keepdim=True).values
        if self.trace is not None:
            self.trace.record(torch.ones_like(keep))
            self.trace.record(keep, score)
        x = x + self.layers[1](x) * keep[..., None]
        if not self.training:
            return self.head(x.flatten(1))
        self.steps += 1
        x = nn.functional.dropout(x, self.rate, training=True)
        guide = self.guide(x).square().mean()
        if self.unread:
            return Output(self.head(x.flatten(1)), extra={"guide": guide})
        bad = torch.full_like(guide, float("nan" if self.steps == self.poison else 0))
        return Output(self.head(x.flatten(1)), {"guide": guide, "other": guide.exp() + bad}, weights={"guide": 0.1})


def register():
    def create(pretrained=False, **options):
        for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            options.pop(key, None)
        return SmallDynamic(**options)

    create.__name__ = MODEL
    create.__module__ = __name__
    timm.models._registry._model_entrypoints[MODEL] = create


def config(model=None, data=None, **train):
    """Three epochs of ten updates, seconds at most."""
    return Config(
        model={"name": MODEL, **(model or {})},
        data=Data(**{"image_size": 8, "limit": 320, "val_limit": 100, "augment": Augment(shift=1), **(data or {})}),
        train=Train(**{"epochs": 3, "batch_size": 32, "warmup_epochs": 1, "lr": 1e-2, **train}),
        evaluation=Evaluation(batch_size=64, timed_batches=3, timed_batch_size=16, counted_images=2),
    )


def prepared(options, context):
    """The state before the first epoch, and the data."""
    model, data = build(options, context)
    return build_state(model, data, options, context, ProcessGroup(context), Clock()), data


def fitted(options, context):
    """The state after the last epoch."""
    state, data = prepared(options, context)
    fit(state, data, options, context, ProcessGroup(context))
    return state


class Folder(NullContext):
    """Keeps a checkpoint in a folder; asks to stop, saves or crashes at given boundaries (counted from 1)."""

    def __init__(self, folder, seed=0, stop_at=None, save_at=(), crash_at=None):
        super().__init__(seed, folder=folder)
        self.stop_at, self.save_at, self.crash_at, self.boundary = stop_at, save_at, crash_at, 0
        self.logged, self.saved = [], 0

    @property
    def should_stop(self):
        self.boundary += 1
        if self.boundary == self.crash_at:
            raise KeyboardInterrupt
        return self.boundary == self.stop_at

    @should_stop.setter
    def should_stop(self, value):
        pass

    def checkpoint_due(self):
        return self.boundary in self.save_at

    def save(self, write):
        temporary = self.folder / "new.pt"
        write(temporary)
        shutil.move(temporary, self.folder / "last.pt")
        self.saved += 1

    def load(self):
        file = self.folder / "last.pt"
        return file if file.exists() else None

    def log_text(self, text):
        self.logged.append(text)


def numbers(result, *contexts):
    """What must be equal bit for bit: all but clocks and memory."""
    metrics = {k: v for k, v in result["metrics"].items() if k != "images_per_second"}
    curves = {}
    for context in contexts:
        for step, values in context.history:
            curves.setdefault(step, {k: v for k, v in values.items() if "images_per_second" not in k})
    return metrics, curves


def replaced(config, part, **changes):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})


def undeclared(metrics, result, *contexts):
    """The names that a trial has and its task's METRICS lacks, by place."""
    found = {
        "result": {name for name, value in result["metrics"].items() if not isinstance(value, dict)},
        "events": {name for context in contexts for _, values in context.history for name in values},
        **{place: set(result["metrics"].get(place, ())) for place in ("best", "last")},
    }
    return {
        (place, name)
        for place, names in found.items()
        for name in names
        if not any(fnmatchcase(name, pattern) for pattern in metrics.get(place, ()))
    }
