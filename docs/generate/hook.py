"""What mkdocs calls while it builds: pages from files outside docs/, generated tables, links that a site can have."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the packages that the references are made from

import command_line  # noqa: E402
import file_formats  # noqa: E402
import model_options  # noqa: E402
import notebook  # noqa: E402
import python_api  # noqa: E402

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "paper_tables/README.md": "reference/table_file.md",
    "results/example/claims.md": "example/claims.md",
    "docs/notebooks/results.ipynb": "notebooks/results.md",
}
"""Files outside docs/ that are pages of the site."""
ORIGINS = {page: file for file, page in PAGES.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
MARK = re.compile(r"^<!-- generate: (\w+)(?: ([\w ]+))? -->$", re.M)
TABLES = {
    "study_file": file_formats.study_file,
    "table_file": file_formats.table_file,
    "task": model_options.task,
    "models": model_options.models,
    "reducers": model_options.reducers,
    "commands": command_line.commands,
    "python": python_api.python,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are files elsewhere, and the pictures that they show."""
    for file, page in PAGES.items():
        text = (ROOT / file).read_text()
        if file.endswith(".ipynb"):
            text = notebook.page(text, Path(file).name)
        if page == "index.md":
            text = f"---\nhide: [navigation]\n---\n\n{text}"
        if page == "reference/table_file.md":
            text += file_formats.TABLE_FILE_MARK
        files.append(File.generated(config, page, content=text))
    for file in (*PAGES, *(path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*.md")))):
        for picture in (match[3] for match in LINK.finditer((ROOT / file).read_text()) if match[1]):
            place = ((ROOT / file).parent / picture).resolve()
            files.append(File.generated(config, _picture(place), abs_src_path=str(place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in generated tables; lead links to pages of the site, and take those to other files away."""
    uri = page.file.src_uri
    markdown = LINK.sub(lambda match: _link(match, uri), markdown)
    return MARK.sub(lambda match: TABLES[match[1]](*(match[2] or "").split()), markdown)


def _link(match: re.Match[str], uri: str) -> str:
    picture, text, target = match.groups()
    path, sharp, anchor = target.partition("#")
    if not path or "://" in path:
        return match[0]
    place = (ROOT / ORIGINS.get(uri, f"docs/{uri}")).parent / path
    found = _page(place.resolve().relative_to(ROOT))
    if picture:
        found = _picture(place.resolve())
    if found is None:
        return text
    up = "../" * uri.count("/")
    return f"{picture}[{text}]({up}{found}{sharp}{anchor})"


def _page(file: Path) -> str | None:
    """Return the page that a file of the repository is, None where it is none."""
    name = file.as_posix()
    return PAGES.get(name) or (name.removeprefix("docs/") if name.startswith("docs/") else None)


def _picture(place: Path) -> str:
    return f"pictures/{place.relative_to(ROOT).as_posix()}"
