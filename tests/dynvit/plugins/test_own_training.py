"""`classify` with an own model, data set, loss, metric and reducer on forty tiny images."""

import dataclasses

import own_code
import pytest
import timm
import torch
from rank_pair import Pair, trained
from small_task import Folder, undeclared

import dynvit
from dynvit import plugins
from dynvit.config.train import Mix
from dynvit.context import NullContext
from dynvit.describe import describe
from dynvit.describe.check import check
from dynvit.describe.json_schema import plain
from dynvit.output import cross_entropy, label_loss, labels_by, training_loss
from dynvit.plugins.register import OWN_SCORES
from dynvit.tasks import classify
from dynvit.tasks.classify import Config, Data, Evaluation, Teacher, Train
from dynvit.train.own_code.loss import build_loss


def config(**changes):
    given = {
        "model": {"name": "mynet_tiny", "width": 8},
        "data": Data("leaves", image_size=8, options={"count": 40}),
        "train": Train(epochs=2, batch_size=8, warmup_epochs=0),
        "evaluation": Evaluation(batch_size=8, timed_batches=1, timed_batch_size=4, counted_images=2),
        "loss": {"name": "poly1", "epsilon": 2.0},
    }
    return Config(**{**given, **changes})


@pytest.fixture
def own(tmp_path, quiet):
    imports = own_code.write(tmp_path)
    plugins.load(imports)
    return imports


def test_a_whole_trial(own, tmp_path):
    context = NullContext(folder=tmp_path)
    result = classify.run(config(), context)
    declared = describe(own)["tasks"]["classify"]["metrics"]
    assert not undeclared(declared, result, context)
    best, curve = result["metrics"]["best"], [metrics for _, metrics in context.history]
    assert best["balanced_accuracy"] == pytest.approx(best["top1"])  # the classes are of one size
    assert [m["val.balanced_accuracy"] for m in curve][-1] == result["metrics"]["last"]["balanced_accuracy"]
    plain_loss = NullContext(folder=tmp_path)
    classify.run(config(loss={}), plain_loss)
    assert plain_loss.history[0][1]["train.loss"] < curve[0]["train.loss"]
    assert result["metrics"]["params_m"] * 1e6 == 8 * (3 * 16 + 1) + 2 * 9
    assert result["metrics"]["gflops"] > 0


def test_the_config_is_checked_by_the_code_that_runs_it(own):
    answer = check("classify", plain(config()))
    assert answer["refusal"] is None and "models" not in answer
    assert plain(config())["data"]["count"] == 40
    assert answer["work"]["channels"] == 3


def test_two_processes_give_what_one_does(own, tmp_path):
    options, pair = config(), Pair()
    try:
        one = trained(options, Folder(tmp_path / "one")) if (tmp_path / "one").mkdir() is None else {}
        two, other = pair.train(options, tmp_path / "two", imports=own)
    finally:
        pair.close()
    assert two["best"].keys() == one["best"].keys() and "balanced_accuracy" in one["best"]
    for key, value in one["best"].items():
        assert two["best"][key] == pytest.approx(value, abs=1e-5)
    assert other["best"] == two["best"]
    assert [m["val.balanced_accuracy"] for m in two["curve"]] == [m["val.balanced_accuracy"] for m in one["curve"]]


def test_mixed_and_smoothed_labels_reach_the_loss_as_probabilities(own, tmp_path):
    train = dataclasses.replace(config().train, epochs=1, mix=Mix(mixup=0.5), label_smoothing=0.1)
    assert classify.run(config(train=train), NullContext(folder=tmp_path))["metrics"]["best"]["epoch"] == 1
    loss = build_loss(config(loss={"name": "poly1", "epsilon": 0.0}), 3, "cpu")
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(loss(logits, target, 0.1), cross_entropy(logits, target, 0.1))


@pytest.mark.parametrize(
    ("source", "train", "text"),
    [
        (
            "import torch.nn.functional as F\ndef own(a, b): return F.nll_loss(a.log_softmax(1), b)\n",
            {"label_smoothing": 0.1},
            r"the loss own fails for probabilities \[8, 2\], as with mixup, cutmix or .*: my_loss\.py, line 4",
        ),
        ("def own(a, b): return (a.sum(1))\n", {}, r"^the loss own returned a tensor \[8\], not one number"),
        ("def own(a, b): return a.detach().sum()\n", {}, "the loss own has no gradient"),
        (
            "from torch import nn\nclass own(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        self.w = nn.Linear(2, 2)\n    def forward(self, a, b): return self.w(a).sum()\n",
            {},
            "the loss own has parameters of its own, which nothing would train",
        ),
        ("def own(k: int = 3): return 3\n", {}, "the loss own returned int, nothing that can be called"),
    ],
)
def test_a_loss_that_cannot_train_is_refused_before_training(tmp_path, quiet, source, train, text):
    head, _, rest = source.partition("def own") if "class own" not in source else source.partition("class own")
    name = "class own" if "class own" in source else "def own"
    source = f"import dynvit\n{head}@dynvit.register_loss('own')\n{name}{rest}"
    plugins.load([*own_code.write(tmp_path / "b"), *own_code.write(tmp_path, my_loss2=source)])
    options = config(loss={"name": "own"}, train=dataclasses.replace(config().train, **train))
    with pytest.raises(ValueError, match=text.replace("my_loss", "my_loss2")):
        classify.run(options, NullContext(folder=tmp_path))
    assert check("classify", {**plain(options), "data": {**plain(options)["data"], "classes": 2}})["refusal"]


def test_a_module_and_a_factory_are_losses_too(tmp_path, quiet):
    source = (
        "import dynvit\nfrom torch import nn\n@dynvit.register_loss('smooth')\nclass Smooth(nn.CrossEntropyLoss):\n"
        "    def __init__(self, amount: float = 0.2):\n        super().__init__(label_smoothing=amount)\n"
        "@dynvit.register_loss('made')\ndef made(amount: float = 0.2):\n    return Smooth(amount)\n"
    )
    plugins.load([*own_code.write(tmp_path / "b"), *own_code.write(tmp_path, smooth=source)])
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    for name in ("smooth", "made"):
        loss = build_loss(config(loss={"name": name, "amount": 0.3}), 3, "cpu")
        torch.testing.assert_close(loss(logits, target), cross_entropy(logits, target, 0.3))


@pytest.mark.parametrize("name", ["evo_deit_tiny_patch16_224", "lvvit_tiny", "dynamicvit_deit_tiny_patch16_224"])
def test_a_models_own_loss_uses_it_for_the_labels(name):
    names = [n for n in dynvit.list_models() if n == name or (name == "lvvit_tiny" and n.startswith("lvvit_t"))]
    model = timm.create_model(names[0], num_classes=4, img_size=64).train()
    output, target = model(torch.randn(2, 3, 64, 64)), torch.tensor([0, 1])
    usual = training_loss(output, target)
    with labels_by(lambda logits, target, smoothing: 2 * cross_entropy(logits, target, smoothing)):
        other = training_loss(output, target)
        assert label_loss(output.logits, target) == 2 * cross_entropy(output.logits, target)
    assert other > usual


def test_distillation_keeps_the_teachers_part(own, tmp_path):
    teacher = Teacher(model={"name": "mynet_tiny", "width": 4}, epochs=1, weight=0.5)
    train = dataclasses.replace(config().train, epochs=1)
    context = NullContext(folder=tmp_path)
    classify.run(config(teacher=teacher, train=train), context)
    labels_only = NullContext(folder=tmp_path)
    classify.run(config(train=train), labels_only)
    assert context.history[0][1]["train.loss"] != labels_only.history[0][1]["train.loss"]


ALONE = "teacher.weight is 1, so that mynet_tiny learns from the teacher alone and not from labels"


@pytest.mark.parametrize(
    ("model", "teacher", "refusal", "caution"),
    [
        ("mynet_tiny", {"pretrained": True}, f"loss: poly1 is not used: {ALONE}; set teacher.weight below 1", None),
        ("mynet_tiny", {"epochs": 1}, None, "loss poly1 and train.label_smoothing 0.1 act on the teacher's own"),
        ("mynet_tiny", {"pretrained": True, "weight": 0.5}, None, None),
        ("mynet_tiny", {"pretrained": True, "weight": 0}, None, "teacher.weight is 0"),
        ("lvvit_tiny", {"pretrained": True}, None, None),  # learns from labels and from a teacher
    ],
)
def test_a_loss_on_labels_that_a_teacher_replaces_is_refused(own, model, teacher, refusal, caution):
    options = config(
        model={"name": model}, data=Data("leaves", image_size=32), train=Train(2, 8, label_smoothing=0.1),
        teacher=Teacher(model={"name": "test_vit"}, **teacher),
    )  # fmt: skip
    answer = check("classify", plain(options))
    assert (answer["refusal"] or "")[: len(refusal or "loss")] == (refusal or "")
    assert "models" not in answer
    if not refusal:
        texts = [text for text in answer.get("cautions", ()) if "pretrained" not in text and "normalized" not in text]
        assert len(texts) == bool(caution) and all(text.startswith(caution) for text in texts)
        smoothed = check("classify", plain(dataclasses.replace(options, loss={})))
        assert any("label_smoothing" in text for text in smoothed.get("cautions", ())) == ("epochs" in teacher)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("float('nan')", r"the metric own \(my_metric2\.py, line 2\), of logits \[40, 2\] and targets \[40\], is nan"),
        ("'high'", r"returned str, not a number"),
        ("logits", r"returned Tensor\[40, 2\], not a number"),
        ("1 / 0", r"fails: my_metric2\.py, line 4: ZeroDivisionError: division by zero"),
    ],
)
def test_a_metric_that_is_no_number_is_named(tmp_path, quiet, body, text):
    source = f"import dynvit\n@dynvit.register_metric('own')\ndef own(logits, targets):\n    return {body}\n"
    plugins.load([*own_code.write(tmp_path / "b"), *own_code.write(tmp_path, my_metric2=source)])
    with pytest.raises(ValueError, match=text) as caught:
        classify.run(config(), NullContext(folder=tmp_path))
    assert caught.value.__dict__["permanent"]


def test_an_own_reducer(own, tmp_path):
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=2).eval()
    images = torch.randn(2, 3, 32, 32)
    reduced = dynvit.reduce(vit, method="norms", keep=0.5, power=1.0)
    with torch.no_grad(), dynvit.trace_tokens(reduced) as trace:
        reduced(images)
    assert trace.active[-1].sum(1).tolist() == [8, 8]
    assert torch.equal(dynvit.reduce(vit, method="norms", keep=1.0)(images), vit(images))
    with pytest.raises(TypeError, match="norms has no option 'pwoer' \\(did you mean 'power'\\?\\)"):
        dynvit.reduce(vit, method="norms", pwoer=1.0)
    model = {"name": "vit_tiny_patch16_224", "patch_size": 4, "depth": 4, "embed_dim": 24, "num_heads": 2}
    data = Data("leaves", image_size=16, options={"count": 40})
    options = config(model=model, data=data, reducer={"name": "norms", "keep": 0.5, "power": 2.0}, loss={})
    assert classify.run(options, NullContext(folder=tmp_path))["metrics"]["mac_ratio"] > 1


def test_an_own_reducer_with_attention_or_as_a_class(tmp_path):
    source = '''
import dynvit
from dataclasses import dataclass

@dynvit.register_reducer("lowest")
def lowest(tokens, attention): return -attention

@dynvit.register_reducer("wrong")
def wrong(tokens): return tokens

@dynvit.register_reducer("half")
class Half(dynvit.Keeping):
    """Random with another name."""
    keep: float = 0.5
    def group(self, stream, signals, kept, block, places):
        from dynvit.reducers.controls import Random
        return Random(keep=self.keep).group(stream, signals, kept, block, places)
'''
    plugins.load(own_code.write(tmp_path, reducers=source))
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=2).eval()
    images = torch.randn(2, 3, 32, 32)
    for method in ("lowest", "half"):
        assert dynvit.reduce(vit, method=method, keep=0.5)(images).shape == (2, 2)
    with pytest.raises(ValueError, match=r"the reducer wrong returns a score per token, \[2, 16\], not \[2, 16, 192\]"):
        dynvit.reduce(vit, method="wrong", keep=0.5)(images)


def test_transfer_resets_the_classifier_of_an_own_model(own, tmp_path):
    source = classify.Source(epochs=1, data=Data("leaves", image_size=8, options={"count": 20, "side": 8}))
    result = classify.run(
        config(source=source, train=dataclasses.replace(config().train, epochs=1)), NullContext(0, folder=tmp_path)
    )
    assert 0 <= result["metrics"]["source_top1"] <= 100


def test_no_own_metric_is_called_as_a_number_of_ours():
    scores = {name for place in ("result", "best", "last") for name in classify.METRICS[place]}
    assert scores <= set(OWN_SCORES)
