"""Which nodes a fault means that is aimed at tables, found out when it strikes, in both worlds.

In a cluster of processes METADATA and the servers are asked, as any client may. In a simulation the servers' memories
are looked into, so that no message is added to a run.

>>> newest_log([("/tablets/logs/ts1-7/000001.log", 0), ("/tablets/logs/ts1-12/000002.log", 0),
...             ("/tablets/logs/ts1-12/000002.log", 1), ("/tablets/logs/ts12-3/000001.log", 0)], "ts1")
('/tablets/logs/ts1-12/000002.log', 1)
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cluster.faultplan import BusiestTabletServer, LogOf, OfTables, ServerOfRow, ServerOfTablet, TheTabletMaster
from cluster.interface import DESCRIBE_SECONDS, NodeReport, NodeState
from cluster.roles import TABLET_SERVER_ROLE
from runtime.errors import NotFound, TabletopError, shown
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2_grpc import TabletServerStub
from runtime.world import World
from tablet.client.client import TableClient
from tablet.location.places import METADATA, ROOT_TABLET, GfsPaths, holds

if TYPE_CHECKING:
    from cluster.simulated import SimulatedCluster

_LOG = re.compile(rf"{GfsPaths().logs}/(?P<node>[a-z]+\d+)-(?P<life>\d+)/(?P<segment>[^/]+\.log)")
Places = Iterable[tuple[str, int]]
"""Paths of files, and indices of chunks in them."""


def node_of(life: str) -> str:
    """The node of a life of a tablet server.

    >>> node_of("ts1-17")
    'ts1'
    """
    return life.rpartition("-")[0]


def newest_log(places: Places, node: str) -> tuple[str, int]:
    """The chunk to which a tablet server's log was written last. Raises NotFound."""
    found = [(int(one["life"]), one["segment"], index, path) for path, index in places if (one := _LOG.fullmatch(path))
             and one["node"] == node]  # fmt: skip
    if not found:
        raise NotFound(f"there is no log of {shown(node)} in {GfsPaths().logs}")
    _, _, index, path = max(found)
    return path, index


# In a simulation.


def simulated_nodes(target: OfTables, cluster: "SimulatedCluster") -> list[str]:
    """The nodes that a target means now, but for `LogOf`; empty if there is none."""
    from tablet.hosting.server import TabletServerNode
    from tablet.master.server import TabletMasterNode

    servers = {name: cluster.server(name) for name in cluster.settings.tablet_node_names()}
    if isinstance(target, TheTabletMaster):
        return [name for name, one in servers.items() if isinstance(one, TabletMasterNode) and one.tenure is not None]
    alive = {name: one for name, one in servers.items() if isinstance(one, TabletServerNode)}
    alive = {name: one for name, one in alive.items() if one.present is not None and one.present.is_safe}
    if isinstance(target, BusiestTabletServer):
        busiest = _busiest([one.figures() for one in alive.values()])
        return [busiest] if busiest else []
    return [
        name
        for name, one in alive.items()
        if one.present is not None and any(_is_meant(target, place) for place in one.present.places.values())
    ]


def _is_meant(target: OfTables, place: wire.TabletPlace) -> bool:
    if isinstance(target, ServerOfRow):
        return holds(place, target.table, target.row.encode("utf-8", "surrogateescape"))
    return isinstance(target, ServerOfTablet) and place.tablet == target.tablet


def _busiest(found: Iterable[wire.TabletServerFigures]) -> str:
    """The node with the most rows a second; of several, with the most tablets. "" if there is none."""
    serving = [figures for figures in found if figures.life]
    best = max(serving, key=lambda one: (one.rows_per_second, len(one.tablets), one.node), default=None)
    return "" if best is None else best.node


# In a cluster of processes.


async def real_node(target: OfTables, tables: TableClient, world: World, nodes: Iterable[NodeReport]) -> str:
    """The node that a target means now. Raises NotFound, Unavailable, TimedOut."""
    assert not isinstance(target, LogOf), "the servers that hold it are found by its chunk"
    if isinstance(target, TheTabletMaster):
        return (await tables.status()).master
    if isinstance(target, BusiestTabletServer):
        found = [await figures_of(world, one) for one in nodes if one.role == TABLET_SERVER_ROLE]
        return _busiest(figures for figures in found if figures is not None)
    place = await _place(target, tables)
    if not place.server:
        raise NotFound(f"nobody serves tablet {place.tablet} at this moment")
    return node_of(place.server)


async def _place(target: ServerOfRow | ServerOfTablet, tables: TableClient) -> wire.TabletPlace:
    if isinstance(target, ServerOfRow):
        return await tables.locator.place_of(target.table, target.row.encode("utf-8", "surrogateescape"))
    if target.tablet == ROOT_TABLET:
        return await tables.locator.place_of(METADATA, b"0")
    for place in await tables.tablets(target.tablet.rpartition("-")[0]):
        if place.tablet == target.tablet:
            return place
    raise NotFound(f"there is no tablet {shown(target.tablet)}; `tabletop table tablets` shows which there are")


async def figures_of(world: World, report: NodeReport) -> wire.TabletServerFigures | None:
    """What a tablet server says of itself; None if it does not."""
    if report.state is not NodeState.SERVING:
        return None
    stub = TabletServerStub(world.network.channel(report.control_address))
    try:
        return await stub.DescribeTabletServer(wire.DescribeTabletServerRequest(), timeout=DESCRIBE_SECONDS)
    except TabletopError:
        return None
