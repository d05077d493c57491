"""McNemar's test on predictions image by image: against scipy's binomial test, over seeds, in a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import synthetic_frame
from scipy.stats import binomtest

from paper_tables import build
from paper_tables.core.statistics import mcnemar, min_discordant_pairs
from paper_tables.data.frame import Frame
from paper_tables.data.load import load_frame
from paper_tables.data.predictions import Predictions, compare_predictions

SPEC = """\
study: redundancy_ablation
tables:
  - name: images
    filter: {part: sret}
    rows: {block: one_at_a_time, item: level}
    columns:
      - {metric: top1, show: mean}
      - {metric: top1, head: Images, show: mcnemar, mark: holm}
"""


def write(folder: Path, frame: Frame, images: int = 200, worse: float = 0.15, without: str = "") -> None:
    """Baselines right but for 5 % of the images, other arms wrong on `worse` more of them."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 10, images).astype(np.uint8)
    members = {"target/abcd1234": target}
    for arm in frame.arms:
        for seed, trial in frame.trial_by_seed(arm).items():
            if trial == without:
                continue
            wrong = np.arange(images) % 20 == seed
            wrong |= (np.arange(images) % 20 > 19 - 20 * worse) & (not arm.baseline)
            members[f"prediction/{trial}/abcd1234"] = np.where(wrong, (target + 1) % 10, target).astype(np.uint8)
    np.savez_compressed(folder / "predictions.npz", **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 6), (5, 0), (12, 9), (300, 341), (20000, 20500)])
def test_exact_p(gained: int, lost: int) -> None:
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)


def test_fewest_images_that_can_be_marked() -> None:
    for tests in (1, 2, 5, 40):
        least = min_discordant_pairs(tests)
        assert tests * mcnemar(0, least) < 0.05 <= tests * mcnemar(0, least - 1)


def test_every_seed_must_show_it(tmp_path: Path) -> None:
    target = np.zeros(40, np.uint8)
    base = np.r_[np.ones(10), np.zeros(30)].astype(np.uint8)  # wrong on the first ten
    other = np.r_[np.zeros(10), np.ones(4), np.zeros(26)].astype(np.uint8)  # +10/-4
    members = {"target/t": target, "target/u": target[:5]}
    for trial, said in {"a0": other, "b0": base, "a1": base, "b1": other, "a2": other, "b2": base}.items():
        members[f"prediction/{trial}/t"] = said
    members["prediction/a3/t"], members["prediction/b3/u"] = other, base[:5]
    np.savez(tmp_path / "p.npz", **members)  # type: ignore[arg-type]
    images = Predictions(tmp_path / "p.npz")
    one = compare_predictions(images, {0: "a0", 2: "a2"}, {0: "b0", 2: "b2"})
    assert one is not None
    assert (one.n, one.gained, one.lost, one.least) == (2, 20, 8, 14)
    assert one.p == pytest.approx(binomtest(4, 14).pvalue)
    both_ways = compare_predictions(images, {0: "a0", 1: "a1"}, {0: "b0", 1: "b1"})
    assert both_ways is not None
    assert both_ways.p == 1.0
    assert compare_predictions(images, {3: "a3"}, {3: "b3"}) is None  # other targets
    assert compare_predictions(images, {0: "a0"}, {1: "b1"}) is None  # no common seed
    assert compare_predictions(images, {0: "gone"}, {0: "b0"}) is None


def test_in_a_table(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    (tmp_path / "t.yaml").write_text(SPEC)
    before = load_frame(folder).digest
    write(folder, load_frame(folder))
    assert load_frame(folder).digest != before
    build(folder, tmp_path / "t.yaml")
    text = (folder / "tables" / "images.md").read_text()
    assert "| recursion | 1 | 3 | 94.3 | +0/−90\\* |" in text
    assert "McNemar's exact test, Holm-corrected over the 5 comparisons" in text
    assert "cannot be significant" not in text
    write(folder, load_frame(folder), worse=0.02, images=100)
    assert not build(folder, tmp_path / "t.yaml").unchanged
    text = (folder / "tables" / "images.md").read_text()
    assert "\\*" not in text.partition("* p <")[0].partition("gained")[2].partition("- n =")[0]
    assert "Power: 5 of the 5 comparisons differ on fewer than 8 images" in text


def test_without_predictions(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    (tmp_path / "t.yaml").write_text(SPEC)
    build(folder, tmp_path / "t.yaml")
    assert "no predictions were kept" in (folder / "tables" / "images.md").read_text()
    frame = load_frame(folder)
    write(folder, frame, without=frame.trial_by_seed(frame.arms[1])[0])
    build(folder, tmp_path / "t.yaml")
    assert "n = 2 pairs" in (folder / "tables" / "images.md").read_text()
    (folder / "predictions.npz").write_bytes(b"half of a file")
    build(folder, tmp_path / "t.yaml")
    assert "no predictions were kept" in (folder / "tables" / "images.md").read_text()
