"""Options that several commands share."""

from typing import Annotated

import typer

from gfs.locate import DEFAULT_CLUSTER
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


def chunk_handle(text: str) -> int:
    """A chunk's handle as people write it. Raises BadParameter.

    >>> chunk_handle("0x2a"), chunk_handle("42")
    (42, 42)
    """
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no chunk handle; expected a number such as 0x2a") from None
