"""A model of own code is built and run before any trial; what is wrong with it names its file and line."""

import own_code
import pytest

from dynvit import plugins
from dynvit.describe import own_model
from dynvit.describe.check import check
from dynvit.describe.json_schema import plain
from dynvit.tasks.classify import Config, Data

FORWARD = "return self.fc(torch.relu(self.stem(x)).mean((2, 3)))"
HEAD = "self.fc = nn.Linear(width, num_classes)"
ENTRY = "return MyNet(kind="


def fault(tmp_path, before="", after="", classes=3, size=8, loss=""):
    """What the check says of a study whose model file has `after` in the place of `before`."""
    assert before in own_code.MODEL
    leaves = own_code.DATA
    if classes:
        leaves = leaves.replace("% 2", f"% {classes}").replace('["dark", "bright"]', f"[*map(str, range({classes}))]")
    files = {"my_models": own_code.MODEL.replace(before, after) if before else own_code.MODEL, "my_data": leaves}
    plugins.load(own_code.write(tmp_path, **files, **({"my_loss": loss} if loss else {})))
    data = Data("leaves", image_size=size, classes=classes)
    config = Config(model={"name": "mynet_tiny", "width": 8}, data=data, loss={"name": "own"} if loss else {})
    answer = check("classify", plain(config))
    return answer["refusal"] or answer.get("models", {}).get("model", "")


def line(text, definition=False):
    """Where a text of the model stands, or the method that it stands in."""
    lines = own_code.MODEL.splitlines()
    number = next(i for i, each in enumerate(lines, 1) if text in each)
    return number - 1 if definition else number


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (HEAD, "self.fc = nn.Linear(width, 7)", "mynet_tiny returns 7 logits for 3 classes: my_models.py, line {def}"),
        (HEAD, "self.fc = nn.Linear(width, 2)", "mynet_tiny returns 2 logits for 3 classes: my_models.py, line {def}"),
        (
            FORWARD,
            "h = self.stem(x).mean((2, 3)); return self.fc(h), h",
            "mynet_tiny returns tuple for 2 images, not logits [2, 3]: my_models.py, line {def}",
        ),
        (
            FORWARD,
            "h = self.stem(x).mean((2, 3)); return (self.fc(h), h) if self.training else self.fc(h)",
            "mynet_tiny returns 8 logits in training for 3 classes: my_models.py, line {def}",
        ),
        (
            FORWARD,
            "return self.fc(self.stem(x).flatten(2).transpose(1, 2))",
            "mynet_tiny returns a tensor [2, 4, 3] for 2 images, not logits [2, 3]: my_models.py, line {def}",
        ),
        (
            FORWARD,
            "return self.fc(self.stem(x).flatten(1))",
            "mynet_tiny fails for images [2, 3, 8, 8]: my_models.py, line {at}: RuntimeError: ",
        ),
        (  # the meta device lets this pass
            FORWARD,
            "return self.fc(self.stem(x).mean((2, 3))).softmax(5)",
            "mynet_tiny fails for images [2, 3, 8, 8]: my_models.py, line {at}: IndexError: Dimension out of range",
        ),
    ],
)
def test_its_forward_pass_is_tried(tmp_path, before, after, text):
    places = {"def": line(FORWARD, definition=True), "at": line(FORWARD)}
    assert fault(tmp_path, before, after).startswith(text.format(**places))


@pytest.mark.parametrize(
    "after",
    [
        FORWARD,
        f"y = {FORWARD[7:]}; return (y, y) if self.training else y",
        f"import dynvit; y = {FORWARD[7:]}; return dynvit.Output(y) if self.training else y",
        f"assert x.mean().item() >= 0; {FORWARD}",
        f"assert not self.training, 'a schedule is missing'; {FORWARD}",
    ],
)
def test_what_a_training_accepts_is_accepted(tmp_path, after):
    assert fault(tmp_path, FORWARD, after) == ""


def test_a_heavy_model_is_tried_without_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(own_model, "HEAVY", 0)
    shapes = "return self.fc(self.stem(x).flatten(1))"
    assert "fails for images [2, 3, 8, 8]: my_models.py, line" in fault(tmp_path, FORWARD, shapes)
    assert fault(tmp_path, FORWARD, f"assert x.mean().item() < 0; {FORWARD}") == ""  # not known there


def test_a_constructor_that_fails_is_named_with_its_line(tmp_path):
    assert fault(tmp_path, HEAD, "1 / 0") == f"my_models.py, line {line(HEAD)}: ZeroDivisionError: division by zero"
    text = fault(tmp_path, ENTRY, "return MyNet(kimd=")
    assert text.startswith(f"my_models.py, line {line(ENTRY)}: TypeError: MyNet.__init__() got an unexpected keyword")


def test_a_number_of_classes_that_is_only_tried_is_said_to_be_one(tmp_path):
    tried = " (1000 classes are a trial value, as the data is not read yet; data.classes gives the number)"
    constant = "self.fc = nn.Linear(width, 7)"
    assert fault(tmp_path, HEAD, constant, classes=None).endswith(
        f" for 1000 classes: my_models.py, line {line(FORWARD, definition=True)}{tried}"
    )
    loss = "import dynvit\n@dynvit.register_loss('own')\ndef own(a, b): return a[9, 9, 9]\n"
    assert "own fails for logits [8, 2]" in fault(tmp_path, classes=None, loss=loss)  # the data set was tried first
    assert "trial value" not in fault(tmp_path, loss=loss)
    assert fault(tmp_path, classes=None) == ""
