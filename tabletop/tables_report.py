"""Who serves tables, for `tabletop status` and `tabletop admin report`: lock service, tablet master, tablet servers.

Three views meet: the process as the operating system has it, the session as the tablet server itself has it, and the
tablets as the tablet master has them. Where something is not as it should be, a sentence says what, and since when.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.table import Table

from cluster.interface import NodeReport, NodeState
from cluster.real import RealCluster
from cluster.roles import LOCK, TABLET_MASTER_ROLE, TABLET_SERVER_ROLE
from cluster.tablet_targets import figures_of
from runtime.errors import TabletopError
from runtime.wire import tables_pb2 as wire
from tablet.client.settings import TableClientSettings
from tablet.tools.dumping import readable
from tabletop import wording
from tabletop.console import output
from tabletop.node_table import STATE_STYLES
from tabletop.tables import plain_table, print_table

_PATIENCE = TableClientSettings(call_seconds=1.0, patience_seconds=2.0)
_SHOWN = 10
_STYLES = {"safe": "green", "jeopardy": "yellow"}


@dataclass(frozen=True, slots=True)
class TablesReport:
    """What was found out. `master`: what the acting tablet master knows; None with a reason in `trouble`. `servers`: by
    node, what each tablet server says of itself; None if it does not."""

    nodes: Sequence[NodeReport]
    master: wire.TabletStatus | None
    trouble: str
    servers: dict[str, wire.TabletServerFigures | None]

    def of_role(self, role: str) -> list[NodeReport]:
        """The nodes of a role."""
        return [report for report in self.nodes if report.role == role]


async def tables_report(cluster: RealCluster, nodes: Sequence[NodeReport]) -> TablesReport | None:
    """Ask everybody, for two seconds at most; None if the cluster has no tablet servers, or is down."""
    if not cluster.settings.tablet_servers or cluster.is_down():
        return None
    servers = [report for report in nodes if report.role == TABLET_SERVER_ROLE]
    asked = asyncio.gather(*(figures_of(cluster.client_world, report) for report in servers))
    (master, trouble), found = await asyncio.gather(_ask_master(cluster), asked)
    told = {report.node: figure for report, figure in zip(servers, found, strict=True)}
    return TablesReport(nodes, master, trouble, told)


async def _ask_master(cluster: RealCluster) -> tuple[wire.TabletStatus | None, str]:
    tables = cluster.table_client(_PATIENCE)
    try:
        return await tables.status(), ""
    except TabletopError as error:
        return None, error.message
    finally:
        await tables.close()


def tables_values(found: TablesReport | None) -> dict[str, Any] | None:
    """The same as a JSON object."""
    if found is None:
        return None
    return {
        "tablet_master": None if found.master is None else _values(found.master),
        "tablet_servers": {
            node: None if figures is None else _values(figures) for node, figures in found.servers.items()
        },
        "lock_service": next((report.counters for report in found.nodes if report.node == LOCK), {}),
        "trouble": what_is_wrong(found),
    }


def _values(message: wire.TabletStatus | wire.TabletServerFigures) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_tables_report(found: TablesReport | None) -> None:
    """Who serves tables, and what is wrong; nothing for a cluster without tables."""
    if found is None:
        return
    output.print()
    for label, text in _figures(found):
        output.print(f"{label + ':':<27}{text}", markup=False)
    print_table(_servers(found))
    for sentence in what_is_wrong(found):
        output.print(sentence, markup=False)


def _figures(found: TablesReport) -> list[tuple[str, str]]:
    lines = []
    for report in found.nodes:
        if report.node == LOCK:
            held, sessions = report.counters.get("locks", 0), report.counters.get("sessions", 0)
            text = f"epoch {report.counters.get('epoch', 0)}, {wording.count(sessions, 'session')}, "
            text += wording.count(held, "lock")
            lines.append(("Lock service", text if report.state is NodeState.SERVING else report.state.value))
    if found.master is not None:
        master = found.master
        text = f"{master.master} acts, under generation {master.generation}"
        lines.append(("Tablet master", text))
        waiting = f", of which {len(master.waiting)} are not served" if master.waiting else ", all of them served"
        # The root tablet has no row in METADATA.
        lines.append(("Tablets", f"{wording.count(len(master.tablets) + 1, 'tablet')}{waiting}"))
    return lines


def _servers(found: TablesReport) -> Table:
    table = plain_table(
        "NODE", "PROCESS", "LIFE", "SESSION", "TABLETS", "ROWS/S", "MEMTABLES", "SSTABLES", "LOG", "ADDRESS"
    )
    for report in found.of_role(TABLET_SERVER_ROLE):
        told = found.servers.get(report.node)
        state = f"[{STATE_STYLES[report.state]}]{report.state.value}[/]"
        if told is None:
            table.add_row(report.node, state, *["-"] * 7, report.control_address or "-")
            continue
        loading = f" + {len(told.loading)} loading" if told.loading else ""
        table.add_row(
            report.node,
            state,
            told.life or "-",
            f"[{_STYLES.get(told.session, 'red')}]{told.session}[/]",
            f"{len(told.tablets)}{loading}",
            f"{told.rows_per_second:,.0f}",
            f"{wording.size(told.memtable_bytes)} of {wording.size(told.memtable_limit_bytes)}",
            wording.size(sum(tablet.file_bytes for tablet in told.tablets)),
            f"{wording.size(told.log_bytes)}, {wording.count(told.log_segments, 'segment')}",
            report.control_address,
        )
    return table


def what_is_wrong(found: TablesReport) -> list[str]:
    """A sentence for each thing that is not as it should be; empty if all is well."""
    sentences = []
    lock = next((report for report in found.nodes if report.node == LOCK), None)
    if lock is not None and lock.state is not NodeState.SERVING:
        sentences.append(
            f"the lock service is {lock.state.value}: within seconds no tablet server has a session any more, and no "
            "tablet is served"
        )
    if found.master is None:
        masters = ", ".join(f"{one.node} is {one.state.value}" for one in found.of_role(TABLET_MASTER_ROLE))
        sentences.append(
            f"no tablet master acts ({masters}): rows are read and written, and the tablets of a server that dies are "
            f"given to nobody: {found.trouble}"
        )
    alive = set(found.master.servers) if found.master is not None else set()
    for node, told in found.servers.items():
        if told is None:
            continue  # The table of processes tells of it.
        if not told.life:
            sentences.append(f"{node} runs and serves no tablet: it has no session with the lock service")
        elif told.session != "safe":
            sentences.append(
                f"{node} serves nothing at this moment: its session with the lock service is in {told.session}"
            )
        elif found.master is not None and told.life not in alive:
            sentences.append(f"{node} serves as {told.life}, and the tablet master does not know it yet")
    return sentences + _waiting(found.master)


def _waiting(master: wire.TabletStatus | None) -> list[str]:
    if master is None:
        return []
    places = {place.tablet: place for place in master.tablets}
    sentences = []
    for tablet, seconds in list(zip(master.waiting, master.waiting_seconds, strict=True))[:_SHOWN]:
        sentences.append(
            f"nobody serves tablet {tablet}{_rows(places.get(tablet))} for {wording.duration(seconds)} now"
        )
        place = places.get(tablet)
        if place is not None and place.server in master.servers:
            sentences[-1] += f"; {place.server} is to load it"
        elif place is not None and place.server:
            sentences[-1] += f"; {place.server} had it, and has ended"
    more = len(master.waiting) - _SHOWN
    return [*sentences, *([f"… and {more:,} more tablets are served by nobody"] if more > 0 else [])]


def _rows(place: wire.TabletPlace | None) -> str:
    if place is None:
        return ""
    start = readable(place.start_row) if place.start_row else "the first row"
    end = readable(place.end_row) if place.end_row else "the end"
    return f" ({start} to {end})"
