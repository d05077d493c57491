"""Own files and modules: loaded once per content, replaced when edited, forgotten when no longer asked for."""

import pickle
import sys

import own_code
import pytest
import timm

import dynvit
from dynvit import plugins
from dynvit.config.extensions import DATA_SETS, LOSSES, METRICS
from dynvit.plugins import PluginError
from dynvit.plugins.modules import blame


def test_files_register_models_data_sets_losses_metrics_and_reducers(tmp_path):
    plugins.load(own_code.write(tmp_path))
    assert timm.is_model("mynet_tiny")
    assert (list(DATA_SETS), list(LOSSES), list(METRICS)) == (["leaves"], ["poly1"], ["balanced_accuracy"])
    assert "norms" in dynvit.list_reducers()
    plugins.load([])
    assert not timm.is_model("mynet_tiny") and "mynet_tiny" not in timm.list_models(module="my_models")
    assert not (DATA_SETS or LOSSES or METRICS) and "norms" not in dynvit.list_reducers()
    assert "my_models" not in sys.modules and str(tmp_path) not in sys.path


def test_the_same_content_runs_once(tmp_path):
    counting = "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n" + own_code.LOSS
    files, others = (
        own_code.write(tmp_path, counted=counting),
        own_code.write(tmp_path / "b", my_metric=own_code.METRIC),
    )
    import builtins

    for imports in (files, files, others, files):
        plugins.load(imports)
        assert ("poly1" in LOSSES) == (imports == files)
    assert builtins.runs == 1
    del builtins.runs


def test_an_edited_file_replaces_what_it_registered(tmp_path):
    files = own_code.write(tmp_path, my_loss=own_code.LOSS)
    plugins.load(files)
    own_code.write(tmp_path, my_loss=own_code.LOSS.replace("poly1", "poly2").replace("= 1.0", "= 3.0"))
    plugins.load(files)
    assert list(LOSSES) == ["poly2"]
    assert LOSSES["poly2"].options["epsilon"].default == 3.0


def test_an_edit_of_a_file_beside_it_counts_too(tmp_path):
    source = "import dynvit\nfrom values import LIMIT\n@dynvit.register_loss('own')\ndef own(a, b, limit=LIMIT): ...\n"
    files = own_code.write(tmp_path, mine=source)
    for limit in (111, 222):
        own_code.write(tmp_path, values=f"LIMIT = {limit}")
        plugins.load(files)
        assert LOSSES["own"].options["limit"].default == limit
    assert not list(tmp_path.rglob("*.pyc"))


def test_two_folders_may_have_files_of_the_same_name(tmp_path):
    for folder in ("a", "b", "a"):
        source = "import values, dynvit\n@dynvit.register_loss('own')\ndef own(a, b, where=values.WHERE): ...\n"
        plugins.load(own_code.write(tmp_path / folder, values=f"WHERE = {folder!r}", mine=source)[1:])
        assert LOSSES["own"].options["where"].default == folder


def test_files_import_each_other_and_what_they_define_can_be_pickled(tmp_path):
    source = "from my_models import MyNet\nclass Child(MyNet): ...\n"
    plugins.load(own_code.write(tmp_path, my_models=own_code.MODEL, child=source))
    child = sys.modules["child"].Child(width=4)
    assert type(pickle.loads(pickle.dumps(child))) is sys.modules["child"].Child
    assert isinstance(child, sys.modules["my_models"].MyNet)


def test_a_file_may_have_the_name_of_a_library(tmp_path):
    plugins.load(own_code.write(tmp_path, random=own_code.LOSS, timm=own_code.METRIC))
    assert list(LOSSES) == ["poly1"] and list(METRICS) == ["balanced_accuracy"]
    assert sys.modules["timm"].__version__


def test_an_installed_module(tmp_path, monkeypatch):
    own_code.write(
        tmp_path / "mypkg", __init__="", losses="from .values import VALUE\n" + own_code.LOSS, values="VALUE = 1"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.load(["mypkg.losses"])
    assert plugins.origins("loss") == {"poly1": "mypkg.losses"}
    own_code.write(tmp_path / "mypkg", values="VALUE = 2")
    plugins.load(["mypkg.losses"])
    assert sys.modules["mypkg.losses"].VALUE == 2


NET = "import dynvit\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(self, dim=8): ...\n"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import dynvit\nx = undefined\n", r"mine\.py, line 2: NameError: name 'undefined' is not defined"),
        ("import dynvit\ndef f(:\n", r"mine\.py, line 2: SyntaxError: "),
        ("import nothing_like_it\n", r"mine\.py, line 1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("import sys\nsys.exit(3)\n", r"mine\.py, line 2: ends the program when it is imported"),
        ("import broken\n", r"mine\.py, in .*broken\.py, line 1: ZeroDivisionError: division by zero"),
        (
            "from timm.models import register_model\n@register_model\ndef vit_tiny_patch16_224(): ...\n",
            r"mine\.py: registers the model vit_tiny_patch16_224, which timm has",
        ),
        (
            "import dynvit\ndynvit.register(type('Net', (), {'__module__': __name__}), {'evo_levit_128': {}})\n",
            r"mine\.py, line 2: there is a model evo_levit_128 already, of dynvit\.models",
        ),
        (
            "import dynvit\n@dynvit.register_metric('gflops')\ndef f(logits, targets): ...\n",
            r"mine\.py, line 2: dynvit has a metric gflops of its own",
        ),
        (
            "import dynvit\n@dynvit.register_dataset('cifar10')\ndef f(): ...\n",
            r"mine\.py, line 2: dynvit has a data set cifar10 of its own",
        ),
        (
            "import dynvit\n@dynvit.register_reducer('tome')\ndef f(tokens): ...\n",
            r"mine\.py, line 2: there is a token reducer tome already",
        ),
        (
            "import dynvit\n@dynvit.register_dataset('leaves')\ndef f(limit=3): ...\n",
            r"mine\.py, line 2: the data set leaves cannot have an option limit",
        ),
        *(
            (
                f"import dynvit\n@dynvit.register_dataset('leaves', {key}={value!r})\ndef f(): ...\n",
                rf"mine\.py, line 2: the data set leaves has {key}.*, not {value!r}$",
            )
            for key, values in {"channels": (4, "1", True), "classes": ("3", 0, 2.5)}.items()
            for value in values
        ),
        (
            "import dynvit\n@dynvit.register_loss('own')\ndef f(a, b, **more): ...\n",
            r"mine\.py, line 2: the loss own takes \*\*more, which cannot be checked",
        ),
        (
            "import dynvit\n@dynvit.register_metric('own')\ndef f(a): ...\n",
            r"mine\.py, line 2: the metric own is a function of two arguments",
        ),
        *(
            (
                f"import dynvit\n@dynvit.register_{kind}\ndef own(a, b): ...\n",
                rf"mine\.py, line 2: write @dynvit\.register_{kind}\(\"own\"\): the decorator needs a name",
            )
            for kind in ("dataset", "loss", "metric", "reducer")
        ),
        (
            f"{NET}dynvit.register(Net, {{'own': {{'dimm': 4}}}})\n",
            r"mine\.py, line 5: TypeError: own has no option 'dimm' \(did you mean 'dim'\?\); it takes dim",
        ),
        (
            f"{NET}dynvit.register(Net, 'own')\n",
            r"mine\.py, line 5: variants are names with .* not 'own'",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Overwriting")
def test_an_error_names_entry_and_line_and_leaves_nothing_behind(tmp_path, source, text):
    own_code.write(tmp_path, broken="1 / 0\n", my_loss=own_code.LOSS)
    before = timm.model_entrypoint("vit_tiny_patch16_224"), dynvit.list_reducers()
    with pytest.raises(PluginError, match=text):
        plugins.load([str(tmp_path / "my_loss.py"), *own_code.write(tmp_path, mine=source)])
    assert (timm.model_entrypoint("vit_tiny_patch16_224"), dynvit.list_reducers()) == before
    assert not LOSSES and not {"mine", "my_loss", "broken"} & set(sys.modules)


def test_two_files_cannot_register_the_same_name(tmp_path):
    with pytest.raises(
        PluginError, match=r"other\.py, line 6: the loss poly1 is registered already, by my_loss\.poly1"
    ):
        plugins.load(own_code.write(tmp_path, my_loss=own_code.LOSS, other=own_code.LOSS))


@pytest.mark.parametrize(
    "source", ["import sys\nsys.exit(3)\n", "import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n"]
)
def test_a_file_that_ends_the_program(tmp_path, source):
    with pytest.raises(PluginError, match=r"mine\.py, line 2: ends the program when .* under `if __name__ == \"__main"):
        plugins.load(own_code.write(tmp_path, mine=source))


def test_a_missing_file_and_a_missing_module(tmp_path):
    with pytest.raises(PluginError, match=r"gone\.py: FileNotFoundError: no file .*gone\.py"):
        plugins.load([str(tmp_path / "gone.py")])
    with pytest.raises(PluginError, match=r"gone\.data: ModuleNotFoundError: No module named 'gone'"):
        plugins.load(["gone.data"])


def test_what_is_defined_anew_in_a_notebook_replaces_itself():
    try:
        for epsilon in (1.0, 2.0):

            @dynvit.register_loss("cell")
            def cell(logits, target, epsilon=epsilon): ...

        assert LOSSES["cell"].options["epsilon"].default == 2.0
        with pytest.raises(ValueError, match="the loss cell is registered already"):
            dynvit.register_loss("cell")(lambda logits, target: None)
    finally:
        del LOSSES["cell"]


def test_what_no_file_has_is_no_place(tmp_path, monkeypatch):
    """A dataclass's own __init__ is in `<string>`, which is no file of the current folder."""
    monkeypatch.chdir(tmp_path)
    source = (
        "from dataclasses import dataclass\n\n@dataclass\nclass Own:\n    keep: float\n\n    def __post_init__(self):\n"
    )
    (tmp_path / "mine.py").write_text(source + "        raise ValueError('keep')\n")
    space: dict[str, type] = {"__name__": __name__}
    exec(compile((tmp_path / "mine.py").read_text(), str(tmp_path / "mine.py"), "exec"), space)
    for keep, said in (((2.0,), "mine.py, line 8: ValueError: keep"), ((), "TypeError: ")):
        with pytest.raises((ValueError, TypeError)) as caught:
            space["Own"](*keep)
        assert blame(space["Own"].__post_init__, caught.value).startswith(said)
    with pytest.raises(ValueError, match="other") as caught:
        exec("raise ValueError('other')")
    assert blame(space["Own"].__init__, caught.value) == "ValueError: other"
