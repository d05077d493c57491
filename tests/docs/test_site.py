"""The site builds without a warning, loads nothing from elsewhere, and its references have everything that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from doc_pages import ROOT

import dynvit
from paper_tables.schema.figures import FigureSpec
from studies.engine.cli.main import COMMANDS
from studies.engine.study.schema import StudyFile

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, user: dict[str, str]) -> Path:
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, env=user, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place


class Loads(HTMLParser):
    """Collects what a page loads when it is opened; a link to read on is not loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("stylesheet", "icon", "preload", "preconnect"):
            return
        if target := given.get(LOADING.get(tag, "")):
            self.found.append(target)


def loads(page: Path) -> list[str]:
    parser = Loads()
    parser.feed(page.read_text())
    return parser.found


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    found = {page: loads(page) for page in pages}
    assert len(pages) > 30 and all(found.values())
    assert [(page.name, one) for page, them in found.items() for one in them if re.match(r"(\w+:)?//", one)] == []
    styles = [
        file for file in site.rglob("*.css") if re.search(r"(@import|url\()\s*['\"]?(https?:)?//", file.read_text())
    ]
    assert styles == []


def test_what_a_page_loads_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for one in loads(page):
            path = unquote(one.partition("?")[0])
            if page.name != "404.html" and not one.startswith("data:"):
                assert (page.parent / path).resolve().is_file(), f"{page}: {one}"


def text(site: Path, page: str) -> str:
    return re.sub(r"<[^>]+>", "", (site / page).read_text())


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    page = text(site, "reference/command_line.html")
    assert [name for name in COMMANDS if f"studies {name}" not in page] == []
    assert "--until" in page and "--own-code" in page and "\\|" not in page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/python.html").read_text()
    assert [name for name in dynvit.__all__ if f'id="dynvit.{name}"' not in page] == []


def test_every_model_and_reducer_is_in_the_reference(site: Path) -> None:
    models, reducers = text(site, "reference/models.html"), text(site, "reference/reducers_options.html")
    assert [name for name in dynvit.list_models() if name not in models] == []
    assert [name for name in dynvit.list_reducers() if name not in reducers] == []


@pytest.mark.parametrize(
    ("task", "keys"), [("classify", ("train.lr", "data.augment.flip")), ("cost", ("timing.rounds",))]
)
def test_options_of_tasks_are_in_the_reference(task: str, keys: tuple[str, ...], site: Path) -> None:
    page = text(site, f"reference/task_{task}.html")
    assert [key for key in keys if key not in page] == []


def test_every_key_of_a_study_file_is_described(site: Path) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", (site / "reference/study_file.html").read_text(), re.S)
    cells = [[re.sub(r"<[^>]+>", "", c).strip() for c in re.findall(r"<td>(.*?)</td>", row, re.S)] for row in rows]
    meaning = {row[0]: row[3] for row in cells if row}
    assert set(StudyFile.__dataclass_fields__) <= set(meaning)
    assert [key for key in StudyFile.__dataclass_fields__ if not meaning[key]] == []


def test_every_kind_of_figure_is_in_the_reference_of_table_files(site: Path) -> None:
    page = text(site, "reference/table_file.html")
    assert "known_notes" not in page and 'id="fault"' not in (site / "reference/table_file.html").read_text()
    names = [kind.__name__ for kind in FigureSpec.__subclasses__()]
    assert len(names) > 5 and [name for name in (*names, "Condition", "ComparisonTable") if name not in page] == []
