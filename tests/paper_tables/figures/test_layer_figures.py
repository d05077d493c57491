"""Heat maps over pairs of layers, curves by distance, token maps: numbers by hand, then the drawn figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame

from paper_tables import table_file
from paper_tables.core import yaml_loader
from paper_tables.core.errors import TableError
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.layer_pairs import by_lag, matrix, pair_values
from paper_tables.data.load import load_frame
from paper_tables.data.token_maps import ACTIVE, PAUSED, PRUNED, RESTARTED, read_token_maps, states
from paper_tables.figures import draw
from paper_tables.figures.maps import STATE_COLORS, overlay_states
from paper_tables.schema.figures import FigureSpec, Heatmap, Lags, Maps
from paper_tables.schema.table_file import Spec, read_table_file
from paper_tables.site import render_cache
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names

PANELS = [
    {"title": "TPC-ViT", "filter": {"stabilizer": "dw_pre"}},
    {"title": "bare", "filter": {"stabilizer": "off"}},
]


def value(seed: int, early: int, late: int) -> float:
    return round(0.9 - 0.2 * (late - early) + 0.01 * seed, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic study; its TPC-ViT trials have a matrix of 3 layers and their first ones token maps."""
    trials, curves = synthetic_frame.frames()
    mine = trials.loc[trials["part"] == "tpc_vit"]
    more = [
        {"trial": row.trial, "step": step, "metric": f"returned.attention.layer{a:02d}.layer{b:02d}",
         "value": value(row.seed, a, b) if step == 20 else 9.0}
        for row in mine.itertuples() for a in range(3) for b in range(a + 1, 3) for step in (10, 20)
    ]  # fmt: skip
    made = synthetic_frame.write(
        tmp_path_factory.mktemp("layers"), trials, pd.concat([curves, pd.DataFrame(more)]), synthetic_frame.about()
    )
    (made / "maps").mkdir()
    for name in mine.loc[mine["seed"] == 0, "trial"]:
        write_maps(made / "maps" / f"{name}.npz")
    return made


def write_maps(file: Path, **changes: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    active = np.ones((2, 3, 4), bool)
    active[:, 1, :2], active[:, 2, 1:3] = False, False  # 0 restarts, 1 and 2 go, 3 stays
    arrays = {
        "images": rng.integers(0, 255, (2, 8, 8, 1), np.uint8), "active": active, "grid": np.array([2, 2]),
        "importance": rng.integers(0, 255, (2, 2, 4), np.uint8), "scored": np.array([0, 2]),
        "kind": np.array("attention"),
    }  # fmt: skip
    np.savez_compressed(file, **{**arrays, **changes})


@pytest.fixture(scope="module")
def names(folder: Path) -> Names:
    return Names(Spec(study="redundancy_ablation"), load_frame(folder))


def tpc(frame: Frame) -> list[Arm]:
    return [arm for arm in frame.arms if arm.part == "tpc_vit" and arm.baseline]


def test_pairs_are_the_last_values_of_finished_trials(names: Names) -> None:
    table = pair_values(names.frame, tpc(names.frame), "returned.attention")
    assert len(table) == 3 * 3
    assert set(zip(table["early"], table["late"], strict=True)) == {(1, 2), (1, 3), (2, 3)}
    assert table["value"].max() < 1
    assert pair_values(names.frame, tpc(names.frame), "returned").empty  # another metric's name begins like this one
    found = matrix(table, 3)
    assert found[0, 1] == found[1, 2] == pytest.approx(0.71)  # mean over seeds 0, 1, 2
    assert found[0, 2] == pytest.approx(0.51)
    assert np.isnan(found[np.tril_indices(3)]).all()


def test_by_lag_is_one_number_per_trial_and_distance(names: Names) -> None:
    found = by_lag(pair_values(names.frame, tpc(names.frame), "returned.attention"))
    assert found["x"].tolist() == [1, 1, 1, 2, 2, 2]
    assert sorted(found["value"]) == pytest.approx([0.5, 0.51, 0.52, 0.7, 0.71, 0.72])


def test_states_of_tokens() -> None:
    """One token per row, over four layers."""
    active = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], bool).T[None]
    k, r, p, g = ACTIVE, RESTARTED, PAUSED, PRUNED
    assert states(active)[0].T.tolist() == [[k, k, k, k], [k, p, p, r], [k, p, r, g], [p, p, r, r], [k, k, g, g]]


def test_covers_lie_over_their_tokens() -> None:
    image = np.full((8, 8), 0.5)
    rgb = overlay_states(image, np.array([[ACTIVE, PAUSED], [PRUNED, RESTARTED]]))
    assert rgb.shape == (8, 8, 3)
    assert (rgb[:4, :4] == 0.5).all()
    for (y, x), state in (((0, 7), PAUSED), ((7, 0), PRUNED), ((7, 7), RESTARTED)):
        assert np.abs(rgb[y, x] - 0.5).max() > 0.1, STATE_COLORS[state]
    assert overlay_states(np.zeros((10, 10, 3)), np.zeros((4, 4), int)).shape == (12, 12, 3)  # whole pixels per token


def specs() -> list[FigureSpec]:
    common = {"panels": PANELS, "width": "two", "filter": {"part": "tpc_vit", "smoothing": "both"}}
    return [
        Heatmap(name="h", kind="heatmap", metric="returned.attention", center=0.3, **common),
        Lags(name="l", kind="lags", metric="returned.attention", chance=0.3, width="one", panels=[{"color": "part"}]),
        *(Maps(name=f"m_{s}", kind="maps", show=s, images=2, **common) for s in ("layers", "depth", "importance")),
    ]


@pytest.fixture(scope="module")
def drawn(names: Names) -> dict[str, draw.DrawnFigure]:
    """Each figure, drawn once for what is said of it."""
    return {spec.name: draw.draw(spec, names) for spec in specs()}


def test_every_kind_is_drawn_with_words(drawn: dict[str, draw.DrawnFigure]) -> None:
    for picture in drawn.values():
        assert set(picture.files) == {"pdf", "svg", "png"}
        assert "nan" not in picture.alt_text
    alt_text = {name: picture.alt_text for name, picture in drawn.items()}
    assert "0.3 by chance. TPC-ViT: 0.51 to 0.71, mean 0.64" in alt_text["h"]
    assert "0.71 at distance 1 to 0.51" in alt_text["l"]
    assert "58 % active, 8 % restarted, 8 % paused and 25 % pruned" in alt_text["m_layers"]
    assert "TPC-ViT: 1 to 3 of 3 layers" in alt_text["m_depth"]
    assert "by attention, layers 1 and 3" in alt_text["m_importance"]


def test_equal_inputs_equal_bytes(names: Names, drawn: dict[str, draw.DrawnFigure]) -> None:
    for spec in specs():
        first = drawn[spec.name].files
        assert first == draw.draw(spec, names).files
        assert not re.search(rb"[#\"]p[0-9a-f]{10}", first["svg"])  # names that come from places in memory
        assert b'"clip0"' in first["svg"]


def test_without_data_there_is_no_figure(tmp_path: Path) -> None:
    bare = Names(Spec(study="redundancy_ablation"), load_frame(synthetic_frame.study(tmp_path)))
    for spec in specs():
        with pytest.raises(NoData):
            draw.draw(spec, bare)


def test_new_maps_are_drawn_anew_and_damaged_ones_named(tmp_path: Path, folder: Path) -> None:
    before = render_cache.RenderCache.of(folder, None).inputs
    file = next((folder / "maps").iterdir())
    assert before[f"maps/{file.name}"]
    for content in (b"", b"not a zip"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(TableError, match=r"bad\.npz.*token maps"):
            read_token_maps(tmp_path / "bad.npz")
    write_maps(tmp_path / "wrong.npz", grid=np.array([3, 3]))
    with pytest.raises(TableError, match="token maps"):
        read_token_maps(tmp_path / "wrong.npz")


def test_a_bare_axis_is_called_by_its_levels(folder: Path) -> None:
    labels = {"axes": {name: {"bare": True} for name in ("routing", "capacity")}}
    names = Names(Spec.model_validate({"study": "redundancy_ablation", **labels}), load_frame(folder))
    called = {arm.label: names.arm(arm) for arm in names.frame.arms if arm.part == "mor_vit"}
    assert called["baseline"] == "expert, 0.5"
    assert called["capacity=0.25"] == "0.25"
    assert {names.arm(arm) for arm in names.frame.arms if arm.baseline and arm.part == "sret"} == {"baseline"}


@pytest.mark.parametrize("level", ["MoR-ViT-token", "mor_vit", "TPC-LV", "tpc_deit", "Edge-RecViT"])
def test_a_level_without_official_code_says_so(folder: Path, level: str) -> None:
    frame = load_frame(folder)
    assert Names(Spec(study="redundancy_ablation"), frame).level("model", level).endswith(" (reconstructed)")
    spec = Spec.model_validate({"study": "redundancy_ablation", "axes": {"model": {"levels": {level: "as labeled"}}}})
    assert Names(spec, frame).level("model", level) == "as labeled"
    assert Names(spec, frame).level("model", "Evo-ViT") == "Evo-ViT"


def test_the_table_file_asks_for_what_the_study_measures() -> None:
    path = table_file("token_redundancy")
    assert path is not None
    spec = read_table_file(path)[0]
    study = yaml_loader.load_yaml(path.parents[1] / "studies" / path.name).data
    asked = {column.metric for table in spec.tables for column in table.columns}
    assert asked <= set(study["metrics"])
    levels = set(study["axes"]["method"]["values"])
    panels = [panel for figure in spec.figures for panel in figure.panels if panel.filter]
    assert panels and all(set(panel.filter["method"]) <= levels for panel in panels)
    assert levels == set(spec.axes["method"].levels)
    assert {"heatmap", "lags", "layers", "maps"} == {figure.kind for figure in spec.figures}
