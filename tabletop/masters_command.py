"""`tabletop admin masters`: which of several masters acts, and how far the others are (GFS 5.1.3)."""

import json
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.table import Table

from cluster.real import RealCluster
from runtime.errors import InvalidRequest
from runtime.wire.masters_pb2 import MasterStanding
from tabletop.console import output, perform
from tabletop.options import DESK, ClusterOption, JsonOption
from tabletop.tables import plain_table, print_table

Standings = dict[str, MasterStanding | None]


def masters(cluster: ClusterOption = DESK, as_json: JsonOption = False) -> None:
    """List the masters: which of them acts, under which epoch, and how far each shadow is.

    A shadow that is in sync has every change that was answered: it may take over. LAG is how old a shadow's answers may
    be, as it measures itself; it grows while nobody acts.

    \b
        tabletop up --masters 3
        tabletop admin masters
    """
    perform(_masters(RealCluster(cluster), as_json))


async def _masters(cluster: RealCluster, as_json: bool) -> None:
    try:
        if cluster.settings.masters == 1:
            raise InvalidRequest(
                f"cluster {cluster.name!r} has one master; `tabletop up --masters 3` makes a cluster with three"
            )
        found = await cluster.standings()
    finally:
        await cluster.close()
    if as_json:
        print(json.dumps({name: _values(standing) for name, standing in found.items()}, indent=2))
    else:
        print_table(masters_table(found))
        for sentence in remarks(found):
            output.print(sentence, markup=False)


def _values(standing: MasterStanding | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    return MessageToDict(standing, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def masters_table(found: Standings) -> Table:
    """One line a master."""
    in_sync = {
        follower.master: follower
        for standing in found.values()
        if standing is not None and standing.acting
        for follower in standing.followers
    }
    table = plain_table("MASTER", "ROLE", "EPOCH", "IN SYNC", "RECORDS", "APPLIED", "LAG", "ADDRESS", "NOTE")
    for name, standing in found.items():
        if standing is None:
            table.add_row(name, "[red]silent[/]", "-", "no" if name in in_sync else "-", "-", "-", "-", "-", "")
            continue
        follower = in_sync.get(name)
        sync = "yes" if standing.acting or (follower is not None and follower.in_sync) else "no" if in_sync else "-"
        note = follower.problem if follower is not None and follower.problem else standing.note
        if standing.short_of_space:
            note = "its disk has no room for its log"
        table.add_row(
            name,
            "[green]acts[/]" if standing.acting else "shadow",
            str(standing.epoch),
            sync,
            f"{standing.last_sequence:,}",
            f"{standing.applied_sequence:,}",
            "-" if standing.acting else lag(standing.lag_seconds),
            standing.address,
            "" if (standing.acting and not standing.short_of_space) or note == "another master acts" else note,
        )
    return table


def lag(seconds: float) -> str:
    """How old the answers of a shadow may be.

    >>> lag(0.26), lag(float("inf"))
    ('0.3 s', 'unknown')
    """
    return "unknown" if seconds == float("inf") else f"{seconds:.1f} s"


def out_of_sync(found: Standings) -> list[str]:
    """Which of several masters could not take over, in words."""
    followers = [one for standing in found.values() if standing is not None for one in standing.followers]
    return [f"{one.master} is not in sync" for one in followers if not one.in_sync]


def remarks(found: Standings) -> list[str]:
    """What a person should know at once."""
    if any(standing is not None and standing.acting for standing in found.values()):
        return []
    return ["no master acts at this moment: names can be read, and nothing can be changed; one takes over in seconds"]
