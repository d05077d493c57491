"""Report and index in headless Chromium: silent console, no request, sorting, links, zoom, keyboard, contrast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import synthetic_cost
import synthetic_frame
from browser import Browser

from paper_tables import build
from paper_tables.site.index import write_index

SPEC = Path(__file__).parents[1] / "support" / "compared.yaml"
CONTRAST = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(element.tagName) || !element.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(element.tagName + "." + element.className + " " + ratio.toFixed(2));
  }
  return [...new Set(low)];
})()
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    synthetic_cost.study(root / "cost")
    folder = synthetic_frame.study(root / "redundancy_ablation")
    trials = synthetic_frame.frames()[0]["trial"]
    runs = {trial: {"run": f"run{i}"} for i, trial in enumerate(trials)}
    mirror = {"uri": "http://me:secret@tracking.example:5000/", "token": "", "trials": runs}
    (folder / ".mirror.json").write_text(json.dumps(mirror))
    build(synthetic_frame.study(root / "redundancy_ablation@gpu"))
    build(folder, SPEC)
    write_index(root)
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def report(browser: Browser, results: Path) -> Iterator[Browser]:
    browser.said.clear()
    browser.asked.clear()
    browser.open(results / "redundancy_ablation" / "report.html")
    yield browser
    outside = [url for url in browser.asked if not url.startswith(("file:", "data:"))]
    assert (browser.said, outside) == ([], [])


def column(browser: Browser, table: str, index: int) -> list[str]:
    rows = f"[...document.querySelectorAll('#{table} tbody tr:not(.group)')]"
    return list(browser.run(f"{rows}.map(r => r.cells[{index}].textContent)"))


def test_a_click_sorts(report: Browser) -> None:
    before = column(report, "trial-list", 5)
    heads = "document.querySelectorAll('#trial-list tr.heads button')"
    report.run(f"{heads}[5].click()")
    assert column(report, "trial-list", 5) == sorted(before, key=float)
    assert report.run(f"{heads}[5].parentElement.ariaSort") == "ascending"
    report.run(f"{heads}[5].click()")
    assert column(report, "trial-list", 5) == sorted(before, key=float, reverse=True)
    report.run("document.querySelectorAll('#table-models tr.heads button')[3].click()")  # in groups, blanks last
    assert column(report, "table-models", 3) == ["22", "28", "4.8", "21.0", "—", "23.2", "—"]


def test_sorting_by_keyboard(report: Browser) -> None:
    report.run("document.querySelectorAll('#trial-list tr.heads button')[3].focus()")
    report.press("Enter", 13, "\r")
    seeds = column(report, "trial-list", 3)
    assert seeds == sorted(seeds)
    assert report.run("document.activeElement.parentElement.ariaSort") == "ascending"


def test_a_number_leads_to_its_trials(report: Browser) -> None:
    link = "document.querySelector('#table-narrow a.origin')"
    trials = str(report.run(f"{link}.dataset.trials")).split()
    report.run(f"{link}.click()")
    chosen = report.run("[...document.querySelectorAll('tr.chosen')].map(r => r.cells[0].textContent)")
    assert chosen == trials
    assert len(trials) == 3
    shown = "(r => r.top >= 0 && r.bottom <= innerHeight)(document.querySelector('tr.chosen').getBoundingClientRect())"
    assert report.run(shown) is True
    assert report.run("document.querySelector('.chosen-note').innerText").startswith("3 trials behind this number")
    report.run("document.querySelector('.chosen-note button').click()")
    assert report.run("document.querySelectorAll('tr.chosen').length") == 0
    assert report.run(f"document.activeElement === {link}") is True


def test_every_measured_number_is_a_link_to_a_trial_that_is_there(report: Browser) -> None:
    bare = (
        """[...document.querySelectorAll('section.table td[title^="n ="]')].filter(c => !c.querySelector('a')).length"""
    )
    assert report.run(bare) == 0
    missing = """[...document.querySelectorAll('a[data-trials]')].flatMap(a => a.dataset.trials.split(' '))
      .filter(id => !document.getElementById('t-' + id)).length"""
    assert report.run(missing) == 0
    other = report.run("[...document.querySelectorAll('a.origin:not([data-trials])')].map(a => a.getAttribute('href'))")
    assert other
    assert all(href.startswith("../cost/report.html#t-cost") for href in other)


def test_trials_lead_to_their_mlflow_runs(report: Browser) -> None:
    links = report.run("[...document.querySelectorAll('#trial-list td.id a')].map(a => a.getAttribute('href'))")
    assert len(links) == 69
    assert all(link.startswith("http://tracking.example:5000/#/runs/run") for link in links)
    assert "secret" not in report.run("document.documentElement.outerHTML")


def test_a_figure_opens_large_and_closes_by_keyboard(report: Browser) -> None:
    button = "document.querySelector('figure .zoom')"
    report.run(f"{button}.focus()")
    report.press("Enter", 13, "\r")
    assert report.run("document.getElementById('zoom').open") is True
    assert report.run("document.querySelector('#zoom img').alt === document.querySelector('figure img').alt") is True
    width = "document.querySelector('#zoom img').getBoundingClientRect().width"
    small = report.run(width)
    report.run("document.querySelector('#zoom .larger').click()")
    assert report.run(width) > 1.5 * small
    report.press("Escape", 27)
    assert report.run("document.getElementById('zoom').open") is False
    assert report.run(f"document.activeElement === {button}") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str, report: Browser) -> None:
    report.media(prefers_color_scheme=scheme)
    report.run("document.querySelector('#table-narrow a.origin').click()")
    assert report.run(CONTRAST) == []
    dark = report.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    report.media(prefers_color_scheme="light")


def test_for_those_who_cannot_see(report: Browser) -> None:
    assert report.run("[...document.images].filter(i => i.alt.length < 40).length") == 0
    assert report.run("[...document.querySelectorAll('th')].filter(h => !h.scope && h.textContent).length") == 0
    named = "(e.textContent.trim() || e.getAttribute('aria-label'))"
    assert report.run(f"[...document.querySelectorAll('a, button')].filter(e => !{named}).length") == 0
    levels = report.run("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_nothing_is_wider_than_the_page(report: Browser) -> None:
    assert report.run("document.documentElement.scrollWidth <= innerWidth") is True
    assert report.printed().startswith(b"%PDF")


def test_the_index(browser: Browser, results: Path) -> None:
    browser.said.clear()
    browser.asked.clear()
    browser.open(results / "index.html")
    links = browser.run("[...document.querySelectorAll('tbody td:first-child a')].map(a => a.getAttribute('href'))")
    assert links == ["redundancy_ablation/report.html", "redundancy_ablation%40gpu/report.html"]
    targets = browser.run("[...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => !h.includes('#'))")
    for target in targets:
        assert Path(target.removeprefix("file://").replace("%40", "@")).is_file()
    first = browser.run("[...document.querySelectorAll('table.claims tr.block')].map(r => r.cells[0].innerText)")
    assert first.count("holds at laptop scale") == 4 + 1  # of the file here, and of the joint study's own five
    assert len(first) == 7 + 5
    browser.run("[...document.querySelectorAll('tr.heads')].at(-1).querySelectorAll('button')[0].click()")
    names = browser.run("[...[...document.querySelectorAll('table')].at(-1).tBodies[0].rows].map(r => r.innerText)")
    assert (names, len(names)) == (sorted(names), 2)
    assert browser.run(CONTRAST) == []
    assert (browser.said, [url for url in browser.asked if not url.startswith("file:")]) == ([], [])
