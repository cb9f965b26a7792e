"""`tabletop fault partition`, `isolate`, `delay` and their like: what happens to messages."""

from typing import Annotated

import typer

from cluster.aims import aim, sides
from cluster.faultplan import BadLink, Isolate, Node, Partition, SlowNode, What
from cluster.real import RealCluster
from cluster.roles import LOCK, node_settings
from runtime.errors import InvalidRequest
from runtime.faults.links import Kind, LinkFaults
from tabletop.console import endings
from tabletop.fault_answers import (
    AfterOption,
    AimArgument,
    EveryOption,
    ForOption,
    OneWayOption,
    OtherOption,
    RepliesOption,
    chance,
    impose,
    refuse_both,
)
from tabletop.options import DESK, ClusterOption, span_seconds

SpanArgument = Annotated[str, typer.Argument(metavar="SPAN", help="Such as 300ms or 2s.")]
ChanceArgument = Annotated[str, typer.Argument(metavar="CHANCE", help="Such as 20% or 0.2.")]


def partition(
    between: Annotated[list[str], typer.Argument(metavar="TARGET / TARGET", help="Two sides with a slash between.")],
    one_way: Annotated[bool, typer.Option("--one-way", help="Only what the first side sends gets lost.")] = False,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Let nothing pass between two sides. Neither is told.

    \b
        tabletop fault partition cs1,cs2 / master       the master gives both up; clients still reach them
        tabletop fault partition cs1 / client           clients cannot reach cs1; the master can
    """
    one, other = sides(" ".join(between))
    impose(cluster, Partition(other, one_way=one_way), one, lasting, after, every)


def isolate(
    target: AimArgument,
    hears: Annotated[bool, typer.Option("--hears", help="It hears the others, and nobody hears it.")] = False,
    speaks: Annotated[bool, typer.Option("--speaks", help="The others hear it, and it hears nobody.")] = False,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Cut a node off from everybody, clients included."""
    if hears and speaks:
        raise InvalidRequest("--hears and --speaks together leave everything open; give one of them")
    impose(cluster, Isolate(hears=hears, speaks=speaks), aim(target), lasting, after, every)


def delay(
    target: AimArgument,
    span: SpanArgument,
    other: OtherOption = "",
    one_way: OneWayOption = False,
    replies_to: RepliesOption = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make messages late.

    \b
        tabletop fault delay cs3 300ms                          whatever it sends and receives
        tabletop fault delay cs3 300ms --replies-to master      only its answers to the master
    """
    what = _bad_link(LinkFaults(delay=span_seconds(span)), other, one_way, replies_to)
    impose(cluster, what, aim(target), lasting, after, every)


def loss(
    target: AimArgument,
    share: ChanceArgument,
    other: OtherOption = "",
    one_way: OneWayOption = False,
    replies_to: RepliesOption = "",
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Lose messages at random. Bulk bytes, which go over TCP, are sent again and are late instead."""
    what = _bad_link(LinkFaults(loss=chance(share)), other, one_way, replies_to)
    impose(cluster, what, aim(target), lasting, after, every)


def duplicate(
    target: AimArgument,
    share: ChanceArgument,
    other: OtherOption = "",
    one_way: OneWayOption = False,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Have requests arrive twice, at random."""
    what = _bad_link(LinkFaults(duplication=chance(share)), other, one_way, "")
    impose(cluster, what, aim(target), lasting, after, every)


def reorder(
    target: AimArgument,
    span: SpanArgument,
    other: OtherOption = "",
    one_way: OneWayOption = False,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make each message late by another time, up to SPAN, so that messages overtake one another."""
    what = _bad_link(LinkFaults(jitter=span_seconds(span)), other, one_way, "")
    impose(cluster, what, aim(target), lasting, after, every)


def slow(
    target: AimArgument,
    span: SpanArgument,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Make a slow node: whatever it sends or receives takes so much longer."""
    impose(cluster, SlowNode(span_seconds(span)), aim(target), lasting, after, every)


def end_session(
    target: AimArgument,
    cluster: ClusterOption = DESK,
) -> None:
    """End the session of a master or a tablet server at the lock service, as an outage does (Chubby 2.8).

    Nothing passes between the two for a lease and its grace, so that the session runs out; then both hear again.
    """
    with endings():
        settings = RealCluster(cluster).settings
    if not settings.has_lock_service:
        raise InvalidRequest(
            "a cluster of one master without tablet servers has no lock service; start another with "
            "`tabletop up --masters 3` or `tabletop up --tablet-servers 3`"
        )
    found = node_settings(LOCK, cluster, settings, address="127.0.0.1:0", master_address="")
    seconds = found["lease_seconds"] + found["grace_seconds"] + settings.heartbeat_seconds
    impose(cluster, Partition(Node(LOCK)), aim(target), f"{seconds:.1f}s")


def _bad_link(faults: LinkFaults, other: str, one_way: bool, replies_to: str) -> What:
    refuse_both(other, replies_to, "--to and --replies-to")
    if replies_to:
        return BadLink(faults, aim(replies_to), one_way=True, kind=Kind.REPLY)
    return BadLink(faults, aim(other) if other else None, one_way=one_way)
