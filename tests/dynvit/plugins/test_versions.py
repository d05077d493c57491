"""Two versions of own code in one process, as a notebook has them: none gets modules or names of the other."""

import importlib
import os
import subprocess
import sys

import own_code
import pytest
import timm
from own_code import write

from dynvit import plugins
from dynvit.config.extensions import LOSSES

LATE = """
import dynvit
@dynvit.register_loss("own")
def own(logits, target):
    from parts import VERSION
    return VERSION
"""
EARLY = """
import dynvit
from parts import VERSION
@dynvit.register_loss("own")
def own(logits, target, version=VERSION):
    return VERSION
"""
MAIN = """
if __name__ == "__main__":
    import sys
    from dynvit import plugins
    plugins.load(sys.argv[1:])
    print(dynvit.config.extensions.LOSSES["own"].make(0, 0))
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Own code and what it imports, imported by name from the folder where a person works."""
    write(tmp_path / "work", mine=EARLY + own_code.MODEL, parts="VERSION = 'work'")
    monkeypatch.syspath_prepend(str(tmp_path / "work"))
    before = LOSSES.copy()
    mine = importlib.import_module("mine")
    yield mine
    for name in ("mine", "parts"):
        sys.modules.pop(name, None)
    plugins.load([])
    plugins.tables.drop({"loss": LOSSES.keys() - before.keys(), "model": ["mynet_tiny"]})


def test_what_a_function_imports_is_of_its_version(tmp_path):
    for version in (1, 2, 1, 2):
        folder = tmp_path / f"v{version}"
        plugins.load(write(folder, mine=LATE, parts=f"VERSION = {version}")[:1])
        assert LOSSES["own"].make(None, None) == version
    plugins.load([])
    assert "parts" not in sys.modules


def test_an_edit_of_what_a_function_has_imported_counts(tmp_path):
    for version in ("one", "three", "eleven"):
        plugins.load(write(tmp_path, mine=LATE, parts=f"VERSION = {version!r}")[:1])
        assert LOSSES["own"].make(None, None) == version


def test_modules_are_those_of_the_folders_that_are_searched_first(tmp_path):
    for version in (1, 2, 1):
        folder = tmp_path / f"v{version}"
        write(folder / "mypkg", __init__="", losses=EARLY)
        write(folder, parts=f"VERSION = {version}")
        plugins.load(["mypkg.losses"], [str(folder)])
        assert LOSSES["own"].options["version"].default == LOSSES["own"].make(None, None) == version
    plugins.load([])
    assert not {str(tmp_path / "v1"), str(tmp_path / "v2")} & set(sys.path)


@pytest.mark.filterwarnings("error:Overwriting")
def test_what_was_imported_by_name_stays_out_of_another_version(tmp_path, imported):
    parts = sys.modules["parts"]
    copy = write(tmp_path / "copy", mine=EARLY + own_code.MODEL, parts="VERSION = 'copy'")[0]
    for _ in range(2):
        plugins.load([copy])
        assert LOSSES["own"].options["version"].default == "copy"
        assert timm.model_entrypoint("mynet_tiny") is not imported.mynet_tiny
        plugins.load([])
        assert (sys.modules["mine"], sys.modules["parts"]) == (imported, parts)
        assert LOSSES["own"].make is imported.own and timm.model_entrypoint("mynet_tiny") is imported.mynet_tiny


def test_a_version_that_fails_leaves_the_imported_one(tmp_path, imported):
    copy = write(tmp_path / "copy", mine=EARLY + "1 / 0\n", parts="VERSION = 'copy'")[0]
    with pytest.raises(plugins.PluginError, match=r"mine\.py, line 7: ZeroDivisionError"):
        plugins.load([copy])
    assert sys.modules["mine"] is imported and LOSSES["own"].make is imported.own


def test_a_program_loads_a_copy_of_itself(tmp_path):
    copy, _ = write(tmp_path / "copy", mine=EARLY, parts="VERSION = 'copy'")
    program, _ = write(tmp_path / "work", mine=EARLY + MAIN, parts="VERSION = 'work'")
    done = subprocess.run([sys.executable, program, copy], capture_output=True, text=True, env=os.environ)
    assert done.stdout == "copy\n", done.stderr


def test_files_of_one_name_in_several_folders_are_all_imported(tmp_path):
    files = []
    for folder in ("a", "b", "c"):
        source = f"import dynvit\n@dynvit.register_loss('of_{folder}')\ndef own(logits, target): ...\n"
        files += write(tmp_path / folder, **{"losses": source, "my-code": source.replace("of_", "my_")})
    plugins.load(files)
    assert sorted(LOSSES) == ["my_a", "my_b", "my_c", "of_a", "of_b", "of_c"]
