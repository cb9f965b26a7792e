"""Options that several commands share."""

import re
from typing import Annotated

import typer

from gfs.names.locate import DEFAULT_CLUSTER
from tabletop.console import note_cluster

ClusterOption = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="NAME",
        envvar="TABLETOP_CLUSTER",
        help="Which cluster; several can run side by side.",
        show_envvar=True,
        callback=note_cluster,
    ),
]

HumanOption = Annotated[bool, typer.Option("-h", help="Sizes with units, such as 1.5 KB.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DESK = DEFAULT_CLUSTER


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}


def span_seconds(text: str) -> float:
    """A span of time as people write it. Raises BadParameter.

    >>> span_seconds("90"), span_seconds("90s"), span_seconds("1.5h"), span_seconds("7d"), span_seconds("300ms")
    (90.0, 90.0, 5400.0, 604800.0, 0.3)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhd]?)", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time; expected one such as 90s, 30m, 12h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def chunk_handle(text: str) -> int:
    """A chunk's handle as people write it. Raises BadParameter.

    >>> chunk_handle("0x2a"), chunk_handle("42")
    (42, 42)
    """
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no chunk handle; expected a number such as 0x2a") from None
