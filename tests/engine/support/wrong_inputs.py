# ruff: noqa: E501
"""Wrong studies, recipes, profiles and command lines, for the golden file of error messages.

Each case is a name, the study file, and the arguments that follow it in `studies plan FILE ...`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study_text import STUDY, TASK

Case = tuple[str, str, tuple[str, ...]]

MANY = """\
study: smal
title: [a, b]
task: task.py
seeds: [0, 1, 1]
base:
  train: {epoch: 3, optimizer: adam, lr: off}
scales:
  tiny: {train: 3, seeds: [2, 2], resources: {gpu: 1, cpus: 0}, sedes: [1]}
  large: {parts: {nett: {}, net: {model: {groups: 3, img_size: 8}, axes: {slice: {values: [1]}}}}}
default_scale: large_
parts:
  net:
    base: {model: {name: sret_tiny, recursoin: 2}}
    axes:
      recursion: {key: model.recursion, values: [1, 2, 3], baseline: 4}
      slices:
        values: {none: {model.groups: [[1, 1]]}, half: 3}
        baseline: none
        only: {recursions: [2]}
      deep: {key: model.dept, values: [[1, 1, 1]], baseline: [1, 1, 1]}
    design:
      - one_at_a_time: [recursion, slice]
      - grid: {}
      - {grid: [deep], arms: []}
  rate:
    base: {model: {name: sret_tin}}
    axes:
      lr: {key: train.lr, values: [], baseline: 1}
      warmup: {key: train.warmup, values: [1, 1.0], baselin: 1}
    exclude: [{warm: 3}]
metrics:
  top1: {form: best, direction: maximum}
reources: {gpus: 1}
seeds: [1]
"""

DESIGN = "[one_at_a_time: [recursion, slices]]"
LR = "lr: {key: train.lr, values: {slow: 0.01, fast: 1}, baseline: slow}"

REPLACED: dict[str, tuple[str, str]] = {
    "no seeds": ("seeds: [0, 1]\n", "seeds: []\n"),
    "negative seed": ("seeds: [0, 1]\n", "seeds: [0, -1]\n"),
    "seeds of other types": ("seeds: [0, 1]\n", "seeds: [0, 1.5, a, true, null]\n"),
    "one seed": ("seeds: [0, 1]\n", "seeds: 3\n"),
    "seeds missing": ("seeds: [0, 1]\n", ""),
    "task not there": ("task: task.py", "task: gone.py"),
    "task unknown": ("task: task.py", "task: clasify"),
    "task a number": ("task: task.py", "task: 3"),
    "study under another name": ("study: small", "study: other"),
    "study a list": ("study: small", "study: [small]"),
    "a key twice": ("title: A small question", "task: task.py"),
    "default_scale unknown": ("default_scale: tiny", "default_scale: tin"),
    "default_scale missing": ("default_scale: tiny\n", ""),
    "scales a list": ("  tiny: {train: {epochs: 2}}\n", "  - tiny\n"),
    "a scale a number": ("tiny: {train: {epochs: 2}}", "tiny: 2"),
    "a scale's name": ("  tiny: {train: {epochs: 2}}", "  a b: {train: {epochs: 3}}\n  tiny: {train: {epochs: 2}}"),
    "scale: seeds": ("seeds: [0, 1, 2]", "seeds: []"),
    "scale: seeds of other types": ("seeds: [0, 1, 2]", "seeds: [x, 1, 1]"),
    "decide: no looks": ("seeds: [0, 1]\n", "seeds: [0, 1]\ndecide: {look: [3, 5], max_hours: 0}\n"),
    "decide: numbers": ("seeds: [0, 1]\n", "seeds: [0, 1]\ndecide: {looks: [2, 5, 5, 4000], error: 5}\n"),
    "decide: of other types": ("seeds: [0, 1]\n", "seeds: [0, 1]\ndecide: {looks: 3, error: low}\n"),
    "decide: a list": ("seeds: [0, 1]\n", "seeds: [0, 1]\ndecide: [3, 5]\n"),
    "decide: a key like it": ("seeds: [0, 1]\n", "seeds: [0, 1]\ndecied: {looks: [3]}\n"),
    "decide: of a scale": ("seeds: [0, 1, 2]", "decide: {error: 0.1, loks: [3], max_hours: -1}"),
    "decide: empty": ("seeds: [0, 1, 2]", "decide: {looks: []}"),
    "scale: resources": ("{gpus: 0.5, minutes: 30}", "{gpus: half, minute: 30, cpus: 1.5}"),
    "scale: resources a list": ("{gpus: 0.5, minutes: 30}", "[gpus]"),
    "scale: parts a list": ("    parts:\n      net:\n        model.base_dim: 64\n", "    parts:\n      - net:\n        model.base_dim: 64\n"),
    "scale: option of a part": ("model.base_dim: 64", "model.base_dims: 64"),
    "scale: a setting like its own key": ("    train: {epochs: 50}", "    train: {epochs: 50}\n    partz: 3\n    seed: 1"),
    "scale: axes beside parts": ("    train: {epochs: 50}", "    train: {epochs: 50}\n    axes: {lr: {values: [1]}}"),
    "scale: an axis's baseline": ("paper: {model.groups: [[16, 4]]}}}", "paper: {model.groups: [[16, 4]]}}, baseline: papr}"),
    "scale: an axis without values": ("slices: {values: {none: {model.groups: [[1, 1]]}, paper: {model.groups: [[16, 4]]}}}", "slices: {baseline: paper}"),
    "scale: a level is gone": ("paper: {model.groups: [[16, 4]]}}}", "other: {model.groups: [[16, 4]]}}}"),
    "scale: a level's setting": ("paper: {model.groups: [[16, 4]]}}}", "paper: {model.group: [[16, 4]]}}}"),
    "design beside parts": ("parts:\n  net:\n    base", "design: []\nparts:\n  net:\n    base"),
    "axes beside parts": ("parts:\n  net:\n    base", "axes: {lr: {key: train.lr, values: [1], baseline: 1}}\nparts:\n  net:\n    base"),
    "a part's name": ("  rate:\n", "  ra te:\n"),
    "a part a list": ("  rate:\n    axes:\n      lr", "  rate:\n  - axes:\n      lr"),
    "a part with another key": ("  rate:\n    axes:\n", "  rate:\n    metrics: {}\n    axis: {}\n    axes:\n"),
    "base a list": ("base: {train.lr: 0.2}", "base: [train.lr]"),
    "base sets what is not there": ("base: {train.lr: 0.2}", "base: {train.lr: 0.2, trian.lr: 1, epochs: 1, train.lr.x: 2}"),
    "base sets other types": ("base: {train.lr: 0.2}", 'base: {train: {lr: "1e-3", epochs: 2.5, optimizer: SGD, warmup: null}}'),
    "base sets infinity": ("base: {train.lr: 0.2}", "base: {train.lr: .inf}"),
    "a setting over a group": ("base: {train.lr: 0.2}", "base: {train: 0.2}"),
    "axis without key": (LR, "lr: {values: [1, 2], baseline: 1}"),
    "axis without values": (LR, "lr: {key: train.lr, baseline: 1}"),
    "axis without baseline": (LR, "lr: {key: train.lr, values: [1]}"),
    "axis a list": (LR, "lr: [1, 2]"),
    "axis: values a number": (LR, "lr: {key: train.lr, values: 3, baseline: 3}"),
    "axis: values empty": (LR, "lr: {key: train.lr, values: {}, baseline: 3}"),
    "axis: unknown key": (LR, LR[:-1] + ", kez: 1, labl: x}"),
    "axis: key of another type": (LR, "lr: {key: 3, values: [1], baseline: 1, label: [a], only: [b]}"),
    "axis: only of another type": (LR, LR[:-1] + ", only: {lr: {a: 1}}}"),
    "axis: bare levels without key": (LR, "lr: {values: {slow: 0.01, fast: {}}, baseline: slow}"),
    "axis: a level's value": (LR, LR.replace("fast: 1", "fast: quick")),
    "axis: a level's name": (LR, LR.replace("slow", "a b")),
    "axis: a level twice": (LR, "lr: {key: train.lr, values: [1, 1.0, 2], baseline: 1}"),
    "axis: unknown setting": (LR, LR.replace("train.lr", "train.lrr")),
    "axis: baseline": ("baseline: 2, label", "baseline: 4, label"),
    "axis: a name": (LR, LR.replace("lr:", "l=r:", 1)),
    "axis: two arms alike": (LR, LR.replace("fast: 1", "fast: 0.01")),
    "axis: a rule of the task": (LR, "lr: {key: train.warmup, values: {slow: 1, fast: 3}, baseline: slow}"),
    "axis: a rule of the task at the baseline": (LR, "lr: {key: train.warmup, values: {slow: 9, fast: 3}, baseline: slow}"),
    "only: itself": (LR, LR[:-1] + ", only: {lr: slow}}"),
    "only: no such level": ("[2, 3]}", "[2, 4]}"),
    "only: a circle": ("label: Recursion depth", "only: {slices: paper}"),
    "design: a mapping": (DESIGN, "{one_at_a_time: [recursion]}"),
    "design: an axis twice": ("recursion, slices]]", "recursion, recursion]]"),
    "design: an inert axis": ("[2, 3]}", "[1]}"),
    "design: an inert axis in an arm": (DESIGN, "[arms: [{recursion: 1, slices: none}]]"),
    "design: no arms": (DESIGN, "[arms: []]"),
    "design: arms of other types": (DESIGN, "[arms: [3, {recursion: [1]}, {recursion: {a: 1}}]]"),
    "design: an arm's level": (DESIGN, "[arms: [{recursion: 9, slice: paper}]]"),
    "design: an empty block": (DESIGN, "[{}]"),
    "design: an unknown block": (DESIGN, "[{gird: [recursion]}]"),
    "design: two blocks in one": (DESIGN, "[{grid: [recursion], one_at_a_time: [slices]}]"),
    "design: one_at_a_time of other types": (DESIGN, "[{one_at_a_time: recursion}, {one_at_a_time: []}, {one_at_a_time: [3]}]"),
    "design: grid of other types": (DESIGN, "[{grid: 3}, {grid: []}, {grid: {recursion: {a: 1}}}, {grid: {recursion: [[1]]}}]"),
    "design: no levels": (DESIGN, "[grid: {recursion: []}]"),
    "design: an unknown level": (DESIGN, "[grid: {recursion: [1, 4, 1]}]"),
    "design: an unknown axis": (DESIGN, "[grid: {recursoin: [1]}]"),
    "exclude: the baseline": (DESIGN, DESIGN + "\n    exclude: [{recursion: 2}]"),
    "exclude: an arm": (DESIGN, "[arms: [{recursion: 3}]]\n    exclude: [{recursion: 3}]"),
    "exclude: empty": (DESIGN, DESIGN + "\n    exclude: [{}]"),
    "exclude: of another type": (DESIGN, DESIGN + "\n    exclude: {recursion: 3}"),
    "two axes set one key": (
        "none: {model.groups: [[1, 1]]}, paper: {model.groups: [[8, 2]]}",
        "none: {model.recursion: 5}, paper: {}",
    ),
    "a setting twice: in a base": ("base: {train.lr: 0.2}", "base: {train.lr: 0.2, train: {lr: 0.3, epochs: 2}}"),
    "a setting twice: in a scale": ("tiny: {train: {epochs: 2}}", "tiny: {train: {epochs: 2}, train.epochs: 3}"),
    "a setting twice: in a part": ("{name: sret_tiny, base_dim: 8}", "{name: sret_tiny, base_dim: 8}, model.base_dim: 16"),
    "a setting twice: in a level": ("paper: {model.groups: [[8, 2]]}", "paper: {model.groups: [[8, 2]], model: {groups: [[4, 1]]}}"),
    "a setting twice: in a scale's part": ("model.base_dim: 64", "model.base_dim: 64\n        model: {base_dim: 32}"),
    "metrics: of other types": ('top1: {from: best, direction: max, unit: "%"}', "top1: {from: 3, direction: 1, unit: 5}"),
    "metrics: a list": ('  top1: {from: best, direction: max, unit: "%"}\n  seconds: {}\n', "  - top1\n"),
    "metrics: a name": ("  seconds: {}", "  sec onds: {}"),
    "resources: of other types": ("cpus: 2, retries: 2", "cpus: two, retries: -1, memory_gb: 0, nodes: 0, gpu: 1"),
    "resources: a share above one": ("cpus: 2", "gpus: 1.5"),
    "resources: processes": ("cpus: 2", "gpus: 2, processes: 3"),
    "resources: no processes": ("cpus: 2", "processes: 0"),
    "resources: a list": ("{cpus: 2, retries: 2}", "[cpus]"),
    "launcher: unknown": ("cpus: 2", "launcher: {slrum: {}, local: {}}"),
    "launcher: of another type": ("cpus: 2", "launcher: {slurm: 3}"),
    "launcher: options of SLURM": ("cpus: 2", "launcher: {slurm: {partion: gpu, array: 3, pack: 0, time: soon, setup: [1], mem: [1]}}"),
    "launcher: an amount of SLURM": ("cpus: 2", "launcher: {slurm: {pack: 0, time: soon, poll_seconds: 0}}"),
    "model: unknown": ("{name: sret_tiny, base_dim: 8}", "{name: sret_tiney, base_dim: 8}"),
    "model: a number": ("{name: sret_tiny, base_dim: 8}", "{name: 3}"),
    "model: not a model": ("{name: sret_tiny, base_dim: 8}", "{name: vit_tiny_patch16_225, base_dim: 8}"),
    "model: options of other types": ("{name: sret_tiny, base_dim: 8}", "{name: sret_tiny, base_dim: [8], mlp_ratio: x, groups: [[1]], noslice: 1}"),
    "model: an option of the task": ("{name: sret_tiny, base_dim: 8}", "{name: sret_tiny, num_classes: 8}"),
    "model: of timm": ("{name: sret_tiny, base_dim: 8}", "{name: deit_tiny_patch16_224, base_dim: 8}"),
    "unknown key of the file": ("resources: {cpus", "reources: {cpus"),
    "an unlike key of the file": ("resources: {cpus: 2, retries: 2}", "resources: {cpus: 2, retries: 2}\nfoo: 1"),
}  # fmt: skip

WHOLE = {
    "many": MANY,
    "empty": "",
    "a list": "- a",
    "a word": "just words",
    "an empty mapping": "{}",
    "parts a number": "parts: 3",
    "no parts": "study: small\ntask: task.py\nseeds: [0]\nparts: {}",
    "parts a list": "scales: {a: 1}\nparts: {p: []}",
    "an empty axis": "axes: {a: {}}",
    "scales speak of parts that are not there": (
        "{study: small, task: task.py, seeds: [3], scales: {a: {parts: {p: {}}}}, "
        "axes: {lr: {key: train.lr, values: [1, 2], baseline: 1}}}"
    ),
    "scales of a study without parts": (
        "{study: small, task: task.py, seeds: [3], scales: {a: {axes: {lrr: {values: [3]}, lr: {values: [x]}}}}, "
        "axes: {lr: {key: train.lr, values: [1, 2], baseline: 1}}}"
    ),
    "a recipe that is not there": "study: small\ntask: classify\nseeds: [0]\nbase: {recipe: diet}\n",
    "a recipe of no like name": "study: small\ntask: classify\nseeds: [0]\nbase: {recipe: 3}\n",
    "a recipe for another model": (
        "study: small\ntask: classify\nseeds: [0]\nbase: {recipe: evo_vit, model.name: deit_tiny_patch16_224}\n"
    ),
    "a recipe's rule": (
        "study: small\ntask: classify\nseeds: [0]\nbase: {recipe: deit, train: {accumulate: 3}, data.name: digits}\n"
    ),
    "settings of classify": (
        "study: small\ntask: classify\nseeds: [0]\n"
        "base: {data: {name: cifra10, limit: x}, train: {lrr: 1, mix: 3, batch_size: 1e6}, teacher: {model: {nam: x}}}\n"
    ),
    "rules of classify": (
        "study: small\ntask: classify\nseeds: [0]\n"
        "axes:\n  epochs: {key: train.epochs, values: [1, 0], baseline: 1}\n"
        "  lr: {key: train.lr, values: [-1, 0.1], baseline: 0.1}\n"
    ),
    "rules of classify about a section's keys": (
        "study: small\ntask: classify\nseeds: [0]\nbase:\n  train: {batch_size: 16}\n"
        "  data: {limit: 0, augment: {repeats: 0, shift: -1}}\naxes:\n"
        "  memory: {key: data.normalize, values: [imagenet, model], baseline: imagenet}\n"
        "  auto: {key: data.augment.auto, values: ['', rand-m9-foo], baseline: ''}\n"
    ),
    "rules of classify in two halves": (
        "study: small\ntask: classify\nseeds: [0]\naxes:\n"
        "  memory: {key: data.normalize, values: [imagenet, model], baseline: imagenet}\n"
        "  auto: {key: data.augment.auto, values: ['', rand-m9-foo], baseline: ''}\n"
    ),
    "names in the place of sections": (
        "study: small\ntask: classify\nseeds: [0]\nbase: {model: sret_tiny, data: digits, reducer: {nam: tome}, loss: x}\n"
        "axes: {a: {key: recursion, values: [1, 2], baseline: 1}}\n"
    ),
    "a misspelt name key and source": (
        "study: small\ntask: classify\nseeds: [0]\nbase: {model: {nam: sret_tiny}}\nmetrics: {top1: {from: lst}}\n"
    ),
    "an axis with the word for parts": (
        "study: small\ntask: classify\nseeds: [0]\naxes:\n  part: {key: train.lr, values: [1, 2], baseline: 1}\n"
    ),
    "metrics of classify": (
        "study: small\ntask: classify\nseeds: [0]\nmetrics: {top1: {}, topp1: {from: best}, a: {from: val.scor}, "
        "gflop: {}, fine: {from: loss.any}, b: {from: active.layer3}, c: {from: source.val.tp1}, xyz: {}}\n"
    ),
    "metrics of cost": "study: small\ntask: cost\nseeds: [0]\nmetrics: {top1: {from: last}, share_b8: {}, sharp_b8: {}}\n",
    "secrets": (
        "study: small\ntask: classify\nseeds: [0]\nbase: {init: 'https://me:sesame@host/a.pth', "
        "data.root: 'https://host/a?token=sesame'}\n"
    ),
    "settings of cost": "study: small\ntask: cost\nseeds: [0]\nbase: {model: {name: sret_tinny}, batch: 3}\n",
    "settings of redundancy": "study: small\ntask: redundancy\nseeds: [0]\nbase: {start.weight: a, layers: 3}\n",
}

YAML = {
    "a flow sequence that does not end": "a: [",
    "a tab": "a:\n\tb: 1\n",
    "a tab after spaces": "a: 1\n \tb: 2\n",
    "a comma missing": "a: [1, 2\nb: 3\n",
    "a colon too many": "a: b: c\n",
    "a second document": "a: 1\n---\nb: 2\n",
    "an alias in itself": "a: &x [*x]\n",
    "an unknown alias": "a: *nothing\n",
    "a tag": "a: !!python/name:os.system x\n",
    "a key that is a list": "? [a]\n: 1\n",
    "an alias as a key": "a: &x b\n*x : 1\n",
    "a merge key": "<<: {a: 1}\n",
    "a control character": "a: \x01\n",
    "a quote that does not end": 'a: "b\nc: 1\n',
    "a bad escape": 'a: "\\q"\n',
    "bad indentation": "a:\n    b: 1\n  c: 2\n",
    "a list in a mapping": "a: 1\n- b\n",
    "an unknown directive": "%YAML 3.0\n---\na: 1\n",
    "a reserved character": "a: @b\n",
    "a key twice in one line": "study: small\nbase: {train.lr: 1, train.lr: 2}\n",
}

TYPED: dict[str, tuple[str, ...]] = {
    "scale": ("--scale", "larg"),
    "set: no sign": ("--set", "foo"),
    "set: no key": ("--set", "=3"),
    "set: unknown": ("--set", "train.epoch=3", "--set", "model.recursoin=1", "--set", "net.model.grups=1"),
    "set: an axis varies it": ("--set", "model.recursion=2", "--set", "rate.train.lr=1"),
    "set: not YAML": ("--set", "train.lr=[", "--set", "train.epochs={a: 1"),
    "set: of another type": ("--set", "train.lr=high", "--set", "train.epochs=1.5"),
    "set: twice": ("--set", "train.epochs=1", "--set", "train.epochs=2"),
    "set: twice, dotted and nested": ("--set", "train.epochs=1", "--set", "train={epochs: 2}"),
    "set: an option of one part's model": ("--set", "model.name=deit_tiny_patch16_224", "--set", "model.base_dim=3"),
    "set: a rule of the task": ("--set", "train.warmup=3"),
    "set: a rule of the task in one part": ("--set", "rate.train.warmup=3"),
    "only: unknown": ("--only", "recursoin=1", "--only", "slices=papr", "--only", "part=nett", "--only", "nt.lr=1"),
    "only: an axis of another part": ("--only", "rate.recursion=1"),
    "only: no sign": ("--only", "lr", "--only", "lr="),
    "only: nothing is left": ("--only", "recursion=1", "--only", "slices=none"),
    "seeds": ("--seeds", "0,-7,x,0"),
    "results: too long": ("--results", "r" * 300),
    "device": ("--device", "h2000"),
    "device: no numbers": ("--device", "60:"),
    "launcher": ("--on", "slrum"),
    "launcher: options": (
        "--on", "slurm", "--launch", "partion=gpu", "--launch", "foo", "--launch", "array=3", "--launch", "pack=0",
        "--launch", "a=[",
    ),
    "cluster: of a launcher without": ("--on", "inline", "--cluster", "none.yaml"),
    "launcher: options of one without": ("--on", "inline", "--launch", "x=1"),
    "cluster: not there": ("--cluster", "none.yaml"),
    "cluster: no profile": ("--cluster", "jewels"),
    "cluster: a wrong profile": ("--cluster", "wrong.yaml", "--launch", "pack=0"),
    "cluster: no mapping": ("--cluster", "list.yaml"),
    "cluster: no YAML": ("--cluster", "broken.yaml"),
    "everything": ("--scale", "larg", "--set", "train.epoch=3", "--only", "part=nett", "--seeds", "7x"),
}  # fmt: skip

RULE = """
@dataclass
class Config:
    lr: float = -1.0

    def __post_init__(self):
        if self.lr < 0:
            raise ValueError(f"lr must be >= 0, got {self.lr:g}")
"""
TASKS = {
    "a syntax error": "x = (",
    "an import that fails": "import nothing_of_that_name",
    "no Config": "Config = 3",
    "metrics in another form": TASK + "\nMETRICS = {'best': [1]}\n",
    "no run": TASK.replace("def run", "def other"),
    "a default that its own rule refuses": TASK.replace("def run", RULE + "\n\ndef run"),
    "an option without a default": TASK.replace("def run", "@dataclass\nclass Config:\n    lr: float\n\ndef run"),
}

PROFILES = {
    "wrong.yaml": "partition: gpu\ntimes: 3\nnodes: 2\npack: [1]\npartition: cpu\n",
    "list.yaml": "- a\n",
    "broken.yaml": "a: [\n",
}


def cases() -> Iterator[Case]:
    for name, text in WHOLE.items():
        yield f"study: {name}", text, ()
    for name, (old, new) in REPLACED.items():
        assert STUDY.count(old) == 1, name
        yield f"study: {name}", STUDY.replace(old, new), ()
    for name, text in YAML.items():
        yield f"yaml: {name}", text, ()
    for name, arguments in TYPED.items():
        yield f"arguments: {name}", STUDY, arguments
    yield "arguments and file", STUDY.replace("baseline: 2", "baseline: 4"), TYPED["everything"]


def write_profiles(folder: Path) -> None:
    for name, text in PROFILES.items():
        (folder / name).write_text(text)
