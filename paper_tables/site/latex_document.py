"""paper.tex: a two-column document with every table and figure of every study."""

from __future__ import annotations

from collections.abc import Sequence

from paper_tables.core.text import escape_markup, tex
from paper_tables.site.records import StudyRecord

HEAD = r"""% All tables and figures of this folder. Compile here: pdflatex paper.tex
\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,textwidth=6.9in,columnsep=0.2in,textheight=9.2in]{geometry}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage{booktabs,siunitx,xcolor,graphicx}
\extrafloats{200}
\renewcommand{\topfraction}{.95}\renewcommand{\dbltopfraction}{.95}\renewcommand{\bottomfraction}{.95}
\renewcommand{\textfraction}{.02}\renewcommand{\floatpagefraction}{.6}\renewcommand{\dblfloatpagefraction}{.6}
\begin{document}
"""


def document(studies: Sequence[StudyRecord]) -> str:
    return HEAD + "".join(map(_section, studies)) + "\\end{document}\n"


def _section(study: StudyRecord) -> str:
    about = study.about
    label = f" ({escape_markup(about['label'])})" if about["label"] else ""
    counts = ", ".join(f"{n} {escape_markup(status)}" for status, n in about["counts"].items())
    lines = [
        rf"\section*{{{tex(escape_markup(about['title']) + label)}}}",
        tex(f"Study {escape_markup(about['study'])}: {counts or 'no trials'}. Frame {about['digest']}."),
    ]
    tables = [
        *(table["name"] for table in about["tables"]),
        *about.get("claim_tables", ()),
    ]  # older versions rendered none
    lines += [rf"\input{{{study.folder}/tables/{name}.tex}}" for name in tables]
    for figure in about["figures"]:
        star = "*" if figure["wide"] else ""
        caption = rf"\caption{{{figure['caption']}}}" if figure["caption"] else ""
        graphic = rf"\includegraphics[width=\linewidth]{{{study.folder}/figures/{figure['name']}.pdf}}"
        lines.append(rf"\begin{{figure{star}}}[tbp]\centering{graphic}{caption}\end{{figure{star}}}")
    return "\n".join([*lines, r"\clearpage", ""])
