"""The LaTeX tables through pdflatex: no error, nothing too wide, no bitmap fonts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame

from paper_tables import build
from paper_tables.formats.latex import wrapped

DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{booktabs,siunitx,xcolor,graphicx}
\begin{document}
%s
\end{document}
"""


def compile_tables(folder: Path, work: Path) -> str:
    """The log of pdflatex on all tables and figures of a study."""
    if not shutil.which("pdflatex"):
        reason = "pdflatex is not installed here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    tables = [rf"\input{{{file.with_suffix('')}}}" for file in sorted((folder / "tables").glob("*.tex"))]
    figures = [
        rf"\begin{{figure}}\includegraphics[width=\linewidth]{{{f}}}\end{{figure}}"
        for f in sorted((folder / "figures").glob("*.pdf"))
    ]
    work.mkdir()
    (work / "all.tex").write_text(DOCUMENT % "\n".join(tables + figures), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=work, capture_output=True, text=True, errors="replace", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return (work / "all.log").read_text(errors="replace")


def test_the_studys_tables(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    assert len(build(folder).tables) == 24
    log = compile_tables(folder, tmp_path / "tex")
    assert "Overfull" not in log
    assert "undefined" not in log


def test_incomplete_results_and_wild_names(tmp_path: Path) -> None:
    nasty = r"50% & $x_1$ #{a}~b^c \input{x} <é> 漢| “q” µ"
    trials, curves = synthetic_frame.frames()
    trials = trials.replace({"axis.slices": {"half": nasty}, "arm": {"slices=half": nasty}})
    trials.loc[trials.index % 5 == 0, "status"] = "failed"
    trials.loc[trials.index % 7 == 0, "metric.top1"] = np.nan
    trials.loc[trials.index % 3 == 0, "metric.images_per_second"] *= 1000
    about = synthetic_frame.about()
    about["parts"][0]["axes"][1]["levels"][1] = nasty
    folder = synthetic_frame.write(tmp_path / "redundancy_ablation", trials, curves, about)
    build(folder)
    compile_tables(folder, tmp_path / "tex")


def test_a_study_without_a_table_file(tmp_path: Path) -> None:
    trials = pd.DataFrame(
        [
            {"study": "my_study", "part": "main", "trial": f"{a}{s}", "arm": a, "baseline": a == "lr=1", "seed": s,
             "status": "done", "axis.lr": a[3:], "metric.loss_%": 1.0 / int(a[3:]) + s, "env.git": "abc"}
            for a in ("lr=1", "lr=2") for s in range(3)
        ]
    )  # fmt: skip
    folder = synthetic_frame.write(tmp_path / "my_study", trials)
    assert [f.name for f in build(folder).tables] == ["results.tex", "results.md", "results.html", "results.csv"]
    log = compile_tables(folder, tmp_path / "tex")
    assert "Overfull" not in log


def test_a_long_group_is_broken_between_words_and_not_in_mathematics() -> None:
    text = "baseline: DeiT-small with the keep rates of the gate and the halting score $p \\ge 0.5$ in every layer"
    lines = wrapped(text, 50)
    assert " ".join(lines) == text and all(line.count("$") % 2 == 0 for line in lines)
    assert len(lines) == 3 and max(map(len, lines)) <= 50
