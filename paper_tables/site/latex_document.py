"""paper.tex: findings, then each study's question, tables and figures in one column; counts in an appendix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paper_tables.core.text import escape_markup, tex
from paper_tables.site import claim_list
from paper_tables.site.records import StudyRecord

HEAD = r"""% All tables and figures of this folder. Compile here: pdflatex paper.tex
\documentclass[10pt]{article}
\usepackage[letterpaper,textwidth=6.9in,textheight=9.2in]{geometry}
\usepackage{flafter}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{lmodern}
\usepackage{booktabs,siunitx,xcolor,graphicx}
\extrafloats{200}
\renewcommand{\topfraction}{.98}\renewcommand{\bottomfraction}{.98}\renewcommand{\textfraction}{.01}
\renewcommand{\floatpagefraction}{.5}
\setcounter{totalnumber}{20}\setcounter{topnumber}{20}\setcounter{bottomnumber}{20}
\raggedbottom
\makeatletter\setlength{\@fptop}{0pt}\makeatother
\title{Efficient vision transformers, run again}
\author{}
\date{}
\begin{document}
\maketitle
"""


def document(studies: Sequence[StudyRecord]) -> str:
    body = [HEAD, _abstract(studies), *(_section(study) for study in studies), _appendix(studies)]
    return "".join(body) + "\\end{document}\n"


def _abstract(studies: Sequence[StudyRecord]) -> str:
    """Return the findings, which are made from the verdicts."""
    found = claim_list.overview(claim_list.claims_of(studies))["findings"]
    lines = [rf"\textbf{{{tex(one.paper)}}} {tex(' '.join(one.sentences))}" for one in found]
    return "\\begin{abstract}\n" + "\n\n".join(lines) + "\n\\end{abstract}\n\\clearpage\n\n" if lines else ""


def _section(study: StudyRecord) -> str:
    about = study.about
    label = f" ({escape_markup(about['label'])})" if about["label"] else ""
    tables = [  # records of older versions have no claim tables, question or appendix
        *about.get("claim_tables", ()),
        *(table["name"] for table in about["tables"] if not table.get("appendix")),
    ]
    lines = [
        rf"\section{{{tex(escape_markup(about['title']) + label)}}}",
        tex(escape_markup(" ".join([about.get("question", ""), _trials(about)]).strip())),
        "",
        *(_input(study, name) for name in tables),
        *(_figure(study, figure) for figure in about["figures"]),
    ]
    return "\n".join([*lines, r"\clearpage", ""])


def _trials(about: dict[str, Any]) -> str:
    counts = ", ".join(f"{n} {status}" for status, n in about["counts"].items())
    return f"Trials of study {about['study']}: {counts or 'none'} (frame {about['digest']})."


def _appendix(studies: Sequence[StudyRecord]) -> str:
    """Return the tables of published counts, which are to look up rather than to read."""
    tables = [(study, table["name"]) for study in studies for table in study.about["tables"] if table.get("appendix")]
    if not tables:
        return ""
    head = "Published parameters and multiply-accumulates beside those counted here, model by model."
    return "\n".join([r"\appendix", r"\section{Published counts}", head, "", *(_input(*one) for one in tables), ""])


def _input(study: StudyRecord, name: str) -> str:
    return rf"\input{{{study.folder}/tables/{name}.tex}}"


def _figure(study: StudyRecord, figure: dict[str, Any]) -> str:
    width = r"\linewidth" if figure["wide"] else "3.35in"
    caption = rf"\caption{{{figure['caption']}}}" if figure["caption"] else ""
    graphic = rf"\includegraphics[width={width}]{{{study.folder}/figures/{figure['name']}.pdf}}"
    return rf"\begin{{figure}}[htbp]\centering{graphic}{caption}\end{{figure}}"
