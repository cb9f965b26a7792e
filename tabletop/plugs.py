"""Commands of the rooms above this one.

A room above `tabletop/` may have commands of its own, such as `tabletop drill`. This room must not import it. So it
asks, by name, the rooms of an installation that are known to have commands; one that is not installed has none, and
nothing else changes (docs/decisions/0028).
"""

import importlib
import importlib.util

import typer

PLUGS = ("labs.plug",)
"""Modules with a function `plug_into(app)`."""


def plug_in(app: typer.Typer) -> None:
    """Have every room above that is installed put its commands under `app`."""
    for name in PLUGS:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name).plug_into(app)
