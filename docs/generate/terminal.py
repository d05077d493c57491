"""docs/terminal.svg: what commands print for the committed example, as a terminal shows it.

``python docs/generate/terminal.py`` draws it again; a test says when that is due.
"""

from __future__ import annotations

import io
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("python -m studies show redundancy_ablation --results results/example --no-notes",)
COLUMNS = 114
PROMPT = ("$ ", "bold green")
THEME = TerminalTheme(
    (27, 31, 40), (214, 219, 229),
    [(27, 31, 40), (240, 113, 120), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194),
     (214, 219, 229)],
)  # fmt: skip
"""Background, text, and the eight colors of a terminal."""
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich's own, without fonts from a server."""


def picture() -> str:
    """Run the commands and return the picture of prompts and outputs."""
    console = Console(width=COLUMNS, record=True, force_terminal=True, color_system="truecolor", file=io.StringIO())
    for command in COMMANDS:
        console.print(Text.assemble(PROMPT, (command, "bold")), Text.from_ansi(_output(command)), sep="\n")
    console.print(Text.assemble(PROMPT))
    return console.export_svg(title="dynvit", theme=THEME, code_format=FORMAT, unique_id="terminal")


def _output(command: str) -> str:
    """Return what a command prints in a terminal, with the codes of its styles."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LC_ALL": "C.UTF-8"}
    ours, theirs = pty.openpty()
    arguments = [sys.executable, *shlex.split(command)[1:]]
    process = subprocess.Popen(arguments, cwd=ROOT, env={**kept, **terminal}, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 1 << 16):
            pieces.append(piece)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    if process.wait():
        raise RuntimeError(f"{command}: exit code {process.returncode}")
    return b"".join(pieces).decode().replace("\r\n", "\n").rstrip("\n")


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "terminal.svg").write_text(picture(), encoding="utf-8")
