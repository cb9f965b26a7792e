"""The page docs/commands.md: every command in one line, made from what `--help` is made from.

    python -m tabletop.cheat_sheet > docs/commands.md

A test makes it again and compares, so that it cannot go stale.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from tabletop.application import app

HEAD = """# All commands on one page

Made from `--help` by `python -m tabletop.cheat_sheet`; a test holds it to that. `tabletop COMMAND --help` says more,
with examples. Commands about a cluster also take `--cluster NAME` (or the variable `TABLETOP_CLUSTER`); without, it is
"desk". Paths in the cluster begin with `/`; `*`, `?` and `[…]` in them are patterns, to be quoted.
`tabletop --install-completion` lets the shell complete commands and options.

Exit codes: 0 done; 1 failed, nothing was changed unless the message says so; 2 the command line makes no sense; 3 there
is no such cluster, it is down, or it does not answer; 4 failed, and may have happened all the same; 5 nothing is lost,
and not everything is as it should be (`fs fsck`); 130 interrupted.
"""
UNITS = {"SECONDS", "MINUTES", "BYTES", "ROWS"}
LEFT_OUT = {"--help", "--cluster"}


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD]
    alone = {name: found for name, found in root.commands.items() if not hasattr(found, "commands")}
    parts.append(_section("A cluster", "tabletop", alone))
    for name, group in root.commands.items():
        if hasattr(group, "commands"):
            title = inspect.cleandoc(group.help or "").split("\n")[0].split(". ")[0].rstrip(".")
            parts.append(_section(title, f"tabletop {name}", group.commands))
    return "\n".join(parts)


def _section(title: str, prefix: str, commands: dict[str, Any]) -> str:
    lines = [f"## {title}", "", "| type | to |", "|---|---|"]
    for name, command in _flat(commands):
        words = " ".join([prefix, name, *_words(command)])
        what = inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")
        lines.append(f"| `{words}` | {what} |")
    return "\n".join(lines) + "\n"


def _flat(commands: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The commands, and those of groups within the group."""
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in _flat(command.commands))
        else:
            yield name, command


def _words(command: Any) -> Iterator[str]:
    arguments = []
    for parameter in command.params:
        name = max(parameter.opts, key=len)
        if parameter.param_type_name == "argument":
            word = parameter.metavar or parameter.name.upper()
            word += "..." if parameter.nargs == -1 and " " not in word else ""
            arguments.append(word if parameter.required else f"[{word}]")
        elif name not in LEFT_OUT:
            last = parameter.name.rpartition("_")[2].upper()
            value = "" if parameter.is_flag else f" {parameter.metavar or (last if last in UNITS else 'VALUE')}"
            yield f"[{min(parameter.opts, key=len)}{value}]"
    yield from arguments


if __name__ == "__main__":
    print(page(), end="")
