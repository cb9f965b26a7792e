"""`tabletop table`: tables of a cluster, and their rows (BT 2, 3), named like the commands of `cbt`."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from cluster.real import RealCluster
from runtime.errors import InvalidRequest, NotFound, shown
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.operations import DeleteCells, DeleteRow
from tablet.engine.model.schema import Family, GarbageRule, Intersection, MaxAge, MaxVersions, Schema, Union
from tablet.tools.dumping import readable
from tabletop import wording
from tabletop.console import output, perform
from tabletop.options import DESK, ClusterOption, JsonOption
from tabletop.tables import plain_table, print_table

T = TypeVar("T")
_KEPT_VERSIONS = 3

app = typer.Typer(
    help="""Tables, served by tablet servers (`tabletop up --tablet-servers 3`).

    \b
    tabletop table create users profile log:1       families, with the versions that are kept
    tabletop table ls
    tabletop table put users ada profile:name Ada
    tabletop table get users ada profile:name       one value, or the row
    tabletop table scan users --prefix a            or --reverse, --start, --end, --versions, --regex
    tabletop table count users
    tabletop table schema users
    tabletop table import users users.csv           and export: CSV or JSON lines
    tabletop table delete users ada                 a row, or a column of it
    tabletop table tablets users                    who serves which rows
    tabletop table split users-000003 m
    tabletop table merge users-000005 users-000006  two neighbours
    tabletop table move users-000003 ts2            to another tablet server
    tabletop table compact users
    tabletop table snapshot users monday
    tabletop table restore monday users2
    tabletop table drop users
    """,
    no_args_is_help=True,
)

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="The table's name.")]
RowArgument = Annotated[str, typer.Argument(metavar="ROW", help="The row key.")]
ColumnArgument = Annotated[str, typer.Argument(metavar="COLUMN", help="Written family:qualifier.")]


@app.command()
def create(
    table: TableArgument,
    families: Annotated[
        list[str], typer.Argument(metavar="FAMILY...", help="Column families; name:3 keeps three versions (default).")
    ],
    split: Annotated[list[str] | None, typer.Option("--split", help="Begin another tablet at this row.")] = None,
    cluster: ClusterOption = DESK,
) -> None:
    """Create a table; returns when its tablets are served.

    \b
        tabletop table create users profile log:1
        tabletop table create users profile --split g --split p
    """
    schema = Schema()
    for family in families:
        schema = schema.with_family(_family(family))
    rows = [os.fsencode(row) for row in split or ()]
    with_tables(cluster, lambda tables: tables.create_table(table, schema, rows))
    output.print(f"created table {table} of {wording.count(len(rows) + 1, 'tablet')}", markup=False)


@app.command("ls")
def list_tables(cluster: ClusterOption = DESK, as_json: JsonOption = False) -> None:
    """List the tables and their column families."""
    found = with_tables(cluster, lambda tables: tables.tables())
    families = {table: [name.decode() for name in schema.families] for table, schema in found.items()}
    if as_json:
        print(json.dumps(families, indent=2))
        return
    listing = plain_table("TABLE", "FAMILIES")
    for table, names in families.items():
        listing.add_row(table, ", ".join(names))
    print_table(listing)


@app.command()
def schema(table: TableArgument, cluster: ClusterOption = DESK, as_json: JsonOption = False) -> None:
    """Show the column families of a table, and which versions of a cell each keeps (BT 2)."""

    async def look(tables: TableClient) -> Schema:
        found = (await tables.tables()).get(table)
        if found is None:
            raise NotFound(f"there is no table {shown(table)}; `tabletop table ls` shows which there are")
        return found

    found = with_tables(cluster, look)
    families = [(family.name, told_rule(family.rule), family.group) for family in found.families.values()]
    if as_json:
        print(json.dumps([dict(zip(("family", "keeps", "group"), one, strict=True)) for one in families], indent=2))
        return
    listing = plain_table("FAMILY", "KEEPS", "LOCALITY GROUP")
    for one in families:
        listing.add_row(*one)
    print_table(listing)


@app.command()
def put(
    table: TableArgument,
    row: RowArgument,
    column: ColumnArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="- for standard input.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Write one cell."""
    data = sys.stdin.buffer.read() if value == "-" else os.fsencode(value)
    with_tables(cluster, lambda tables: tables.put(table, os.fsencode(row), os.fsencode(column), data))


@app.command()
def delete(
    table: TableArgument,
    row: RowArgument,
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Only this one, written family:qualifier.")] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Delete a row, or one column of it."""
    operation = DeleteCells(os.fsencode(column)) if column else DeleteRow()
    with_tables(cluster, lambda tables: tables.mutate(table, os.fsencode(row), [operation]))


@app.command()
def drop(table: TableArgument, cluster: ClusterOption = DESK) -> None:
    """Delete a table with all its rows, for good."""
    with_tables(cluster, lambda tables: tables.delete_table(table))
    output.print(f"table {table} is gone", markup=False)


@app.command()
def tablets(
    table: Annotated[str, typer.Argument(metavar="[TABLE]", help="Default: all tables.")] = "",
    cluster: ClusterOption = DESK,
    as_json: JsonOption = False,
) -> None:
    """List the tablets: their rows, and who serves them, as METADATA has it (BT 5.1)."""
    found = with_tables(cluster, lambda tables: tables.tablets(table or None))
    if as_json:
        print(json.dumps([_values(place) for place in found], indent=2))
        return
    listing = plain_table("TABLET", "FROM", "TO", "SERVER", "ADDRESS")
    for place in found:
        listing.add_row(
            place.tablet,
            readable(place.start_row) if place.start_row else "-",
            readable(place.end_row) if place.end_row else "-",
            place.server or "nobody",
            place.address or "-",
        )
    print_table(listing)


@app.command()
def split(
    tablet: Annotated[str, typer.Argument(metavar="TABLET", help="As `tabletop table tablets` shows it.")],
    row: Annotated[str, typer.Argument(metavar="ROW", help="The first of the upper one. Default: its middle.")] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Split a tablet, without copying its files (BT 5.2)."""
    lower, upper = with_tables(cluster, lambda tables: tables.split(tablet, os.fsencode(row)))
    output.print(
        f"{tablet} is {lower.tablet} and {upper.tablet} now, from row {readable(upper.start_row)} on", markup=False
    )


def with_tables(cluster: str, use: Callable[[TableClient], Awaitable[T]], *, changes: bool = False) -> T:
    """What `use` does with a client of the cluster's tables; `changes` as for `perform`."""

    async def work() -> T:
        real = RealCluster(cluster)
        tables: TableClient | None = None
        try:
            tables = real.table_client()
            return await use(tables)
        finally:
            if tables is not None:
                await tables.close()
            await real.close()

    return perform(work(), changes=changes)


def _family(text: str) -> Family:
    """A family as people write it. Raises BadParameter.

    >>> _family("log:1"), _family("profile").rule
    (Family(name='log', rule=MaxVersions(versions=1), group='default'), MaxVersions(versions=3))
    """
    name, _, versions = text.partition(":")
    if versions and not (versions.isdecimal() and int(versions)):
        raise typer.BadParameter(f"{text!r} is no family; expected a name, or name:3 to keep three versions")
    try:
        return Family(name, MaxVersions(int(versions or _KEPT_VERSIONS)))
    except InvalidRequest as error:
        raise typer.BadParameter(error.message) from None


def told_rule(rule: GarbageRule | None) -> str:
    """A version policy in words.

    >>> told_rule(None), told_rule(MaxVersions(3)), told_rule(Union((MaxVersions(1), MaxAge(60_000_000))))
    ('every version', '3 versions', '1 version and at most 1 min 0 s')
    """
    match rule:
        case None:
            return "every version"
        case MaxVersions(versions):
            return wording.count(versions, "version")
        case MaxAge(microseconds):
            return f"at most {wording.duration(microseconds / 1e6)}"
        case Union(rules):
            return " and ".join(map(told_rule, rules))
        case Intersection(rules):
            return " or ".join(map(told_rule, rules))


def _values(place: TabletPlace) -> dict[str, Any]:
    rows: Sequence[bytes] = (place.start_row, place.end_row)
    start, end = (row.decode("utf-8", "backslashreplace") for row in rows)
    return {
        "tablet": place.tablet,
        "table": place.table,
        "start_row": start,
        "end_row": end,
        "server": place.server,
        "address": place.address,
    }
