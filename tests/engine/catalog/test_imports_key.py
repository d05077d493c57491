"""`imports:` of a study file: which files and modules they bring along, and what is said of those that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from studies.engine.catalog import own_code
from studies.engine.core.own_code import OwnCode


def write(folder: Path, **files: str) -> None:
    """Names of files with __ for / and without .py."""
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def found(folder: Path, *imports: str) -> OwnCode:
    problems: dict[int, str] = {}
    own = own_code.find(imports, folder, problems)
    assert own is not None and not problems, problems
    return own


def problem(folder: Path, *imports: str) -> str:
    problems: dict[int, str] = {}
    own_code.find(imports, folder, problems)
    return problems[len(imports) - 1]


def test_a_study_without_imports_has_no_own_code(tmp_path: Path) -> None:
    assert own_code.find((), tmp_path, {}) is None


def test_a_file_brings_along_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    write(tmp_path, nets="import helper, json\nfrom blocks.deep import x", helper="def f():\n    import late")
    write(tmp_path, late="import torch", other="", blocks__INIT="", blocks__deep="from . import wide", blocks__wide="")
    own = found(tmp_path, "nets.py")
    assert own.imports == ("nets.py",)
    assert sorted(own.bodies) == [
        "blocks/__init__.py", "blocks/deep.py", "blocks/wide.py", "helper.py", "late.py", "nets.py"
    ]  # fmt: skip
    assert own.locations == [str(tmp_path / "nets.py")]
    assert own.folders == {"": tmp_path}


def test_a_package_without_init_is_followed_along_its_dotted_name(tmp_path: Path) -> None:
    write(tmp_path, nets="from lab.parts import block", lab__parts__block="", lab__unused__far="", lab__near="")
    assert sorted(found(tmp_path, "nets.py").bodies) == ["lab/near.py", "lab/parts/block.py", "nets.py"]


def test_files_above_and_below_the_study(tmp_path: Path) -> None:
    write(tmp_path, shared__nets="import beside", shared__beside="", study__sub__data="")
    own = found(tmp_path / "study", "../shared/nets.py", "sub/data.py")
    assert own.imports == ("_up/shared/nets.py", "sub/data.py")
    assert sorted(own.bodies) == ["_up/shared/beside.py", "_up/shared/nets.py", "sub/data.py"]
    assert own.folders == {"_up/shared": tmp_path / "shared", "sub": tmp_path / "study" / "sub"}


def test_a_module_beside_the_study_and_one_that_is_installed_outside_of_site_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "study", mypkg__INIT="", mypkg__data="import lab_of_mine")
    write(tmp_path / "src", lab_of_mine__INIT="", lab_of_mine__deep__INIT="", lab_of_mine__images__not_a_package="")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "src")])
    own = found(tmp_path / "study", "mypkg.data", "timm.layers")
    assert own.imports == ("mypkg.data", "timm.layers")
    assert sorted(own.bodies) == [
        "_modules/lab_of_mine/lab_of_mine/__init__.py",
        "_modules/lab_of_mine/lab_of_mine/deep/__init__.py",
        "mypkg/__init__.py",
        "mypkg/data.py",
    ]
    assert list(own.installed) == ["timm"]


def test_what_has_changed_is_named(tmp_path: Path) -> None:
    write(tmp_path, nets="import helper", helper="A = 1")
    before = found(tmp_path, "nets.py")
    assert before.changes(before.record) == []
    write(tmp_path, helper="import third", third="")
    after = found(tmp_path, "nets.py")
    assert after.fingerprint != before.fingerprint
    assert after.changes(before.record) == ["helper.py", "third.py (new)"]
    assert before.changes(after.record) == ["helper.py", "third.py (no longer imported)"]


def test_the_place_of_the_folder_does_not_matter(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, nets="import helper", helper="")
    assert found(tmp_path / "one", "nets.py").fingerprint == found(tmp_path / "two", "nets.py").fingerprint


def test_wrong_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, my_models="", broken="def f(:\n", uses="import broken", mypkg__INIT="", mypkg__data="")
    (tmp_path / "notes.txt").write_text("")
    assert problem(
        tmp_path, "my_model.py"
    ) == f'no file my_model.py in {tmp_path}, did you mean "my_models.py"?'.replace(str(tmp_path), ".")
    assert "is a folder" in problem(tmp_path, "mypkg/")
    assert problem(tmp_path, "./notes.txt") == "./notes.txt is not a Python file: its name does not end in .py"
    assert problem(tmp_path, "notes.txt") == "notes.txt is not a Python file: its name does not end in .py"
    assert problem(tmp_path, "my_models.py", "my_models.py") == "my_models.py twice"
    assert problem(tmp_path, "broken.py") == "broken.py line 1: invalid syntax"
    assert problem(tmp_path, "uses.py") == "broken.py line 1: invalid syntax"
    assert problem(tmp_path, "my_modles") == (
        'no module my_modles, neither in . nor installed, did you mean "my_models"?'
    )
    assert problem(tmp_path, "mypkg.dat") == "no module mypkg.dat: mypkg has no dat"
    assert problem(tmp_path, "my models") == "my models is neither a file, which ends in .py, nor the name of a module"


@pytest.mark.parametrize("own", ["torch", "yaml__INIT", "random", "dynvit"])
@pytest.mark.parametrize("imports", ["nets.py", "nets"])
def test_a_file_beside_that_hides_a_package_or_a_module_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, imports: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, nets="import dynvit.layers", **{own: ""})
    name = own.partition("__")[0]
    file, what = ("yaml" if name == "yaml" else f"{name}.py"), f"the package {name}"
    said = "Python's own module random" if name == "random" else what
    assert problem(tmp_path, imports) == f"{file} hides {said}: rename it"


@pytest.mark.parametrize("name", ["torch", "dynvit", "types"])
def test_an_entry_that_hides_a_package(tmp_path: Path, name: str) -> None:
    write(tmp_path, **{name: ""})
    assert f"{name}.py hides " in problem(tmp_path, f"{name}.py")


def test_own_names_that_hide_nothing_which_is_needed(tmp_path: Path) -> None:
    write(tmp_path, nets="import dynvit, pytest, metrics", pytest="", studies="", metrics="")
    assert sorted(found(tmp_path, "nets.py").bodies) == ["metrics.py", "nets.py", "pytest.py"]


def test_a_study_at_the_root_of_a_checkout_does_not_copy_our_packages(tmp_path: Path) -> None:
    write(
        tmp_path,
        nets="import dynvit.layers",
        dynvit__INIT="",
        dynvit__layers="",
        studies__INIT="",
        paper_tables__INIT="",
    )
    assert list(found(tmp_path, "nets.py").bodies) == ["nets.py"]


def test_a_folder_of_a_package_without_init_comes_along_where_it_is_imported(tmp_path: Path) -> None:
    write(tmp_path, lab__INIT="from .parts import block", lab__notes__x="= no Python")
    write(tmp_path, lab__parts__block="from ..more.deep import y", lab__sub__nets="import near", near="")
    write(tmp_path, lab__more__deep__y="from . import z", lab__more__deep__z="")
    inside = ["lab/__init__.py", "lab/more/deep/y.py", "lab/more/deep/z.py", "lab/parts/block.py"]
    assert sorted(found(tmp_path, "lab").bodies) == inside
    assert sorted(found(tmp_path, "lab.sub.nets").bodies) == [*inside, "lab/sub/nets.py", "near.py"]
