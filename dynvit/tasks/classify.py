"""Task `classify`: train one image classifier and measure it.

This file is read without torch to learn the options; everything heavy is imported inside `run`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dynvit.context import Context


def _beside(name: str) -> ModuleType:
    """A file next to this one, by its path: importing it by name would import the package, and so torch."""
    spec = spec_from_file_location(f"{__name__}{name}".replace("/", "_"), Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REVISION = 1
"""Raised when the same config would give other numbers; part of every trial's identity."""

SMOKE: dict[str, Any] = {"train.epochs": 1, "train.warmup_epochs": 0, "data.limit": 512, "data.val_limit": 256}
"""What `--smoke` sets."""


@dataclass(frozen=True)
class Augment:
    """Training only. Images kept in memory are augmented as whole batches on the device, those from files one by one
    by the processes that decode them."""

    shift: int = 0
    """In memory: random translation by up to so many pixels each way, zeros coming in."""
    flip: bool = False
    """Mirror left to right half of the time."""
    scale: Sequence[float] = (0.35, 1.0)
    """From files: share of the image's area that the random crop keeps."""
    auto: str = ""
    """timm's automatic augmentation, such as rand-m9-mstd0.5-inc1; in memory RandAugment (rand-...-inc1) alone."""
    cutout: int = 0
    """In memory: side of a square at a random place that takes the mean colour."""
    erasing: float = 0.0
    """Share of the images in which a box becomes noise (after normalisation)."""
    repeats: int = 1
    """Copies of an image in a batch, each augmented by itself; an epoch stays as long and sees fewer images."""

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise ValueError("shift and cutout are numbers of pixels, not negative")
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise ValueError(f"scale is two shares of the area, the smaller first, not {list(self.scale)}")


_rules, _plans = _beside("_rules"), _beside("_plans")
DECODED: tuple[str, ...] = _rules.DECODED


@dataclass(frozen=True)
class Data:
    """digits comes with scikit-learn, cifar10 and cifar100 with torchvision. From files, each with a train and a val
    (or test) split: folder (a folder per class), tar (timm's: a file per class, or one file with a folder per class),
    wds (WebDataset shards), hfds (a data set of the Hugging Face hub)."""

    name: Literal["digits", "cifar10", "cifar100", "folder", "tar", "wds", "hfds"] = "digits"
    root: str = ""
    """Where the files are; empty: $DYNVIT_DATA/<name>. A relative path that is not here is sought in $DYNVIT_DATA."""
    repository: str = ""
    """hfds: the data set's name on the hub, such as uoft-cs/cifar10; root is then the cache."""
    splits: Sequence[str] = ()
    """Names of those for training and for validation; none: train, and the first there is of val, validation, test."""
    classes: int | None = None
    """So many classes are expected: another number is an error before any training."""
    images: int | None = None
    """So many training images are expected; `studies plan` reckons with them where there are no files to count."""
    image_size: int = 16
    labels: Sequence[int] = ()
    """Only these classes, renumbered in the order given; `classes`, `images` and the limits speak of what is left."""
    limit: int | None = None
    """Train on so many images only, evenly over the classes."""
    val_limit: int | None = None
    max_corrupt: int = 0
    """So many images may be unreadable: they are left out, counted and named; one more is an error."""
    in_memory: Literal["auto", "always", "never"] = "auto"
    """Sets of files: decode once and keep on the device; auto does so up to 64 pixels and 2 GB."""
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        files = self.name not in DECODED
        if self.name == "hfds" and not self.repository:
            raise ValueError("hfds needs repository: the data set's name on the Hugging Face hub")
        if self.repository and self.name != "hfds":
            raise ValueError(f"repository is for hfds, not for {self.name}")
        if len(self.splits) not in (0, 2):
            raise ValueError("splits names two: that for training and that for validation")
        if wrong := _rules.odd_labels(self.labels):
            raise ValueError(wrong)
        for key in ("limit", "val_limit", "classes", "images"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} must be at least 1, got {value}")
        if self.max_corrupt < 0:
            raise ValueError(f"max_corrupt must not be negative, got {self.max_corrupt}")
        if self.augment.auto and not files and not {"rand", "inc1"} <= set(self.augment.auto.split("-")):
            raise ValueError(f"augment.auto of images in memory is rand-...-inc1, not {self.augment.auto}")
        if files and (self.in_memory == "never" or (self.in_memory == "auto" and self.image_size > 64)):
            for key in ("shift", "cutout"):
                if getattr(self.augment, key):
                    raise ValueError(f"augment.{key} is for images kept in memory; these come from files")


@dataclass(frozen=True)
class Mix:
    """Mixup and CutMix as timm has them: an image and its label mixed with those of its mirror place in the batch."""

    mixup: float = 0.0
    cutmix: float = 0.0
    """alpha of either; 0: none."""
    prob: float = 1.0
    switch: float = 0.5
    """Chances of mixing at all, and of CutMix where both are on."""
    mode: Literal["batch", "pair", "elem"] = "batch"
    """What has a draw of its own."""
    off_epoch: int | None = None
    """From this epoch on, counted from 0, images stay as they are."""


@dataclass(frozen=True)
class Train:
    """How the model is trained. The defaults bring a 64-wide, 6-layer ViT to 97 % on digits in 15 CPU seconds."""

    epochs: int = 15
    batch_size: int = 32
    lr: float = 2e-3
    lr_batch: int = 0
    """The batch size that lr is meant for; 0: the one that is used."""
    lr_scaling: Literal["none", "linear"] = "none"
    """linear: lr times batch_size / lr_batch."""
    min_lr: float = 1e-5
    warmup_lr: float = 1e-5
    warmup_epochs: int = 2
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adamw", "adam", "sgd", "lamb", "lion"] = "adamw"
    weight_decay: float = 0.05
    betas: Sequence[float] = (0.9, 0.999)
    """Of the Adam family."""
    momentum: float = 0.9
    """Of sgd."""
    clip_grad: float | None = None
    """Largest gradient norm; adaptive: a unit's largest, as a share of the norm of its weights."""
    clip_mode: Literal["norm", "adaptive"] = "norm"
    layer_decay: float | None = None
    """Learning rate of a layer over that of the next one."""
    mix: Mix = field(default_factory=Mix)
    label_smoothing: float = 0.0
    drop_path: float = 0.0
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.9999; 0: none is kept. evaluation.weights measures it."""
    ema_warmup: bool = False
    """A decay that grows from 0, for short trainings."""
    accumulate: int = 1
    """Parts in which a batch is computed, one after another: less memory, the same update."""
    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it. float16 comes with a loss scale."""
    channels_last: bool = False
    compile: bool = False
    """torch.compile of the training pass."""
    deterministic: bool = True


GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that the task sets itself, from data and recipe."""


@dataclass(frozen=True)
class Teacher:
    """Distillation: the model's own loss with the teacher's logits; a plain model learns its soft labels (SReT).

    kind, weight and temperature are for models without a distillation loss of their own.
    """

    model: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata={"kind": "model", "given": GIVEN})
    """A timm model name and its options; no name: no teacher."""
    checkpoint: str = ""
    """Its weights: safetensors or a weights-only pickle."""
    pretrained: bool = False
    """Its weights: timm's, from the hub."""
    epochs: int = 0
    """Train it first for so many epochs, on the same data with the same recipe."""
    kind: Literal["soft", "hard"] = "soft"
    """Its probabilities, or its first choice as a label."""
    weight: float = 1.0
    """Of its loss; the rest is the labels'."""
    temperature: float = 1.0
    """Of soft labels. The loss is not multiplied by its square."""
    tokens: bool = False
    """Its tokens teach as well: DynamicViT's surviving patches, LV-ViT's patch labels; of the same trunk and grid."""


@dataclass(frozen=True)
class Source:
    """Transfer: the model is first trained on other data, with the same recipe, in the same trial; then its classifier
    is made anew and it goes on with `data`."""

    epochs: int = 0
    """So many on the source; 0: none, the model begins as `init` says."""
    data: Data = field(default_factory=Data)
    """What it is trained on first: nothing of it is taken over from the trial's own `data`."""


@dataclass(frozen=True)
class Evaluation:
    """How the model is measured."""

    weights: Literal["trained", "ema"] = "trained"
    """ema: the moving average is validated, measured and kept in best.safetensors and last.safetensors."""
    batch_size: int = 256
    traced_images: int = 256
    """Validation images whose active tokens are followed after each epoch; 0 for none."""
    counted_images: int = 16
    """Validation images over which a dynamic model's multiply-accumulates are averaged."""
    timed_batch_size: int = 64
    timed_batches: int = 20


@dataclass(frozen=True)
class Config:
    """One trial. model: a timm model name and that model's options."""

    model: dict[str, Any] = field(
        default_factory=lambda: {"name": "vit_tiny_patch16_224"},
        metadata={"kind": "model", "given": GIVEN},
    )
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    teacher: Teacher = field(default_factory=Teacher)
    evaluation: Evaluation = field(default_factory=Evaluation)
    source: Source = field(default_factory=Source)
    keep_checkpoint: bool = False
    """Leave the final checkpoint, last.safetensors and best.safetensors: timm.create_model(checkpoint_path=...)."""
    init: str = ""
    """Weights to begin with: `timm` (the model's or its trunk's, from the hub), a file of the model or of its trunk,
    `official FILE` by the authors' names, a trial's folder. Known by its path."""
    recipe: str = field(default="", metadata={"kind": "recipe"})
    """A preset, dynvit/recipes/NAME.yaml: its settings stand below everything else that is said."""

    def __post_init__(self) -> None:
        if wrong := "; ".join(_rules.refusals(self)):
            raise ValueError(wrong)


def smoke(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `--smoke` sets besides, in a config that has it all the same."""
    few = {"source.epochs": 1, "source.data.limit": 512, "source.data.val_limit": 256}
    return few if config["source"]["epochs"] else {}


work, weigh, inspect = _plans.work, _plans.weigh, _plans.inspect


def cautions(config: Config) -> list[str]:
    """What is allowed and yet likely a mistake, here and now; `studies plan` and `run` say it, and a trial's log."""
    return [*_rules.cautions(config), *_plans.missing(config, _beside("../data/paths"))]


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train, evaluate after every epoch, measure at the end. Raises ``Stopped`` after saving when asked to stop."""
    if config.source.epochs:
        from dynvit.train.transfer import run as transfer

        return transfer(config, context)
    from dynvit.train.training import Training

    return Training(config, context).run()
