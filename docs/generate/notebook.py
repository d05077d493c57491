"""A notebook as a page: its text and code. A test runs it; its outputs are not in the repository."""

from __future__ import annotations

import json

HINT = "\n*The notebook is `docs/notebooks/{name}`: run it to see tables and figures.*\n"


def page(text: str, name: str) -> str:
    """Return the cells as Markdown, with a line below the title that says where the notebook is."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    parts = [f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells]
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n{HINT.format(name=name)}{rest}\n"
