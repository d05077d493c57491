"""Transfer: one trial, two trainings. What is transferred and reported, and that interruptions change no number."""

import dataclasses

import pytest
import timm
import torch
from small_task import MODEL, Folder, config, fitted, numbers, register, replaced, undeclared

import dynvit.models  # noqa: F401
from dynvit.checkpoint.load import classifier_prefixes, transfer_weights
from dynvit.checkpoint.read import InitError
from dynvit.config.warnings import warnings
from dynvit.context import NullContext, Stopped
from dynvit.tasks.classify import (
    METRICS,
    Augment,
    Config,
    Data,
    Evaluation,
    Mix,
    Source,
    Teacher,
    Train,
    inspect,
    run,
    work,
)
from dynvit.train import loop
from dynvit.train import transfer as module
from dynvit.train.distributed import ProcessGroup
from dynvit.train.state import Clock, build

register()
FIVE = Data(image_size=8, labels=(0, 1, 2, 3, 4), limit=160, val_limit=50, augment=Augment(shift=1))
PER_SOURCE_EPOCH, PER_EPOCH = 6, 11  # boundaries: five or ten updates and the end of the epoch
SOURCE_END = 2 * PER_SOURCE_EPOCH
VIT = {"name": "vit_tiny_patch16_224", "embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 4}
STRONG = {"ema": 0.9, "mix": Mix(mixup=0.8, cutmix=1.0), "drop_path": 0.2, "accumulate": 2, "clip_grad": 1.0}


def transfer(epochs=2, source=2, data=FIVE, **train):
    return dataclasses.replace(config(epochs=epochs, **train), source=Source(source, data))


def resumed(options, folder, **first):
    """The numbers of two attempts, of which the first is stopped or killed, and the contexts of both."""
    contexts = [Folder(folder, **first), Folder(folder)]
    with pytest.raises((Stopped, KeyboardInterrupt)):
        run(options, contexts[0])
    return numbers(run(options, contexts[1]), *contexts), contexts


def source_weights(options):
    return module.train_source(options, NullContext(), ProcessGroup(NullContext()), Clock()).weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    context = Folder(tmp_path_factory.mktemp("undisturbed"))
    result = run(transfer(), context)
    return numbers(result, context), result, context


# ---- what is reported


def test_one_curve_under_two_kinds_of_keys(undisturbed):
    _, result, context = undisturbed
    assert undeclared(METRICS, result, context) == set()
    assert [step for step, _ in context.history] == [1, 2, 3, 4]
    for step, values in context.history:
        assert {key.startswith("source.") for key in values} == {step <= 2}
    assert "source.val.top1" in context.history[0][1]
    assert result["metrics"]["source_top1"] == context.history[1][1]["source.val.top1"]
    assert result["metrics"]["last"]["top1"] == context.history[3][1]["val.top1"]
    assert result["metrics"]["best"]["epoch"] in (1, 2)
    (line,) = context.logged
    assert line.startswith("from the source: loaded ")
    assert "kept at initialisation: head.weight, head.bias; unused in the source: head.weight, head.bias" not in line
    assert "kept at initialisation: head.weight, head.bias" in line


def test_seconds_are_of_all_attempts_at_both(tmp_path):
    spent = run(transfer(), NullContext())["cost"]["seconds"]
    with pytest.raises(Stopped):
        run(transfer(), Folder(tmp_path, stop_at=9))
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["progress"]["seconds"] = 1000.0
    torch.save(state, tmp_path / "last.pt")
    assert 0 < spent < 100
    with pytest.raises(Stopped):
        run(transfer(), Folder(tmp_path, stop_at=SOURCE_END - 9 + 3))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["stage"] == "target"
    assert 1000 < run(transfer(), Folder(tmp_path))["cost"]["seconds"] < 1100


def test_without_a_source_nothing_is_different(tmp_path):
    context = Folder(tmp_path, stop_at=5)
    with pytest.raises(Stopped):
        run(config(), context)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert "stage" not in state
    assert "source_top1" not in run(config(), Folder(tmp_path))["metrics"]


# ---- what is transferred


def test_everything_but_the_classifier_is_transferred(tmp_path):
    """With updates that change nothing: the weights behind the last epoch are those of the source's last."""
    options, context = transfer(source=1, lr=1e-2), NullContext()
    theirs = source_weights(options)
    model, _ = build(options, context)
    transfer_weights(model, theirs)
    ours, fresh = model.state_dict(), build(config(), context)[0].state_dict()
    for name, tensor in ours.items():
        if name.startswith("head."):
            assert torch.equal(tensor, fresh[name])  # that of the same seed without a source
        else:
            assert torch.equal(tensor, theirs[name]), name
    assert not torch.equal(ours["layers.0.weight"], fresh["layers.0.weight"])


def test_the_classifier_is_new_where_the_classes_are_as_many():
    one, other = (timm.create_model(MODEL, num_classes=5) for _ in range(2))
    before = other.head.weight.clone()
    assert transfer_weights(other, one.state_dict()).kept == ("head.weight", "head.bias")
    assert torch.equal(other.head.weight, before)
    assert torch.equal(other.place, one.place)


def test_the_average_is_transferred_if_it_is_what_is_evaluated():
    options = replaced(transfer(source=1, ema=0.5), "evaluation", weights="ema")
    trained = source_weights(replaced(options, "evaluation", weights="trained"))
    averaged = source_weights(options)
    state = fitted(module.source_config(options), NullContext())
    assert not torch.equal(trained["embed.weight"], averaged["embed.weight"])
    assert torch.equal(averaged["embed.weight"], state.ema.module.embed.weight)
    assert torch.equal(trained["embed.weight"], state.model.embed.weight)


def test_another_grid(tmp_path):
    options = transfer(epochs=1, source=1, data=dataclasses.replace(FIVE, image_size=16))
    options = dataclasses.replace(options, model=VIT, evaluation=Evaluation(timed_batches=1, traced_images=0))
    context = Folder(tmp_path)
    run(options, context)
    assert any("data.image_size 8: position tables are resampled" in text for text in context.logged)
    with pytest.raises(ValueError, match=r"source: weights of another size: place"):
        run(transfer(epochs=1, source=1, data=dataclasses.replace(FIVE, image_size=16)), NullContext())


SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3}
SWIN = {"img_size": 32, "window_size": 2, "embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)}
ONE_OF_EACH = {
    "avit_deit_tiny_patch16_224": SMALL,
    "dynamicvit_deit_tiny_patch16_224": SMALL,
    "evit_deit_tiny_patch16_224": SMALL,
    "evo_deit_tiny_patch16_224": SMALL,
    "evo_levit_128s": {},
    "lvvit_tiny": {"img_size": 64},
    "mor_vit_tiny_patch16_224": SMALL,
    "edge_recvit_tiny_patch16_224": SMALL,
    "sret_tiny": {"img_size": 64},
    "tome_deit_tiny_patch16_224": SMALL,
    "tpc_deit_tiny_patch16_224": SMALL,
    "tpc_swin_tiny_patch4_window7_224": SWIN,
    "deit_tiny_distilled_patch16_224": SMALL,
    "levit_128s": {},
    "swin_tiny_patch4_window7_224": SWIN,
    "tiny_vit_5m_224": {},
    "resnet18": {},
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_classifiers_of_every_method_are_known(name):
    """What is new is what depends on the number of classes, whether that differs or not."""
    first, model = (timm.create_model(name, num_classes=n, **ONE_OF_EACH[name]) for n in (5, 7))
    one, other = first.state_dict(), model.state_dict()
    differing = {key for key in one if one[key].shape != other[key].shape}
    made = set(transfer_weights(model, one).kept)
    assert differing <= made == {key for key in one if key.startswith(classifier_prefixes(model))}
    assert all(
        any(key.startswith(head) for key in differing) for head in classifier_prefixes(model)
    )  # none but classifiers


# ---- killed and resumed


@pytest.mark.parametrize(
    "stop_at",
    [1, PER_SOURCE_EPOCH, 9, SOURCE_END - 1, SOURCE_END, SOURCE_END + 1, SOURCE_END + PER_EPOCH, SOURCE_END + 15],
    ids=["first", "epoch", "inside", "last-update", "source-end", "target", "target-epoch", "target-inside"],
)
def test_stopped_and_resumed(tmp_path, undisturbed, stop_at):
    found, (first, second) = resumed(transfer(), tmp_path, stop_at=stop_at)
    assert found == undisturbed[0]
    assert [step for step, _ in first.history + second.history] == [1, 2, 3, 4]  # no epoch twice
    assert any(text.startswith("from the source") for text in second.logged) == (stop_at <= SOURCE_END)
    assert second.logged[0].startswith("source: resumed" if stop_at <= SOURCE_END else "resumed")


@pytest.mark.parametrize(("save_at", "crash_at"), [((4,), 9), ((4, SOURCE_END), SOURCE_END + 5), ((20,), 25)])
def test_killed_and_resumed_from_an_older_checkpoint(tmp_path, undisturbed, save_at, crash_at):
    found, contexts = resumed(transfer(), tmp_path, save_at=save_at, crash_at=crash_at)
    assert found == undisturbed[0]
    assert contexts[0].saved == len(save_at) + (crash_at > SOURCE_END)


def test_a_checkpoint_of_the_target_never_trains_the_source_again(tmp_path, monkeypatch, undisturbed):
    with pytest.raises(Stopped):
        run(transfer(), first := Folder(tmp_path, stop_at=SOURCE_END + 4))
    monkeypatch.setattr(module, "train_source", None)
    second = Folder(tmp_path)
    assert numbers(run(transfer(), second), first, second) == undisturbed[0]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["stage"] == "target"


def only_target(train_epoch, state, *rest):
    assert state.stage == "target"
    return train_epoch(state, *rest)


@pytest.mark.parametrize("crash_at", [SOURCE_END + 1, SOURCE_END + 10])
def test_the_end_of_the_source_is_kept(tmp_path, monkeypatch, undisturbed, crash_at):
    """Nothing was due before the kill, and still no update on the source is made again."""
    with pytest.raises(KeyboardInterrupt):
        run(transfer(), Folder(tmp_path, crash_at=crash_at))
    train_epoch = loop.train_epoch
    monkeypatch.setattr(loop, "train_epoch", lambda state, *rest: only_target(train_epoch, state, *rest))
    second = Folder(tmp_path)
    found = numbers(run(transfer(), second), second)
    assert found[0] == undisturbed[0][0]
    assert second.logged[0] == "source: resumed in epoch 3 after 0 batches"


def test_stopped_many_times(tmp_path, undisturbed):
    contexts, result = [], None
    while result is None:
        contexts.append(Folder(tmp_path, stop_at=4))
        try:
            result = run(transfer(), contexts[-1])
        except Stopped:
            continue
    assert len(contexts) > 8
    assert numbers(result, *contexts) == undisturbed[0]


@pytest.fixture(scope="module")
def everything():
    """The options, and the numbers of a training that nothing stops."""
    options = replaced(transfer(**STRONG), "evaluation", weights="ema")
    teacher = Teacher(model={"name": "test_resnet"}, epochs=1)
    options = dataclasses.replace(options, model=VIT, teacher=teacher)
    alone = NullContext()
    return options, numbers(run(options, alone), alone)


@pytest.mark.parametrize("stop_at", [7, SOURCE_END + 7])
def test_with_everything(tmp_path, everything, stop_at):
    options, expected = everything
    asked = stop_at + 5 + (10 if stop_at > SOURCE_END else 0)  # the teachers' updates ask as well
    assert resumed(options, tmp_path, stop_at=asked)[0] == expected


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a checkpoint at all"])
def test_damaged_checkpoint_starts_over(tmp_path, undisturbed, damage):
    (tmp_path / "last.pt").write_bytes(damage)
    context = Folder(tmp_path)
    assert numbers(run(transfer(), context), context) == undisturbed[0]
    assert "source: checkpoint last.pt is damaged, starting over" in context.logged[0]


# ---- refusals, warnings, forecast


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"source": Source(-1)}, "source.epochs must be >= 0 .*, got -1"),
        ({"source": Source(1)}, "train.warmup_epochs 2 is more than source.epochs 1"),
        ({"source": Source(2, Data(image_size=0))}, "source.data.image_size must be >= 1, got 0"),
        ({"source": Source(2, Data(augment=Augment(erasing=7.0)))}, "source.data.augment.erasing must be from 0 to 1"),
        ({"source": Source(5), "data": Data("cifar10")}, "digits has images of 1 channels, data cifar10 of 3"),
        ({"source": Source(5, Data(augment=Augment(repeats=0)))}, "source.data.augment.repeats must be >= 1"),
    ],
)
def test_settings_that_cannot_go_together(options, text):
    with pytest.raises(ValueError, match=text):
        Config(**options)


def test_cautions():
    assert list(warnings(Config(source=Source(5)))) == []
    assert list(warnings(Config(source=Source(0, Data("cifar100"))))) == []  # an axis may name it
    (unused,) = warnings(Config(source=Source(0, Data("cifar100", image_size=32))))
    assert unused == "source.data cifar100 is set and source.epochs is 0: nothing is trained on it"
    (augment,) = warnings(Config(source=Source(5), data=Data(augment=Augment(shift=1))))
    assert augment.startswith("source.data.augment is not data.augment")
    (size,) = warnings(Config(source=Source(5, Data(image_size=8))))
    assert size.endswith("position tables are resampled in between")


@pytest.mark.parametrize(("name", "sizes"), [("sret_tiny", (32, 64)), ("tpc_swin_tiny_patch4_window7_224", (112, 224))])
def test_tables_of_pyramids_are_resampled_too(name, sizes):
    first, second = (timm.create_model(name, img_size=size) for size in sizes)
    report = transfer_weights(second, first.state_dict())
    classifiers = {key for key in second.state_dict() if key.startswith(classifier_prefixes(second))}
    assert set(report.kept) == classifiers and not report.unused


def test_weights_of_another_width_are_refused():
    first, second = (timm.create_model("sret_tiny", img_size=32, base_dim=width) for width in (4, 8))
    with pytest.raises(InitError, match="source: weights of another size"):
        transfer_weights(second, first.state_dict())


def plain(options):
    return dataclasses.asdict(options)


def test_work_counts_both():
    alone = work(plain(Config(data=Data("cifar10", image_size=32), train=Train(epochs=10))))
    source = Source(4, Data("cifar100", image_size=32, labels=tuple(range(50))))
    both = work(plain(Config(data=Data("cifar10", image_size=32), train=Train(epochs=10), source=source)))
    assert both["images"] == alone["images"] + 4 * 25_000
    assert both["seen"] == alone["seen"] + 4 * 5_000
    assert both["alone"] == alone["alone"]
    assert both["steps"] == alone["steps"] + 4 * (25_000 // 32)
    assert both["held"] == alone["held"] == 60_000 * 3 * 32**2
    assert (both["classes"], both["size"]) == (10, 32)
    large = dataclasses.replace(source, data=Data("cifar100", image_size=64))
    more = work(plain(Config(data=Data("cifar10", image_size=32), train=Train(epochs=10), source=large)))
    assert more["images"] == alone["images"] + 4 * 4 * 50_000
    assert more["held"] == 4 * alone["held"]
    unknown = Source(1, Data("folder"))
    assert work(plain(Config(data=Data("cifar10"), train=Train(warmup_epochs=0), source=unknown)))["images"] is None
    few = work(plain(Config(data=Data(labels=(1, 2)))))
    assert (few["classes"], few["images"]) == (2, 15 * 287)


def test_data_check_of_some_classes():
    assert [text for _, text, _ in inspect(Config(data=FIVE))][1] == "validation: 180 images in 5 classes, 36 each"
