"""docs/bring_your_own.md, block by block, in an empty folder, with the package installed from a wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bring_your_own.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with this tree's wheel, and what it needs from the environment of the tests."""
    place = tmp_path_factory.mktemp("installed")
    tree = place / "tree"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    parts = ("dynvit", "studies", "paper_tables", "pyproject.toml", "README.md", "LICENSE")
    for name in (name for name in files if name.split("/")[0] in parts and (ROOT / name).is_file()):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    code = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run([sys.executable, "-c", code, str(place)], cwd=tree, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    venv.create(place / "venv", with_pip=False)
    (site,) = (place / "venv" / "lib").glob("python*/site-packages")
    ours = next(Path(folder) for folder in sys.path if folder.endswith("site-packages"))
    (site / "needed.pth").write_text(f"{ours}\n")  # after this folder: the wheel's packages come first
    install = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])"
    wheel = place / built.stdout.strip().splitlines()[-1]
    subprocess.run([sys.executable, "-c", install, str(wheel), str(site)], check=True)
    python = place / "venv" / "bin" / "python"
    script = place / "venv" / "bin" / "studies"
    script.write_text(f"#!{python}\nimport sys\nfrom studies.engine.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return place / "venv"


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with the lines of its output that the page shows."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append(line)
    return found


@pytest.mark.slow
def test_every_block_does_what_the_page_says(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "DYNVIT"))}
    environment |= {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}", "DYNVIT_CACHE": str(tmp_path / "cache")}
    environment |= {"VIRTUAL_ENV": str(installed), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    ran = 0
    for kind, title, body in BLOCK.findall(PAGE.read_text()):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(body)
        for command, expected in commands(body) if kind == "console" else ():
            done = subprocess.run(
                ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=800
            )
            printed, wrong = done.stdout + done.stderr, any(line.startswith("--set ") for line in expected)
            assert done.returncode == (2 if wrong else 0), f"$ {command}\n{printed}"
            shown = iter(printed.splitlines())
            for line in expected:  # in this order; a line of the page is the beginning of one that is printed
                assert any(text.startswith(line) for text in shown), f"$ {command}\n{printed}\nlacks: {line}"
            ran += 1
    where = "import dynvit; print(dynvit.__file__)"
    used = subprocess.run([installed / "bin" / "python", "-c", where], cwd=folder, env=environment, capture_output=True)
    assert str(installed) in used.stdout.decode()
    assert ran == 13
    assert "Balanced accuracy" in (folder / "results/leaves/tables/width.tex").read_text()
