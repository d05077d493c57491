"""Commands, code, links and error messages in README and docs/ are those that there are."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import click
import pytest
import yaml
from doc_pages import ROOT, Block, blocks, pages

from studies.engine.cli.main import COMMANDS, cli

CALL = re.compile(r"^(?:\$ )?(?:\w+=\S+ )*(?:python -m )?studies (.*)$")
SHELL = ("", "bash", "console")


def commands() -> list[tuple[str, str]]:
    found = []
    for page in pages():
        for block in blocks(page):
            calls = (CALL.match(line.strip()) for line in block.text.splitlines() if block.language in SHELL)
            found += [(page.name, call[1]) for call in calls if call]
    return found


def test_every_command_in_the_docs_is_one_that_the_command_line_takes() -> None:
    found = commands()
    assert len(found) > 40
    for page, line in found:
        name, *arguments = shlex.split(line, comments=True)
        assert name in COMMANDS, f"{page}: studies {line}"
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        try:
            command.make_context(name, arguments)
        except click.ClickException as error:
            pytest.fail(f"{page}: studies {line}: {error.message}")


def python_blocks() -> list[Block]:
    return [
        block for page in pages() for block in blocks(page) if block.language == "python" and "print(" in block.text
    ]


@pytest.mark.slow
@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: block.page)
def test_python_in_the_docs_runs(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.text, block.page, "exec"), {})
    assert capsys.readouterr().out


def test_python_blocks_are_found_and_one_reduces_a_clip_model() -> None:
    found = python_blocks()
    assert len(found) >= 4
    assert any("vit_base_patch16_clip_224" in block.text and "dynvit.reduce" in block.text for block in found)


def test_every_link_leads_to_a_file() -> None:
    for page in [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "paper_tables" / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


@cache
def said() -> str:
    """Every text in the sources, the fixed parts of f-strings among them."""
    files = [file for package in ("studies", "dynvit", "paper_tables") for file in (ROOT / package).rglob("*.py")]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def messages() -> list[str]:
    return re.findall(r"^### `(.*?)`", (ROOT / "docs" / "troubleshooting.md").read_text(), re.M)


def test_the_twenty_likeliest_errors_are_explained() -> None:
    assert len(messages()) >= 20


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_that_the_code_has(message: str) -> None:
    """Words in capitals stand for names and numbers."""
    pieces = [piece.strip() for piece in re.split(r"\b(?:[A-Z]{2,}|N)\b", message)]
    pieces = [piece for piece in pieces if len(piece) > 2]
    assert pieces and [piece for piece in pieces if piece not in said()] == []


def test_the_citation_names_this_version_and_the_four_papers() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["authors"] and cited["title"]
    assert f'version = "{cited["version"]}"' in project and f'license = "{cited["license"]}"' in project
    papers = {one["identifiers"][0]["value"].removeprefix("arXiv:") for one in cited["references"]}
    claims = (ROOT / "paper_tables" / "claims.yaml").read_text()
    assert papers <= set(re.findall(r"arXiv (\d{4}\.\d{5})", claims)) and len(papers) == 4
    assert all(one["type"] and one["title"] and one["authors"] for one in cited["references"])


def test_the_readme_is_a_screen_and_a_half() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 90
    assert any("results/example/redundancy_ablation/figures" in line for line in lines)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_page_is_in_the_navigation(page: Path) -> None:
    if page.parent != ROOT:
        assert page.relative_to(ROOT / "docs").as_posix() in (ROOT / "mkdocs.yml").read_text()
