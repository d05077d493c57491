"""The command line in Markdown, from the commands themselves."""

from __future__ import annotations

import re

import click
from option_text import table

from studies.engine.cli.main import COMMANDS, cli


def commands() -> str:
    """Return a section for each command: usage, what it does, options."""
    return "\n".join(_command(name) for name in COMMANDS)


def _command(name: str) -> str:
    context = click.Context(cli, info_name="studies")
    command = cli.get_command(context, name)
    assert command is not None
    inner = click.Context(command, info_name=name, parent=context)
    records = (parameter.get_help_record(inner) for parameter in command.get_params(inner))
    rows = [(f"`{left}`", _escaped(right)) for left, right in filter(None, records) if right and left != "--help"]
    usage = " ".join(["studies", name, *command.collect_usage_pieces(inner)])
    text = re.sub(r"\s*\n\s*\n\s*", "\n\n", (command.help or COMMANDS[name]).replace("\b", "").strip())
    return "\n".join(
        [f"## studies {name}", "", f"```text\n{usage}\n```", "", _escaped(text), "", table(("option", "meaning"), rows)]
    )


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*")
