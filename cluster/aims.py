"""What faults are aimed at, as people say it.

    cs2 · master2 · lock · tm1 · ts1 · client    a node by its name; "client" is whoever calls nodes and is none
    the master                                  of several masters the one that acts
    all servers · a random chunkserver
    the primary of chunk 0 of /a                the server with the lease; chunks count from 0, as everywhere
    replica 2 of chunk 3 of /a                  the second of the servers that hold it, in order of their numbers
    rack r1 · rack r1 of dc1 · outside of rack r1
    the tablet master                           of several the one that acts
    the server of row m of users                the tablet server that serves the row
    the server of tablet users-000003 · the busiest tablet server
    the log of ts1                              the primary of the chunk to which its log is written
    cs1, cs2 and the master                     several at once

    replica 2 of chunk 3 of /a, block 1         stored bytes of a replica; also "header", or "checksum of block 1"
    master log, record 5                        stored bytes of a log

Words like "the" may be left out, and "/a[3]" is chunk 3 of /a. This module only reads; it asks no cluster.

>>> aim("replica 2 of chunk 3 of /a")
Replica(path='/a', chunk=3, number=2)
>>> aim("cs1, the master")
Group(members=(Node(name='cs1'), TheMaster()))
>>> stored("the primary of /a[0], block 2")
(RottenBlock(path='/a', chunk=0, block=2), ThePrimary(path='/a', chunk=0))
"""

import re

from cluster.faultplan import (
    AllServers,
    BusiestTabletServer,
    Damage,
    Group,
    InRack,
    LogOf,
    Node,
    OutsideRack,
    RandomServer,
    Replica,
    RottenBlock,
    RottenHeader,
    RottenRecord,
    RottenTable,
    ServerOfRow,
    ServerOfTablet,
    Target,
    TheMaster,
    ThePrimary,
    TheTabletMaster,
    TornBlock,
    TornHeader,
)
from runtime.errors import InvalidRequest, shown

EXAMPLES = (
    '"cs2", "master", "all servers", "rack r1", "the primary of chunk 0 of /a", "replica 2 of chunk 3 of /a", or '
    "several with commas"
)
_NODE = re.compile(r"(?:cs|master|client|lock|tm|ts)\d*")
_CHUNK = r"(?:chunk (?P<chunk>\S+) of (?P<path>/.*)|(?P<path2>/.*)\[(?P<chunk2>[^\]]*)\])"
_REPLICA = re.compile(rf"(?:the )?(?:replica (?P<number>\S+)|(?P<primary>primary)) of {_CHUNK}")
_RACK = re.compile(r"(?P<outside>(?:all )?outside (?:of )?)?(?:the )?rack (?P<rack>\S+)(?: (?:of|in) (?P<centre>\S+))?")
_PLACE = re.compile(r"(?:block (?P<block>\S+)|(?P<header>header)|checksum of block (?P<table>\S+))")
_RECORD = re.compile(r"(?:the )?(?P<node>\S+?)(?:'s)? log,? record (?P<record>\S+)")
_OF_TABLES = re.compile(
    r"(?:the )?(?:server of row (?P<row>.+) of (?P<table>\S+)|server of tablet (?P<tablet>\S+)|log of (?P<node>ts\d+))"
)
_SIMPLE: dict[str, Target] = {
    "the tablet master": TheTabletMaster(),
    "the acting tablet master": TheTabletMaster(),
    "the busiest tablet server": BusiestTabletServer(),
    "busiest tablet server": BusiestTabletServer(),
    "the master": TheMaster(),
    "the acting master": TheMaster(),
    "all": AllServers(),
    "all servers": AllServers(),
    "everybody": AllServers(),
    "a random chunkserver": RandomServer(),
    "any chunkserver": RandomServer(),
}


def aim(text: str) -> Target:
    """What a text aims at. Raises InvalidRequest for what nobody could mean."""
    members = tuple(_one(part) for part in _parts(text))
    if not members:
        raise InvalidRequest(f"no target; expected one such as {EXAMPLES}")
    return members[0] if len(members) == 1 else Group(members)


def sides(text: str) -> tuple[Target, Target]:
    """The two sides of a partition, with a slash between them.

    >>> sides("cs1,cs2 / master")
    (Group(members=(Node(name='cs1'), Node(name='cs2'))), Node(name='master'))
    """
    found = re.split(r"\s/\s|(?<=[\w\])])/(?=\w)", text.strip())
    if len(found) != 2 or not all(part.strip() for part in found):
        raise InvalidRequest(
            f"partition {shown(text)}: expected two sides with a slash between, as in 'cs1,cs2 / master'"
        )
    return aim(found[0]), aim(found[1])


def stored(text: str, *, torn: bool = False) -> tuple[Damage | RottenRecord, Target]:
    """Which stored bytes a text aims at, and where: bits flip there, or (`torn`) a write was cut off. Raises
    InvalidRequest."""
    words = " ".join(text.split())
    record = _RECORD.fullmatch(words)
    if record is not None:
        if torn:
            raise InvalidRequest("a torn record is what a log finds at its end anyway, and drops; corrupt one instead")
        return RottenRecord(_number(record["record"], "a record", least=1)), _one(record["node"])
    whole, comma, place = words.rpartition(", ")
    found = _PLACE.fullmatch(place) if comma else None
    if comma and found is None and place.split(" ")[0] in ("block", "header", "checksum"):
        raise InvalidRequest(f"{shown(place)}: expected 'block 1', 'header' or 'checksum of block 1'")
    target = _one(whole if found is not None else words)
    if not isinstance(target, Replica | ThePrimary):
        raise InvalidRequest(
            f"{shown(text)} names no stored bytes; expected such as 'replica 2 of chunk 3 of /a, block 1' or "
            "'master log, record 5'"
        )
    return _damage(found, target, torn), target


def _damage(place: re.Match[str] | None, target: Replica | ThePrimary, torn: bool) -> Damage:
    path, chunk = target.path, target.chunk
    if place is not None and place["header"]:
        return TornHeader(path, chunk) if torn else RottenHeader(path, chunk)
    if place is not None and place["table"]:
        if torn:
            raise InvalidRequest("only a block or a header can be torn; its checksums lie within one write")
        return RottenTable(path, chunk, _number(place["table"], "a block"))
    block = _number(place["block"], "a block") if place is not None else 0
    return TornBlock(path, chunk, block) if torn else RottenBlock(path, chunk, block)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",| and ", text) if part.strip()]


def _one(text: str) -> Target:
    words = " ".join(text.split())
    simple = _SIMPLE.get(words.lower())
    if simple is not None:
        return simple
    if _NODE.fullmatch(words):
        return Node(words)
    if (found := _REPLICA.fullmatch(words)) is not None:
        path, chunk = found["path"] or found["path2"], _number(found["chunk"] or found["chunk2"], "a chunk")
        if found["primary"]:
            return ThePrimary(path, chunk)
        return Replica(path, chunk, _number(found["number"], "a replica", least=1))
    if (found := _OF_TABLES.fullmatch(words)) is not None:
        return _of_tables(found)
    if (found := _RACK.fullmatch(words)) is not None:
        kind = OutsideRack if found["outside"] else InRack
        return kind(found["rack"], found["centre"] or "")
    raise InvalidRequest(f"{shown(text)} is no target; expected such as {EXAMPLES}{_hint(words)}")


def _of_tables(found: re.Match[str]) -> Target:
    if found["row"]:
        return ServerOfRow(found["table"], found["row"])
    return ServerOfTablet(found["tablet"]) if found["tablet"] else LogOf(found["node"])


def _hint(words: str) -> str:
    """What somebody may have had in mind."""
    if words.startswith("/"):
        return f". For a server that holds {words}, say 'replica 1 of chunk 0 of {words}'"
    if re.match(r"(?:the )?(?:tablet|row|log|server of)\b", words):
        return ". Say 'the server of row m of users', 'the server of tablet users-000003', or 'the log of ts1'"
    if re.match(r"(?:the )?(?:replica|primary)", words):
        return ". Say which chunk of which file: 'replica 1 of chunk 0 of /a', 'the primary of chunk 0 of /a'"
    if re.fullmatch(r"(?:chunkserver|server|node) ?\d+", words):
        return f". Chunkservers are called cs1, cs2, …: say 'cs{re.sub(r'[^0-9]', '', words)}'"
    return ""


def _number(text: str, what: str, *, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InvalidRequest(f"{shown(text)} is no number of {what}; they count from {least}")
    return int(text)
