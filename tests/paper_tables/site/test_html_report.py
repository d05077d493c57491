"""The report: one page, nothing from outside, alt texts, what is missing said first."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import synthetic_frame
from fast_drawing import svg_alone

from paper_tables import build
from paper_tables.site.report import question
from paper_tables.view.study import StudyView


class Page(HTMLParser):
    """Every start tag with its attributes; ids; text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module", autouse=True)
def _fast() -> Iterator[None]:
    with svg_alone():
        yield


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = synthetic_frame.study(tmp_path_factory.mktemp("r") / "redundancy_ablation")
    return Page(build(folder).report.read_text(encoding="utf-8"))


def test_what_the_study_asks_stands_above_its_report(tmp_path: Path) -> None:
    """The first paragraph of the opening comment, without the line that is for an editor."""
    text = "# yaml-language-server: $schema=.schema/study.json\n# Does it\n# pay <off>?\n#\n# Not this.\nstudy: x\n"
    trials, curves = synthetic_frame.frames()
    about = synthetic_frame.about() | {"study_text": text}
    folder = synthetic_frame.write(tmp_path / "redundancy_ablation", trials, curves, about)
    page = Page(build(folder).report.read_text(encoding="utf-8"))
    assert page.text.index("Does it pay <off>?") < page.text.index("All studies")
    scope = (folder / "reproducibility.md").read_text(encoding="utf-8").split("## Methodology")[0]
    assert "Does it pay" in scope
    assert "language-server" not in scope
    assert question("study: x\n# later") == ""


def test_a_trial_of_several_arms_counts_once(tmp_path: Path) -> None:
    """It was run once: the numbers of trials and the time that they took say so everywhere."""
    rows = [
        {"study": "s", "part": part, "trial": trial, "arm": "base", "baseline": True, "seed": seed, "status": "done",
         "metric.top1": 70.0, "cost.seconds": 600.0}
        for part in ("p", "q") for seed, trial in ((0, "one"), (1, f"two-{part}"))
    ]  # fmt: skip
    folder = synthetic_frame.write(tmp_path / "s", pd.DataFrame(rows), meta={"study": "s"})
    text = " ".join(Page(build(folder).report.read_text(encoding="utf-8")).text.split())
    assert "3 (2 arms, seeds 0 and 1)" in text
    assert "30 min" in text
    assert "3 trials; time in trials: 30 min." in (folder / "reproducibility.md").read_text()
    assert "3 trials (3 done) of 2 arms" in repr(StudyView(folder))


def test_nothing_comes_from_outside(page: Page) -> None:
    for tag, attrs in page.tags:
        for key in ("src", "href", "xlink:href", "action"):
            address = attrs.get(key) or ""
            assert not address.startswith(("http:", "https:", "//", "file:")), (tag, address)
    assert not page.all("link")
    assert all("src" not in attrs for attrs in page.all("script"))


def test_figures_have_words(page: Page) -> None:
    images = page.all("img")
    assert len(images) == 6
    for attrs in images:
        assert (attrs["src"] or "").startswith("data:image/svg+xml;base64,")
        assert len(attrs["alt"] or "") > 60
    assert "Pareto front" in page.text


def test_tables_trials_and_protocol(page: Page) -> None:
    tables = {attrs.get("id") for attrs in page.all("table")}
    assert tables == {
        "table-redundancy", "table-recursion_by_slices", "table-stabilizer_by_pause", "table-against_the_papers",
        "table-claims", "table-claim_tests", "trial-list",
    }  # fmt: skip
    trials, _ = synthetic_frame.frames()
    for trial in trials["trial"]:
        assert trial in page.text
    for words in ("Holm-corrected", "scale laptop", "2.15.0", "4f2a9c1d0be7", "task: classify", "Reconstructed from"):
        assert words in page.text
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert not any("Incomplete results" in part for part in [page.text])


def test_failures_stand_at_the_top(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    trials.loc[trials.arm == "recursion=1", "status"] = "failed"
    trials.loc[trials.index[-1], "status"] = "lost"
    trials.loc[trials.index[0], "metric.top1"] = float("nan")
    folder = tmp_path / "redundancy_ablation"
    text = build(synthetic_frame.write(folder, trials, curves, synthetic_frame.about())).report.read_text()
    head = text.partition('<h2 id="tables">')[0]
    assert "SReT, recursion 1: 3 failed of 3 trials" in head
    assert "pause/restart off, stabilizer off: 1 lost of 3 trials" in head
    assert "SReT, baseline: top1 has no finite value in 1 of 3 finished trials" in head
    assert "65 done" in head


def test_own_code_of_several_versions_is_named_everywhere(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    older = (trials["part"] == "mor_vit") & (trials["arm"] == "routing=token")
    said = "of 2 versions of own code, which may differ for that reason alone: "
    for i, old in enumerate(("0a1b2c", "3d4e5f")):
        trials["env.own"] = "3d4e5f"
        trials.loc[older, "env.own"] = old
        folder = synthetic_frame.write(
            tmp_path / str(i) / "redundancy_ablation", trials, curves, synthetic_frame.about()
        )
        html = build(folder).report.read_text(encoding="utf-8")
        texts = {file.stem: file.read_text() for file in (folder / "reproducibility.md", *folder.glob("tables/*.md"))}
        assert "- Own code: 3d4e5f" in texts["reproducibility"]
        if old == "3d4e5f":
            assert not any(said in text for text in (html, *texts.values()))
            continue
        assert f'<div class="warn" role="note">Caution: these runs are {said}' in html
        assert "0a1b2c in mor_vit routing=token" in html
        mixed = {name for name, text in texts.items() if said in text and "0a1b2c in " in text}
        assert {"reproducibility", "redundancy", "claims", "claim_tests"} <= mixed
        assert "stabilizer_by_pause" not in mixed  # of another part, all of one version


def test_wild_names_are_text(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    about = synthetic_frame.about()
    about["title"] = "<script>alert(1)</script> $5 & more"
    about["parts"][0]["axes"][1]["levels"][1] = "<b>half</b> $a$b"
    trials = trials.replace({"axis.slices": {"half": "<b>half</b> $a$b"}})
    folder = synthetic_frame.write(tmp_path / "redundancy_ablation", trials, curves, about)
    text = build(folder).report.read_text()
    assert "<script>alert" not in text
    assert "<b>half" not in text
    assert "&lt;b&gt;half&lt;/b&gt; $a$b" in text
