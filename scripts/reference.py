"""Writes docs/reference/cli.md from the commands themselves: `python scripts/reference.py`. A test keeps the page current."""

from __future__ import annotations

from pathlib import Path

import typer.main

from fairmark.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"

TOP = """# The command line

Written by `scripts/reference.py` from the commands themselves.

Every command takes `--json`: one document on stdout, everything else on stderr. On a terminal there is colour and live
progress; piped, plain lines; `NO_COLOR` is respected. `fairmark --install-completion` sets up completion for your shell.

| exit code | meaning |
|---|---|
| 0 | fine; for `gate`: every primary hypothesis is supported |
| 1 | it could not be done, or there is nothing to judge |
| 2 | a mistake in the files or in the call |
| 100 | `gate`: a primary hypothesis is refuted |
| 101 | `gate`: a primary hypothesis is undecided |
| 130 | stopped by Ctrl-C twice; what was answered is stored |
"""


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    parts = [TOP]
    for name, command in sorted(root.commands.items()):  # type: ignore[attr-defined]
        if hasattr(command, "commands"):
            parts += [_command(f"{name} {inner}", part) for inner, part in sorted(command.commands.items())]
        else:
            parts.append(_command(name, command))
    return "\n".join(parts)


def _command(name: str, command: object) -> str:
    lines = [f"## fairmark {name}", "", str(command.help).strip(), "", "| | |", "|---|---|"]  # type: ignore[attr-defined]
    for parameter in command.params:  # type: ignore[attr-defined]
        names = (
            str(parameter.name).upper()
            if parameter.param_type_name == "argument"
            else ", ".join((*parameter.opts, *parameter.secondary_opts))
        )
        lines.append(f"| `{names}` | {parameter.help} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
