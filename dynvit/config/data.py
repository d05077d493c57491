"""Options of an image set and of its augmentation, and the facts about the sets that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from dynvit.config.auto_augment import in_memory_error, policy_parts
from dynvit.config.extensions import DATA_SETS
from dynvit.config.model import ADDED_FIELD, FURTHER_DATA
from dynvit.config.option_checks import did_you_mean


class KnownSet(NamedTuple):
    """Numbers of training and validation images, channels and classes."""

    train: int
    val: int
    channels: int
    classes: int


KNOWN_SETS = {
    "digits": KnownSet(1437, 360, 1, 10),
    "cifar10": KnownSet(50_000, 10_000, 3, 10),
    "cifar100": KnownSet(50_000, 10_000, 3, 100),
}
"""Sets that always are kept in memory."""
IN_FOLDERS = ("folder", "tar", "wds")
"""Sets that are read from files below `root`."""
BUILT_IN = (*KNOWN_SETS, *IN_FOLDERS, "hfds")


def data_set_names() -> list[str]:
    """Return the names of all data sets and file formats: ours, then those of own code."""
    return [*BUILT_IN, *sorted(DATA_SETS)]


def channels_of(name: str) -> int:
    """Return the channels of a set's images; those from files are converted to RGB."""
    if name in KNOWN_SETS:
        return KNOWN_SETS[name].channels
    return DATA_SETS[name].channels if name in DATA_SETS else 3


@dataclass(frozen=True)
class Augment:
    """Training only. Images kept in memory are augmented as whole batches on the device, those from files one by one
    in the processes that decode them."""

    shift: int = 0
    """In memory: largest random translation in pixels, with zero padding."""
    flip: bool = False
    """Mirror left to right half of the time."""
    scale: Sequence[float] = (0.35, 1.0)
    """From files that are not kept in memory: share of the image's area that the random crop keeps."""
    auto: str = ""
    """timm's automatic augmentation, such as rand-m9-mstd0.5-inc1; in memory RandAugment (rand-...-inc1) alone."""
    cutout: int = 0
    """In memory: side of a square at a random place that becomes the mean color."""
    erasing: float = 0.0
    """Share of the images in which a box becomes noise (after normalization)."""
    repeats: int = 1
    """Copies of an image in a batch, each augmented by itself; an epoch stays as long and sees fewer images."""

    def __post_init__(self) -> None:
        if self.shift < 0 or self.cutout < 0:
            raise ValueError("shift and cutout are numbers of pixels, not negative")
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise ValueError(f"scale is two shares of the area, the smaller first, not {list(self.scale)}")
        if self.auto:
            policy_parts(self.auto)


@dataclass(frozen=True)
class Data:
    """digits comes with scikit-learn, cifar10 and cifar100 with torchvision. From files, each with a train and a val
    (or test) split: folder (a folder per class), tar (timm's: a file per class, or one file with a folder per class),
    wds (WebDataset shards), hfds (a data set of the Hugging Face hub). Or a name of `dynvit.register_dataset`, with
    the function's own options beside those below."""

    name: str = field(default="digits", metadata={"choices": data_set_names})
    """The image set or file format."""
    root: str = ""
    """Where the files are; empty: $DYNVIT_DATA/<name>. A relative path is also looked up in $DYNVIT_DATA."""
    repository: str = ""
    """hfds: the data set's name on the hub, such as uoft-cs/cifar10; root is then the cache."""
    splits: Sequence[str] = ()
    """Names of the training and validation splits; none: train, and the first of val, validation, test that exists, or
    words of the same meaning (training, valid, eval). In names of shards they are whole words."""
    classes: int | None = None
    """Expected number of classes; another number is an error before any training."""
    images: int | None = None
    """Expected number of training images; `studies plan` uses it where there are no files to count."""
    image_size: int = 16
    """Side of the images in pixels."""
    labels: Sequence[int] = ()
    """Only these classes, renumbered in the order given; `classes`, `images` and the limits count what is left."""
    limit: int | None = None
    """Largest number of training images, evenly over the classes; None: all."""
    val_limit: int | None = None
    """Largest number of validation images, evenly over the classes; None: all."""
    choose: int = field(default=0, metadata=ADDED_FIELD)
    """Training images, evenly over the classes and always the same, that are not trained on: the best epoch is chosen
    on them, and not on the validation images that are reported. 0: none."""
    shuffle_labels: bool = field(default=False, metadata=ADDED_FIELD)
    """A control: the labels of the training images are permuted, by the trial's seed."""
    normalize: Sequence[Sequence[float]] | Literal["imagenet", "model"] = field(
        default="imagenet", metadata=ADDED_FIELD
    )
    """Mean and deviation of each channel, of values in 0..1, to which images from files are normalized: ImageNet's;
    those that timm's weights of the trial's model expect; or two lists of three numbers."""
    max_corrupt: int = 0
    """Largest number of unreadable images, which are skipped, counted and named; one more is an error. A tar file that
    is cut short or damaged counts as one, whatever is lost with it; one without any readable member is an error."""
    in_memory: Literal["auto", "always", "never"] = "auto"
    """Image files: decode once and keep on the device; auto: up to 64 pixels and 2 GB."""
    augment: Augment = field(default_factory=Augment)
    options: dict[str, Any] = field(default_factory=dict, metadata=FURTHER_DATA)
    """Options of the registered function; in study files they are further keys of `data`."""

    def __post_init__(self) -> None:
        if self.name not in data_set_names():
            raise ValueError(f"there is no data set {self.name}{did_you_mean(self.name, data_set_names())}")
        if self.name in DATA_SETS:
            DATA_SETS[self.name].check(self.options)
        elif self.options:
            own = [key.name for key in fields(self) if key.name != "options"]
            key = next(iter(self.options))
            raise ValueError(f"the data set {self.name} has no option {key}{did_you_mean(key, own)}")
        files = self.name not in KNOWN_SETS
        if self.name == "hfds" and not self.repository:
            raise ValueError("hfds needs repository: the data set's name on the Hugging Face hub")
        if self.repository and self.name != "hfds":
            raise ValueError(f"repository is for hfds, not for {self.name}")
        if len(self.splits) not in (0, 2):
            raise ValueError("splits names two: that for training and that for validation")
        if self.normalize != "imagenet" and not files:
            raise ValueError(f"normalize is for images from files; {self.name} has its own mean and deviation")
        channels = channels_of(self.name)
        if not isinstance(self.normalize, str) and [len(numbers) for numbers in self.normalize] != [channels] * 2:
            each = "each of three channels" if channels == 3 else "one channel"
            raise ValueError(f"normalize gives a mean and a deviation for {each}, not {self.normalize}")
        if not isinstance(self.normalize, str):
            mean, deviation = self.normalize
            if not (all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in deviation)):
                raise ValueError(
                    "normalize is of values in 0..1 (those of 0..255 divided by 255): means from 0 to 1, deviations "
                    f"above 0 and at most 1, not {self.normalize}"
                )
        if wrong := _label_error(self.labels):
            raise ValueError(wrong)
        for key in ("limit", "val_limit", "classes", "images"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} must be at least 1, got {value}")
        for key in ("choose", "max_corrupt"):
            if (value := getattr(self, key)) < 0:
                raise ValueError(f"{key} must not be negative, got {value}")
        kept = not files or self.in_memory == "always"
        if self.augment.auto and kept and (wrong := in_memory_error(self.augment.auto)):
            raise ValueError(f"augment.auto: {wrong}")
        if self.streamed:
            for key in ("shift", "cutout"):
                if getattr(self.augment, key):
                    raise ValueError(f"augment.{key} is for images kept in memory; these come from files")

    @property
    def streamed(self) -> bool:
        """Whether images are decoded while training, however many there are; those of few pixels are up to 2 GB not."""
        large = self.in_memory == "auto" and self.image_size > 64
        return self.name not in KNOWN_SETS and (self.in_memory == "never" or large)


def _label_error(labels: Sequence[int]) -> str:
    """Return what is wrong with a choice of classes, whatever the set; empty if nothing is."""
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        return f"labels names {', '.join(map(str, repeated))} more than once"
    if labels and min(labels) < 0:
        return f"labels are numbers of classes from 0 on, not {min(labels)}"
    return f"labels names two classes or more, not {labels[0]} alone" if len(labels) == 1 else ""
