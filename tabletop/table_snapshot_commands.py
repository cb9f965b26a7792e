"""`tabletop table snapshot`, `snapshots`, `restore`, `drop-snapshot`: snapshots of whole tables (BT 6)."""

import json
from typing import Annotated, Any

import typer

from runtime.wire.tables_pb2 import SnapshotRecord
from tabletop import wording
from tabletop.console import output
from tabletop.options import DESK, ClusterOption, JsonOption
from tabletop.table_commands import TableArgument, with_tables
from tabletop.tables import plain_table, print_table

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The snapshot's name.")]


def snapshot(table: TableArgument, name: NameArgument, cluster: ClusterOption = DESK) -> None:
    """Keep what a table holds under a name, without copying it: each tablet at one moment.

    \b
        tabletop table snapshot users monday
        tabletop table restore monday users-of-monday
    """
    taken = with_tables(cluster, lambda tables: tables.snapshot(table, name))
    what = f"{wording.count(taken.tablets, 'tablet')}, {wording.size(taken.bytes)} in SSTables, none of them copied"
    output.print(f"took snapshot {name} of table {table}: {what}", markup=False)


def snapshots(
    table: Annotated[str, typer.Argument(metavar="[TABLE]", help="Default: of all tables.")] = "",
    cluster: ClusterOption = DESK,
    as_json: JsonOption = False,
) -> None:
    """List the snapshots of tables."""
    found = with_tables(cluster, lambda tables: tables.snapshots(table or None))
    if as_json:
        print(json.dumps([_values(record) for record in found], indent=2))
        return
    listing = plain_table("SNAPSHOT", "TABLE", "TAKEN", "TABLETS", "BYTES")
    for record in found:
        listing.add_row(
            record.name,
            record.table,
            wording.moment(record.taken_at),
            str(record.tablets),
            wording.size(record.bytes),
        )
    print_table(listing)


def restore(
    name: NameArgument,
    table: Annotated[
        str, typer.Argument(metavar="[NEW_TABLE]", help="Default: the name that the table had; it must be dropped.")
    ] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make a new table of a snapshot; returns when its tablets are served. The snapshot stays."""
    made = with_tables(cluster, lambda tables: tables.restore(name, table or None))
    output.print(f"made table {made} of snapshot {name}", markup=False)


def drop_snapshot(name: NameArgument, cluster: ClusterOption = DESK) -> None:
    """Delete a snapshot, for good; tables that were made of it stay."""
    with_tables(cluster, lambda tables: tables.delete_snapshot(name))
    output.print(f"snapshot {name} is gone", markup=False)


def _values(record: SnapshotRecord) -> dict[str, Any]:
    return {
        "snapshot": record.name,
        "table": record.table,
        "taken_at": record.taken_at,
        "tablets": record.tablets,
        "bytes": record.bytes,
    }
