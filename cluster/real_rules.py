"""From faults that were imposed on a cluster of processes to the rules that each node carries out."""

from cluster.faultplan import BadLink, DiskTrouble, Isolate, LogTrouble, Partition, ReplicaTrouble, SlowNode
from cluster.imposed_file import LastingFault
from runtime.faults.links import LinkFaults
from runtime.faults.table import ANY, LinkRule, Rule

OfLinks = Partition | Isolate | BadLink | SlowNode
SWITCHED = OfLinks | DiskTrouble | ReplicaTrouble | LogTrouble
"""What is carried out within the nodes: only in a cluster that was started for experiments."""


def rules_for(node: str, faults: tuple[LastingFault, ...]) -> list[Rule]:
    """What one node has to carry out. All nodes know all faults of links, and each those of its own disk."""
    rules = []
    for lasting in faults:
        what, imposed = lasting.imposed.what, lasting.imposed
        if isinstance(what, DiskTrouble | ReplicaTrouble | LogTrouble):
            disk = lasting.troubles if node in imposed.nodes else ()
            rules.append(Rule(imposed.number, imposed.ends_at, disk=disk))
        elif isinstance(what, OfLinks):
            links = tuple(rule for one in imposed.nodes for rule in link_rules(what, one, lasting.others))
            rules.append(Rule(imposed.number, imposed.ends_at, links=links))
    return rules


def link_rules(what: OfLinks, node: str, others: tuple[str, ...]) -> list[LinkRule]:
    """What a fault makes of the ways of one node that it struck. `others` are the nodes at the other end.

    >>> from cluster.faultplan import Node
    >>> link_rules(Partition(Node("cs2"), one_way=True), "cs1", ("cs2",))
    [LinkRule(source='cs1', target='cs2', faults=LinkFaults(delay=0.0, jitter=0.0, loss=0.0, duplication=0.0, \
corruption=0.0), blocked=True, kind=None)]
    """
    peers = [other for other in others if other != node]
    match what:
        case Partition(one_way=one_way):
            outward = [LinkRule(node, peer, blocked=True) for peer in peers]
            return outward if one_way else outward + [LinkRule(peer, node, blocked=True) for peer in peers]
        case Isolate(hears, speaks):
            outward = [] if speaks else [LinkRule(node, ANY, blocked=True)]
            return outward if hears else [*outward, LinkRule(ANY, node, blocked=True)]
        case BadLink(faults, other, one_way, kind):
            ends = [ANY] if other is None else peers
            outward = [LinkRule(node, end, faults, kind=kind) for end in ends]
            return outward if one_way else outward + [LinkRule(end, node, faults, kind=kind) for end in ends]
        case SlowNode(seconds):
            late = LinkFaults(delay=seconds)
            return [LinkRule(node, ANY, late), LinkRule(ANY, node, late)]
