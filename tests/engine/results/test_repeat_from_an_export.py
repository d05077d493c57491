"""What an export says of itself holds: its commands run as they stand, its references are those of an RO-Crate."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote

import own_study
import pytest
from click.testing import CliRunner

from studies.engine.cli.main import cli
from studies.engine.storage.code_snapshot import root

REFERENCE = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
"""Letters of a URI reference (RFC 3986)."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a study with own task and imports, and with a table file whose name has a space."""
    place = tmp_path_factory.mktemp("export")
    file, results = own_study.write(place / "mine"), str(place / "results")
    file.write_text(file.read_text().replace(str(file.with_name("task.py")), "task.py"))
    (place / "my tables.yaml").write_text("study: own\n")
    with pytest.MonkeyPatch.context() as patch:
        for write in ("update", "close"):
            patch.setattr(f"studies.engine.tracking.mirror.Mirror.{write}", lambda self: True)
        export = ["export", "own", "-o", str(place / "own.zip"), "--spec", str(place / "my tables.yaml")]
        for words in (["run", str(file), "--on", "inline"], export):
            done = CliRunner().invoke(cli, [*words, "--results", results], standalone_mode=False)
            assert done.return_value == 0, done.output
    shutil.rmtree(place / "mine")
    with zipfile.ZipFile(place / "own.zip") as archive:
        archive.extractall(place / "out")
    return place / "out" / "own"


def commands(top: Path, head: str) -> list[str]:
    text = (top / "README.md").read_text().partition(f"## {head}\n")[2].partition("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def test_what_repeats_a_study_finds_its_own_code(opened: Path) -> None:
    planned = {trial["folder"] for trial in json.loads((opened / "plan.json").read_text())["trials"]}
    typed = commands(opened, "To repeat")
    assert len(typed) == 2
    lines = [typed[0], *(line.replace("python", sys.executable, 1).replace(" run ", " plan ") for line in typed[1:])]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root())}
    for line in lines:
        done = subprocess.run(
            f"{line} --json" if " plan " in line else line,
            shell=True, cwd=opened, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in planned), "the same trials"


def test_what_checks_it_names_the_table_file(opened: Path) -> None:
    words = shlex.split(commands(opened, "To check")[1])
    assert (opened / words[words.index("--spec") + 1]).is_file()


def test_every_reference_of_the_crate_is_one(opened: Path) -> None:
    graph = json.loads((opened / "ro-crate-metadata.json").read_text())["@graph"]
    assert [one["@id"] for one in graph if not REFERENCE.fullmatch(one["@id"])] == []
    files = [one["@id"] for one in graph if one["@type"] == "File"]
    assert "paper_tables/my%20tables.yaml" in files
    assert all((opened / unquote(name)).is_file() for name in files)
    (run,) = (one for one in graph if one["@id"] == "#run")
    assert {one["@id"] for one in run["object"]} <= set(files)
