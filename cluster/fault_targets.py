"""Which nodes a fault means, found out when it strikes."""

from dataclasses import dataclass

from cluster.faultplan import (
    AllServers,
    BusiestTabletServer,
    Group,
    InRack,
    LogOf,
    Node,
    OutsideRack,
    RandomServer,
    Replica,
    ServerOfRow,
    ServerOfTablet,
    Target,
    TheMaster,
    ThePrimary,
    TheReceiver,
    TheSender,
    TheTabletMaster,
)
from cluster.faulty import FaultyNodes
from cluster.placement import Placement
from cluster.roles import CHUNKSERVER_ROLE, MASTER, role_of
from cluster.tablet_targets import newest_log, simulated_nodes
from runtime.simulated.tape import Stream


@dataclass(frozen=True, slots=True)
class Trigger:
    """Who had a part in what set a fault off."""

    sender: str
    receiver: str


def resolved(
    target: Target, cluster: FaultyNodes, placement: Placement | None, choices: Stream, trigger: Trigger | None
) -> list[str]:
    """The nodes that a target means now, in a fixed order, none twice; empty if there is none."""
    match target:
        case Node(name):
            return [name] if name in cluster.simulation.nodes() else []
        case TheMaster():
            return [MASTER if placement is None else placement.acting_name()]
        case AllServers():
            return cluster.settings.node_names()
        case RandomServer(running):
            servers = [name for name in cluster.settings.node_names() if role_of(name) == CHUNKSERVER_ROLE]
            servers = [name for name in servers if cluster.is_running(name)] if running else servers
            return [servers[choices.below(len(servers))]] if servers else []
        case Replica(path, chunk, number):
            return placement.holders(path, chunk)[number - 1 : number] if placement is not None else []
        case ThePrimary(path, chunk):
            found = placement.chunk(path, chunk) if placement is not None else None
            return [found.primary] if found is not None and found.primary else []
        case LogOf(server):
            return [] if placement is None else placement.first_of(*newest_log(placement.places(), server))
        case TheTabletMaster() | BusiestTabletServer() | ServerOfRow() | ServerOfTablet():
            return [] if placement is None else simulated_nodes(target, placement.cluster)
        case TheSender():
            return [trigger.sender] if trigger is not None else []
        case TheReceiver():
            return [trigger.receiver] if trigger is not None else []
        case InRack(rack, centre):
            return cluster.simulation.fabric.distances.nodes_in(centre, rack)
        case OutsideRack(rack, centre):
            inside = cluster.simulation.fabric.distances.nodes_in(centre, rack)
            return [name for name in cluster.simulation.nodes() if name not in inside]
        case Group(members):
            each = [resolved(member, cluster, placement, choices, trigger) for member in members]
            return list(dict.fromkeys(name for names in each for name in names))
