"""What the description says of own code, and how options are checked."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import own_code
import pytest

from dynvit import plugins
from dynvit.config.classify import Config
from dynvit.config.data import Data
from dynvit.describe import describe, describe_timm
from dynvit.describe.check import check
from dynvit.describe.json_schema import plain
from dynvit.describe.tasks import build_config
from dynvit.models.build import build_model
from dynvit.reduction.reducer import REDUCERS
from studies.engine.runtime.task_loader import build


def test_everything_registered_is_described_with_its_entry(tmp_path):
    files = dict(zip(("model", "data", "loss", "metric", "reducer"), own_code.write(tmp_path), strict=True))
    ours, found = describe(), describe(list(files.values()))
    assert found["losses"]["poly1"] == {
        "description": "Cross entropy with a term of first order.",
        "options": {
            "type": "object",
            "properties": {
                "epsilon": {"type": "number", "default": 1.0, "description": "weight of that term."},
                "mode": {"type": "string", "default": "mean"},
            },
            "additionalProperties": False,
        },
        "from": files["loss"],
    }
    leaves, metric = found["data_sets"]["leaves"], found["metrics"]["balanced_accuracy"]
    assert list(leaves["options"]["properties"]) == ["count", "bright", "side"]
    assert (leaves["from"], leaves["channels"]) == (files["data"], 3)
    assert (metric["direction"], metric["unit"], metric["from"]) == ("max", "%", files["metric"])
    reducer = found["reducers"]["norms"]
    assert reducer["from"] == files["reducer"] and reducer["options"]["properties"]["power"]["default"] == 2.0
    assert {"keep", "locations", "power"} < reducer["options"]["properties"].keys()
    properties = found["tasks"]["classify"]["config"]["properties"]
    assert properties["data"]["properties"]["name"]["enum"][-1] == "leaves"
    assert "val.balanced_accuracy" in found["tasks"]["redundancy"]["metrics"]["events"]
    assert "balanced_accuracy" in found["tasks"]["classify"]["metrics"]["best"]
    plugins.load([])
    assert describe() == ours
    assert "from" not in json.dumps([*ours["models"].values()])


def test_a_model_that_timm_alone_knows_has_the_options_of_its_class_without_defaults(tmp_path):
    found = describe(own_code.write(tmp_path, my_models=own_code.MODEL))
    model = found["models"]["mynet_tiny"]
    assert model == {"class": "my_models.mynet_tiny", "preset": {}, "from": str(tmp_path / "my_models.py")}
    described = found["classes"]["my_models.mynet_tiny"]
    assert described["description"] == "The small one."
    assert described["options"]["properties"]["width"] == {"type": "integer", "description": "channels in between."}
    assert described["options"]["additionalProperties"] is False
    assert "mynet_tiny" not in describe_timm()["models"]


def test_a_registered_class_keeps_its_defaults_and_presets(tmp_path):
    source = (
        own_code.MODEL.partition("@register_model")[0]
        + "import dynvit\ndynvit.register(MyNet, {'mine': {'width': 8}})\n"
    )
    found = describe(own_code.write(tmp_path, my_models=source))
    assert found["models"]["mine"]["preset"] == {"width": 8}
    assert found["classes"]["my_models.MyNet"]["options"]["properties"]["width"]["default"] == 32


@pytest.mark.parametrize(
    ("entry", "size", "text"),
    [
        ("def own(pretrained=False, **kwargs): return MyNet(**kwargs)", {}, ""),
        ("def own(num_classes): return MyNet(num_classes=num_classes)", {}, ""),
        ("def own(pretrained=False): return MyNet()", {}, "own must take num_classes: how many classes the data has"),
        (
            "def own(num_classes): return MyNet(num_classes=num_classes)",
            {"in_chans": 1},
            "own must take in_chans: the images have 1 channel",
        ),
        ("def own(**kwargs): return 3", {}, "own returns int, not a model"),
    ],
)
def test_a_plain_function_gets_what_it_takes(tmp_path, entry, size, text):
    source = own_code.MODEL.partition("@register_model")[0] + f"@register_model\n{entry}\n"
    plugins.load(own_code.write(tmp_path, my_models=source))
    given = {"num_classes": 5, "in_chans": 3, "img_size": 8, **size}
    if text:
        with pytest.raises(TypeError, match=text):
            build_model({"name": "own"}, **given)
    else:
        assert build_model({"name": "own"}, **given).fc.out_features == 5


def test_options_are_checked_like_ours(tmp_path):
    plugins.load(own_code.write(tmp_path))
    Config(data=Data("leaves", options={"count": 8, "bright": 2}), loss={"name": "poly1", "epsilon": 2})
    for data, text in (
        ({"name": "leafs"}, "there is no data set leafs; did you mean 'leaves'?"),
        ({"name": "leaves", "options": {"cuont": 8}}, "the data set leaves has no option cuont; did you mean 'count'?"),
        (
            {"name": "leaves", "options": {"count": "many"}},
            "the data set leaves: count must be a whole number, got 'many'",
        ),
        ({"name": "digits", "options": {"limt": 8}}, "the data set digits has no option limt; did you mean 'limit'?"),
    ):
        with pytest.raises(ValueError, match=text.replace("?", r"\?")):
            Data(**data)
    for loss, text in (
        ({"name": "poly2"}, "loss.name: there is no loss poly2; did you mean 'poly1'?"),
        ({"epsilon": 2.0}, "loss needs a name; registered are poly1"),
        ({"name": "poly1", "epsilon": "2"}, "loss: the loss poly1: epsilon must be a number, got '2'"),
        ({"name": "poly1", "epsilom": 2.0}, "loss: the loss poly1 has no option epsilom; did you mean 'epsilon'?"),
    ):
        with pytest.raises(ValueError, match=text.replace("?", r"\?")):
            Config(loss=loss)


def test_an_option_without_a_type_has_that_of_its_default(tmp_path):
    source = (
        "import dynvit\n@dynvit.register_dataset('own')\ndef own(n=24, view='front', both=True, more=None): ...\n"
        "@dynvit.register_reducer('score')\ndef score(tokens, power=2): return tokens.sum(-1)\n"
    )
    plugins.load(own_code.write(tmp_path, my_data=source))
    Data("own", options={"n": 0.5, "view": "side", "both": False, "more": [1]})
    kinds = ("n", "many", "a whole number or a number"), ("view", 3, "text"), ("both", "no", "true or false")
    for key, value, kind in kinds:
        with pytest.raises(ValueError, match=f"the data set own: {key} must be {kind}, got {value!r}"):
            Data("own", options={key: value})
    with pytest.raises(ValueError, match="power must be a whole number or a number, got 'much'"):
        REDUCERS["score"](power="much")


def test_a_required_option_is_missed(tmp_path):
    source = "import dynvit\n@dynvit.register_dataset('own')\ndef own(root, view: str): ...\n"
    plugins.load(own_code.write(tmp_path, my_data=source))
    with pytest.raises(ValueError, match="the data set own needs view"):
        Data("own")


def test_check_knows_own_models_and_forgets_an_earlier_version(tmp_path):
    config = {"model": {"name": "mynet_tiny", "width": 8}, "trunk": {"name": ""}}
    for source, faults in ((own_code.MODEL, []), (own_code.MODEL.replace("width: int", "breadth: int"), ["model"])):
        plugins.load(own_code.write(tmp_path, my_models=source))
        assert list(check("cost", config).get("models", {})) == faults


def test_the_server_loads_what_a_question_names(tmp_path):
    files = own_code.write(tmp_path, my_loss=own_code.LOSS)
    broken = own_code.write(tmp_path, broken="import dynvit\n1 / 0\n")
    asked = [{"call": "describe", "arguments": {"imports": each}} for each in (files, [], broken, files)]
    lines = "".join(json.dumps({**q, "cwd": str(tmp_path), "environ": dict(os.environ)}) + "\n" for q in asked)
    command = [sys.executable, "-m", "dynvit.describe", "--check"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    first, none, error, again = map(json.loads, done.stdout.splitlines())
    assert list(first["result"]["losses"]) == ["poly1"] and none["result"]["losses"] == {} and again == first
    assert error == {"error": f"PluginError: {broken[0]}, line 2: ZeroDivisionError: division by zero"}


def test_further_options_are_read_in_both_forms(tmp_path):
    plugins.load(own_code.write(tmp_path, my_data=own_code.DATA))
    config = Config(data=Data("leaves", options={"count": 8}))
    for values in (plain(config), asdict(config)):
        assert build_config(Config, values) == (config, [])
        assert build(Config, values) == config
