"""Index page, LaTeX document and list of claims for all studies of a results folder.

Made from the records of the renderings, without opening a frame.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from paper_tables.core.files import write_atomic
from paper_tables.core.paths import PACKAGE
from paper_tables.site import claim_list
from paper_tables.site.records import StudyRecord, studies_in

OUTPUTS = ("index.html", "paper.tex", "claims.md", "claims.csv")


def write_index(results: Path) -> list[Path]:
    """Write the files about all studies, unless they are up to date; return their paths."""
    studies = studies_in(results)
    digest = hashlib.sha256(json.dumps([[s.folder, s.about] for s in studies]).encode()).hexdigest()[:12]
    written = [results / name for name in OUTPUTS if name[:6] != "claims" or any(s.about["claims"] for s in studies)]
    for name in set(OUTPUTS) - {path.name for path in written}:
        if digest_in(results / name):
            (results / name).unlink()
    if not studies or all(digest_in(path) == _closing_mark(digest) for path in written):
        return written if studies else []
    for path in written:
        write_atomic(path, _content(path.name, studies, digest).encode())
    return written


def _closing_mark(digest: str) -> str:
    """Return the last line of each file: a digest of its inputs and of the code that writes it."""
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PACKAGE.rglob("*.j2"))))
    for file in ("index.py", "claim_list.py", "latex_document.py", "../claims/findings.py"):
        code.update(Path(__file__).parent.joinpath(file).read_bytes())
    return f"studies {digest} by {code.hexdigest()[:12]}"


def digest_in(path: Path) -> str:
    """Return the digest line of a file written here; "" for other files."""
    try:
        last = path.read_text(encoding="utf-8").rstrip().rpartition("\n")[2]
    except (OSError, UnicodeDecodeError):
        return ""
    return last.strip("%#<>!- ") if "studies " in last else ""


def _content(name: str, studies: Sequence[StudyRecord], digest: str) -> str:
    mark = _closing_mark(digest)
    if name == "paper.tex":
        from paper_tables.site import latex_document

        return f"{latex_document.document(studies)}% {mark}\n"
    claims = claim_list.claims_of(studies)
    if name == "claims.md":
        return f"{claim_list.markdown(claims)}\n<!-- {mark} -->\n"
    if name == "claims.csv":
        return f"{claim_list.table_csv(claims)}# {mark}\n"
    from paper_tables.site.report import template

    page = template("index.html.j2").render(studies=studies, **claim_list.overview(claims))
    return f"{page}\n<!-- {mark} -->\n"
