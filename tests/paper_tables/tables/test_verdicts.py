"""Verdicts on published parameters and multiply-accumulates: the arithmetic, the file of belongings, the table."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from paper_tables import build
from paper_tables.core.errors import TableError
from paper_tables.tables import published
from paper_tables.tables.rounding_verdict import Convention, judge_rounding

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("printed", "measured", "outcome"),
    [
        ("4.6", 4.598882304, "equal"),
        ("22", 22.050664, "equal"),
        ("22.05", 22.050664, "equal"),
        ("0.25", 0.245, "equal"),  # a half, rounded up
        ("0.24", 0.245, "equal"),  # or to even
        ("2.9", 2.980897728, "explained"),  # cut off
        ("86", 86.567656, "explained"),
        ("9.4", 9.327, "unexplained"),
        ("5.6", 5.717416, "unexplained"),
        ("2.99", 2.980897728, "unexplained"),
    ],
)
def test_a_number_is_equal_after_rounding_to_its_printed_digits(printed, measured, outcome):
    assert judge_rounding(printed, measured).outcome == outcome


def test_a_convention_explains_only_what_it_gives_to_every_digit():
    norms = Convention(4.608338, "with norms")
    assert judge_rounding("4.608", 4.598882, [norms]).why == "with norms"
    assert judge_rounding("4.609", 4.598882, [norms]).outcome == "unexplained"
    assert judge_rounding("4.6", 4.598882, [norms]).outcome == "equal"  # ours comes first


def test_a_known_reason_goes_before_arithmetic_but_not_before_equality():
    assert judge_rounding("2.9", 2.98, reason="because").why == "because"
    assert judge_rounding("3.0", 2.98, reason="because").outcome == "equal"


# ---- where published numbers belong


def test_every_published_count_belongs_to_a_model_or_says_why_not():
    rows = list(published.assigned_rows())
    assert len(rows) > 300
    assert [row for row, _, belongs in rows if belongs is None] == []
    lost = [belongs.patterns for _, _, belongs in rows if not belongs.model and not belongs.why["params_m"]]
    assert lost == []


def test_no_row_of_the_file_is_idle():
    used = [belongs for _, _, belongs in published.assigned_rows()]
    idle = [row.patterns for row in published.count_sources() if row not in used]
    assert idle == []


def test_every_model_of_the_file_is_counted_by_the_study():
    study = yaml.safe_load((ROOT / "studies/cost.yaml").read_text())
    levels = {str(v) for part in ("ours", "timm", "settings") for v in study["parts"][part]["axes"]["model"]["values"]}
    assert {row.model for row in published.count_sources() if row.model} <= levels


def test_a_published_number_with_words_in_it_is_no_number():
    assert published.number("13-15") is None


# ---- the table

COUNTS = {  # model: params, training params, GMACs, operations of norms
    "sret_tiny": (4.755979, 4.755979, 1.112444672, 0.01),
    "sret_small_noslice-384-px": (21.091212, 21.091212, 18.44315424, 0.054),
    "evo_deit_tiny_patch16_224": (5.717416, 5.9108, 0.817754112, 0.003),
}


def folder(tmp_path, tables, counts=COUNTS):
    rows = [
        {
            "study": "cost", "part": "settings" if "-" in model else "ours", "trial": f"{i:012x}",
            "arm": f"model={model}", "baseline": i == 0, "seed": 0, "status": "done", "axis.model": model,
            "metric.params_m": params,
            "metric.params_training_m": training, "metric.gflops": macs, "metric.gflops_norms": norms,
        }
        for i, (model, (params, training, macs, norms)) in enumerate(counts.items())
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "trials.csv", index=False)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"study": "cost", "tables": tables}))
    return tmp_path


def lines(place, name):
    build(place, place / "spec.yaml")
    found = (place / f"tables/{name}.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found if line.startswith("|")][2:], found


def test_equal_and_different_numbers_stand_beside_each_other_with_their_reasons(tmp_path):
    table, text = lines(folder(tmp_path, [{"name": "sret", "verdicts": "sret"}]), "sret")
    row = next(line for line in table if line[0] == r"sret\_tiny")
    assert row == [r"sret\_tiny", "SReT", "4.8", "4.756", "−0.044", "equal", "1.1", "1.112", "+0.012", "equal"]
    large = next(line for line in table if line[0].startswith(r"sret\_small\_noslice-384"))
    assert large[2:5] == ["21.0", "21.091", "+0.091"]
    assert [large[5].partition("<")[0], large[9].partition("<")[0]] == ["differs", "differs"]
    assert any("cut off instead of rounded" in line for line in text)
    assert any("norms are counted as fvcore does" in line for line in text)
    missing = next(line for line in table if line[0] == r"sret\_small")
    assert missing[2:6] == ["20.9", "—", "—", "not run"]


def test_sources_of_equal_numbers_share_a_line(tmp_path):
    counts = {"deit_tiny_patch16_224": (5.717416, 5.717416, 1.2536832, 0.0047)}
    table, _ = lines(folder(tmp_path, [{"name": "deit", "verdicts": "deit"}], counts), "deit")
    mine = table[: next(i for i, line in enumerate(table) if i and line[0])]
    assert mine[0][0] == r"deit\_tiny"
    sources = {(line[2], line[6].partition("<")[0]): line[1] for line in mine}
    assert sources["5.7", "1.3"] == "FKD, SReT and 1 more"  # one gives parameters, another multiply-accumulates
    assert sources["5.72", "1.26"] == "timm"
    assert len(sources) == len(mine)


def test_parts_for_training_explain_a_larger_number(tmp_path):
    table, text = lines(folder(tmp_path, [{"name": "evo", "verdicts": "evo_vit"}]), "evo")
    row = next(line for line in table if line[0].startswith(r"evo\_deit\_tiny"))
    assert row[2:4] == ["5.9", "5.717"]
    assert row[5].startswith("differs")
    assert any("used in training only" in line for line in text)


def test_nothing_counted_is_said_in_the_report(tmp_path):
    place = folder(tmp_path, [{"name": "deit", "verdicts": "deit"}])
    build(place, place / "spec.yaml")
    assert not (place / "tables/deit.md").exists()
    assert "none of these models has been measured" in (place / "report.html").read_text()


def test_an_unknown_group_is_a_fault_with_its_place(tmp_path):
    place = folder(tmp_path, [{"name": "deit", "verdicts": "sert"}])
    with pytest.raises(TableError, match=r'no group "sert" of counts, did you mean "sret"'):
        build(place, place / "spec.yaml")
