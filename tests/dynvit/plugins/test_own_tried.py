"""What `plan` finds by calling own data sets, metrics and reducers once."""

import own_code
import pytest

from dynvit import plugins
from dynvit.describe import own_code as tried
from dynvit.describe import own_model
from dynvit.describe.check import check
from studies.engine.catalog.tasks import defaults, load_task

METRIC = "import dynvit\n@dynvit.register_metric('own')\ndef own(logits, targets):\n    return {}\n"
DATA = (
    "import dynvit, numpy as np\n@dynvit.register_dataset('own')\ndef own():\n"
    "    I, L = np.random.RandomState(0).randint(0, 255, (12, 9, 9, 3)).astype(np.uint8), [0, 1] * 6\n    {}\n"
)


def config(name="own", batch=4):
    whole = defaults(load_task("classify").config)
    data = {**whole["data"], "name": name, "image_size": 8}
    return {**whole, "model": {"name": "test_vit"}, "data": data, "train": {**whole["train"], "batch_size": batch}}


def answer(tmp_path, source, **changes):
    plugins.load(own_code.write(tmp_path, mine=source))
    return check("classify", config(**changes))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("'good'", "returned str, not a number"),
        ("float('nan')", "is nan"),
        ("None", "returned NoneType, not a number"),
        ("{'a': 1.0}", "returned dict, not a number"),
        ("(logits.argmax(1) == targets).float()", "not a number"),
        ("1 / 0", "fails: mine.py, line 4: ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("name", ["digits", "folder"])
def test_a_metric_is_tried(tmp_path, body, text, name):
    refusal = answer(tmp_path, METRIC.format(body), name=name)["refusal"]
    assert refusal.startswith("the metric own (mine.py, line 2), of made logits [") and refusal.endswith(text)


def test_a_metric_for_two_classes_is_refused_only_for_data_with_more(tmp_path):
    two = METRIC.format("1.0 if logits.shape[1] == 2 else 'many'")
    assert answer(tmp_path, two, name="folder")["refusal"] is None
    assert "of made logits [20, 10]" in answer(tmp_path, two, name="digits")["refusal"]
    assert answer(tmp_path, two + DATA.format("return (I, L), (I[:6] // 2, L[:6])"))["refusal"] is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return None", r"data.name: the data set own (mine.py, line 2) returned None; it returns train, val"),
        ("return 1 / 0", "(mine.py, line 2) fails: mine.py, line 5: ZeroDivisionError"),
        ("raise SystemExit(3)", "data.name: the data set own ends the program: SystemExit: 3"),
        ("return (I, L), (I[:0], [])", "returned no images for val"),
    ],
)
def test_a_data_set_is_called(tmp_path, body, text):
    found = answer(tmp_path, DATA.format(body))
    assert text in found["refusal"] and found["folders"] == tried.NOT_KEPT


def test_a_batch_that_the_images_do_not_fill(tmp_path):
    found = answer(tmp_path, DATA.format("return (I, L), (I[:6] // 2, L[:6])"), batch=64)
    assert found["refusal"] == "train.batch_size: own has 12 training images, fewer than one batch of 64"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return (I, L), (I, L)", "data.name: own: val: 12 of 12 validation images with the bytes of a training image"),
        ("open('/nowhere/labels.csv')", "on this machine: it must work where the trials run"),
        ("import time; time.sleep(60)", "data.name: own takes more than 1 s and was not tried"),
    ],
)
def test_what_may_be_right_elsewhere_is_a_caution(tmp_path, monkeypatch, body, text):
    monkeypatch.setattr(tried, "MOST_SECONDS", 1)
    found = answer(tmp_path, DATA.format(body))
    assert found["refusal"] is None and any(text in caution for caution in found["cautions"])


# ---- reducers

VIT = {"name": "vit_tiny_patch16_224", "patch_size": 2, "embed_dim": 24, "depth": 4, "num_heads": 2}
FUNCTION = "import dynvit\n@dynvit.register_reducer('own')\ndef own(tokens, attention, power: float = 1.0):\n    {}\n"
CLASS = (
    "import dynvit\n@dynvit.register_reducer('own')\nclass Own(dynvit.Keeping):\n"
    "    power: float = 1.0\n    def group(self, stream, signals, kept, block, places):\n        {}\n"
)
TAKES = (
    "return dynvit.reduction.grouping.Grouping(stream.x_BND[..., 0].topk(kept + places.prefix).indices.sort(1).values)"
)


def fault(tmp_path, source, **reducer):
    plugins.load(own_code.write(tmp_path, mine=source))
    found = check("classify", config("digits") | {"model": VIT, "reducer": {"name": "own", "keep": 0.5, **reducer}})
    assert found["refusal"] is None and not found.get("models", {}).keys() - {"reducer"}
    return found.get("models", {}).get("reducer", "")


@pytest.mark.parametrize(
    ("source", "body", "text"),
    [
        (FUNCTION, "return attention * power", ""),
        (FUNCTION, "return attention * attention.mean().item()", ""),  # which the meta device cannot
        (FUNCTION, "return tokens[9, 9, 9]", "fails for images [2, 1, 8, 8]: mine.py, line 4: IndexError: "),
        (FUNCTION, "return tokens", "the reducer own returns a score per token, [2, 16], not [2, 16, 24]"),
        (FUNCTION, "return None", "the reducer own returns a score per token, [2, 16], not NoneType"),
        (CLASS, TAKES, ""),
        (CLASS, "1 / 0", "fails for images [2, 1, 8, 8]: mine.py, line 6: ZeroDivisionError: division by zero"),
    ],
)
def test_a_reducer_is_tried(tmp_path, source, body, text):
    found = fault(tmp_path, source.format(body))
    assert found.startswith("the reducer own fails for images [2, 1, 8, 8]: ") and text in found if text else not found


def test_a_reducer_is_tried_without_memory_and_with_a_target(tmp_path, monkeypatch):
    wrong = FUNCTION.format("return tokens[9, 9, 9]")
    assert "mine.py, line 4: IndexError: " in fault(tmp_path, wrong, keep=0.7, target_gmacs=1e-4)
    monkeypatch.setattr(own_model, "HEAVY", 0)
    assert "fails for images [2, 1, 8, 8]: mine.py, line 4: IndexError: " in fault(tmp_path, wrong)
    assert fault(tmp_path, FUNCTION.format("return attention * attention.mean().item()")) == ""  # not known there


def test_an_option_of_a_reducer_that_is_wrong_is_refused_as_before(tmp_path):
    assert fault(tmp_path, FUNCTION.format("return attention"), keep=7.5).startswith("keep")
