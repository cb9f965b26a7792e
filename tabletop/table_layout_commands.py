"""`tabletop table merge`, `move`, `compact`: where tablets are served, and how they lie in files (BT 5.2, 5.4)."""

from typing import Annotated

import typer

from tabletop import wording
from tabletop.console import output
from tabletop.options import DESK, ClusterOption
from tabletop.table_commands import with_tables

TabletArgument = Annotated[str, typer.Argument(metavar="TABLET", help="As `tabletop table tablets` shows it.")]


def merge(
    tablet: TabletArgument,
    other: Annotated[str, typer.Argument(metavar="TABLET", help="Its neighbour, below or above.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Make one tablet of two neighbours, without copying their files. If different servers have them, the lower one
    moves to the server of the upper one first (BT 5.2).

    \b
        tabletop table merge users-000005 users-000006
    """
    place = with_tables(cluster, lambda tables: tables.merge(tablet, other))
    output.print(f"{tablet} and {other} are {place.tablet} now, served by {place.server}", markup=False)


def move(
    tablet: TabletArgument,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The tablet server: ts2, or its life, ts2-17.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Have another tablet server serve a tablet. Its old server writes what it has in memory to SSTables first, twice:
    while it still serves, and the little that came in since, when it has stopped. So no log is read (BT 6).

    \b
        tabletop table move users-000003 ts2
    """
    place = with_tables(cluster, lambda tables: tables.move(tablet, server))
    output.print(f"{place.tablet} is served by {place.server} now, at {place.address}", markup=False)


def compact(
    name: Annotated[str, typer.Argument(metavar="TABLE|TABLET", help="All tablets of a table, or one tablet.")],
    is_minor: Annotated[bool, typer.Option("--minor", help="Only write what is in memory to an SSTable.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Compact tablets: one SSTable for each locality group, without anything that is deleted or too old (BT 5.4). A
    tablet that came from a split refers to no file of its parent any more.

    \b
        tabletop table compact users
        tabletop table compact users-000003 --minor
    """
    done = with_tables(cluster, lambda tables: tables.compact(name, major=not is_minor))
    output.print(f"compacted {wording.count(len(done), 'tablet')} of {name}", markup=False)
