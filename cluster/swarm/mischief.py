"""Drawing the faults of one seed, as data (`cluster.faultplan`).

A seed has some kinds of faults only, and its own strength of each. Some strike at a time, some when the n-th message or
disk operation of a kind comes by: a protocol is rarely wrong at a random moment, and often between two steps.
"""

import random
from collections.abc import Callable
from typing import Literal

from cluster.faultplan import (
    At,
    BadLink,
    ClockDrift,
    DiskTrouble,
    EmptyDisk,
    Fault,
    Group,
    Isolate,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnDisk,
    OnMessage,
    OperationFails,
    Partition,
    Pause,
    PowerCut,
    Replica,
    RottenBlock,
    RottenHeader,
    RottenTable,
    Stop,
    StreamsReset,
    Target,
    TheMaster,
    ThePrimary,
    TheReceiver,
    TheSender,
    TornBlock,
    TornHeader,
    WallOffset,
    What,
    WrongFolder,
)
from cluster.swarm.plan import Setup
from cluster.swarm.workload import CLIENTS
from runtime.faults.disk import (
    DroppedWrites,
    FullDisk,
    ReadError,
    ShortWrites,
    SlowDisk,
    SyncError,
    WriteError,
)
from runtime.faults.links import Kind, LinkFaults

MASTER = "master"
DOWN_SECONDS = (0.3, 1.0, 3.0, 8.0, 15.0)
# A pause of a client's own is nothing that the servers have to bear, so that clients are only killed and cut off.
_SERVER_CALLS = (
    "Chunkserver/Write",
    "Chunkserver/Apply",
    "Chunkserver/Apply",
    "Chunkserver/AdvanceChunks",
    "Chunkserver/AdvanceChunks",
    "Chunkserver/RevokeLeases",
    "Chunkserver/Clone",
    "Chunkserver/GetChunkStates",
    "ChunkserverRegistry/Register",
    "ChunkserverRegistry/Heartbeat",
    "Master/Create",
    "Master/CreateFiles",
    "Master/Delete",
    "Master/Rename",
    "Master/MakeDirectory",
    "Master/FindLeaseHolder",
    "bulk",
)
_ASKED_OFTEN = ("Master/*", "Master/*", "Chunkserver/Apply", "Chunkserver/GetChunkStates", "Chunkserver/Write")
_DISK_STEPS = (
    ("sync", "log/*", "master"),
    ("write", "log/*", "master"),
    ("rename", "log/*", "master"),
    ("sync", "*.meta", "cs*"),
    ("write", "*.meta", "cs*"),
    ("write", "*.data", "cs*"),
    ("sync", "*.data", "cs*"),
    ("rename", "chunks/*.meta", "cs*"),
    ("remove", "chunks/*.data", "cs*"),
    ("create", "*", "cs*"),
    ("rename", "*", "cs*"),
    ("remove", "*", "cs*"),
    ("sync_directory", "*", "cs*"),
)

_Drawer = Callable[["_Draw"], "Fault | tuple[Fault, ...]"]


def chunkservers(setup: Setup) -> list[str]:
    """Names."""
    return [f"cs{number}" for number in range(1, setup.chunkservers + 1)]


def draw_faults(chance: random.Random, setup: Setup, paths: list[str]) -> tuple[Fault, ...]:
    """What will strike; `paths` are the files that replicas may be named by."""
    share = chance.choice([0.12, 0.25, 0.45])
    drawers = [drawer for drawer in _DRAWERS if chance.random() < share] or [chance.choice(_DRAWERS)]
    weights = [chance.choice([0.3, 1.0, 3.0]) for _ in drawers]
    draw = _Draw(chance, setup, paths, spares_master=chance.random() < 0.25)
    more = max(0, chance.randint(3, 14) - len(drawers))
    found: list[Fault] = []
    for drawer in (*drawers, *chance.choices(drawers, weights, k=more)):
        drawn = drawer(draw)
        found.extend(drawn if isinstance(drawn, tuple) else (drawn,))
    return tuple(found)


class _Draw:
    """Draws single faults."""

    def __init__(self, chance: random.Random, setup: Setup, paths: list[str], *, spares_master: bool) -> None:
        self.chance = chance
        self.setup = setup
        self.paths = paths
        self.spares_master = spares_master
        self.servers = chunkservers(setup)

    def at(self) -> At:
        return At(round(self.chance.uniform(2.0, self.setup.trouble_seconds), 3))

    def seconds(self) -> float:
        return round(self.chance.choice(DOWN_SECONDS) * self.chance.uniform(0.5, 1.2), 3)

    def what(self, *choices: What) -> What:
        return self.chance.choice(choices)

    def target(self, *choices: Target) -> Target:
        return self.chance.choice(choices)

    def node(self) -> Target:
        chance = self.chance
        if not self.spares_master and chance.random() < 0.25:
            return TheMaster()
        if chance.random() < 0.3:
            return ThePrimary(chance.choice(self.paths), 0)
        return Node(chance.choice(self.servers))

    def replica(self) -> Replica:
        return Replica(self.chance.choice(self.paths), self.chance.choice([0, 0, 0, 1]), self.chance.randint(1, 3))

    def message(self) -> OnMessage:
        chance = self.chance
        method = chance.choice(_SERVER_CALLS)
        kind = None if method == "bulk" else chance.choice([Kind.REQUEST, Kind.REPLY, None])
        return OnMessage(method, kind, nth=chance.choice([1, 2, 3, 5, 10, 20, 40]))

    def disk_step(self) -> OnDisk:
        steps = [step for step in _DISK_STEPS if not (self.spares_master and step[2] == MASTER)]
        verb, path, node = self.chance.choice(steps)
        return OnDisk(verb, path, node, nth=self.chance.choice([1, 2, 3, 5, 10, 20, 40]))

    # Nodes that end.

    def kill(self) -> Fault:
        return Fault(self.at(), Kill(), self.node(), self.seconds())

    def power(self) -> Fault:
        return Fault(self.at(), PowerCut(loses_all=self.chance.random() < 0.5), self.node(), self.seconds())

    def power_all(self) -> Fault:
        """All servers lose power at once: at some moment, or as soon as versions have been raised for a writer."""
        chance = self.chance
        nodes = tuple(Node(name) for name in self.servers)
        with_master = not self.spares_master and chance.random() < 0.5
        method, kind = chance.choice([("Master/FindLeaseHolder", Kind.REPLY), ("Chunkserver/Write", Kind.REQUEST)])
        when = self.at() if chance.random() < 0.4 else OnMessage(method, kind, nth=chance.randint(3, 25))
        target = Group((*nodes, *([TheMaster()] if with_master else [])))
        return Fault(when, PowerCut(loses_all=chance.random() < 0.7), target, self.seconds())

    def stop(self) -> Fault:
        return Fault(self.at(), Stop(), self.node(), self.seconds())

    def pause(self) -> Fault:
        return Fault(self.at(), Pause(), self.node(), self.seconds())

    def client_kill(self) -> Fault:
        return Fault(self.at(), Kill(), Node(self.chance.choice(CLIENTS)), self.seconds())

    def at_message(self) -> Fault:
        """Somebody ends in the middle of a conversation."""
        what = self.what(Kill(), Kill(), PowerCut(), Pause())
        when = self.message()
        target = self.target(TheSender(), TheReceiver())
        if self.spares_master and (when.method.startswith("Master/") or "Registry" in when.method):
            target = Node(self.chance.choice(self.servers))
        return Fault(when, what, target, self.seconds())

    def at_log(self) -> Fault:
        """The master ends in the middle of writing its log, or the log refuses a record."""
        if self.spares_master:
            return self.at_disk()
        verb = self.chance.choice(["write", "sync", "sync"])
        when = OnDisk(verb, "log/*", MASTER, nth=self.chance.randint(1, 120))
        what = self.what(Kill(), PowerCut(), OperationFails(), OperationFails())
        return Fault(when, what, TheSender(), None if isinstance(what, OperationFails) else self.seconds())

    def wrong_folder(self) -> Fault:
        """The master is started on an empty folder for a while: every server is a stranger to it."""
        if self.spares_master:
            return self.stop()
        return Fault(self.at(), WrongFolder(), TheMaster(), self.chance.choice([4.0, 8.0, 12.0]))

    def at_disk(self) -> Fault:
        """Somebody ends in the middle of what it writes."""
        return Fault(self.disk_step(), self.what(Kill(), PowerCut()), TheSender(), self.seconds())

    def at_removal(self) -> Fault:
        """A replica cannot be removed the first time."""
        steps = [("rename", "chunks/*.meta"), ("remove", "chunks/*.data"), ("sync_directory", "chunks/*")]
        verb, path = self.chance.choice(steps)
        when = OnDisk(verb, path, "cs*", nth=self.chance.choice([1, 1, 2, 3, 5]))
        return Fault(when, OperationFails(), TheSender(), self.chance.choice([None, 0.5, 3.0, 20.0]))

    def at_clone(self) -> Fault:
        """A copy hangs, or breaks off."""
        chance = self.chance
        kind = chance.randrange(3)
        if kind == 0:
            verb, path = chance.choice(
                [("sync", "incoming/*.data"), ("write", "incoming/*.data"), ("write", "*.draft")]
            )
            return Fault(OnDisk(verb, path, "cs*", nth=chance.choice([1, 1, 2, 4])), OperationFails(), TheSender())
        when = OnMessage("Chunkserver/Clone", nth=chance.choice([1, 2, 3, 4, 6]))
        if kind == 1:
            return Fault(when, MessageLost(), TheSender())
        return Fault(when, self.what(Kill(), PowerCut(), Pause()), TheReceiver(), self.seconds())

    # The network and the clocks.

    def late_reports(self) -> Fault:
        """What one server tells the master, or all of them, is late for a while."""
        source = self.chance.choice([self.chance.choice(self.servers), "*"])
        nth = self.chance.randint(1, 40 * len(self.servers) if source == "*" else 40)
        when = OnMessage("ChunkserverRegistry/*", Kind.REQUEST, source=source, nth=nth)
        what = MessageDelayed(self.chance.choice([0.1, 0.5, 1.5, 3.0, 5.0]))
        return Fault(when, what, TheSender(), self.chance.choice([5.0, 20.0, 40.0]))

    def late_orders(self) -> Fault:
        """What the master orders of versions arrives when it has ordered something newer already."""
        when = OnMessage("Chunkserver/AdvanceChunks", Kind.REQUEST, nth=self.chance.randint(1, 40))
        return Fault(when, MessageDelayed(self.chance.choice([2.5, 4.0, 5.0])), TheSender())

    def late_writes(self) -> Fault:
        """Writes are on their way for so long that their client has given them up, or come again after other ones."""
        method = self.chance.choice(["Chunkserver/Write", "Chunkserver/Write", "Chunkserver/Apply"])
        when = OnMessage(method, Kind.REQUEST, nth=self.chance.randint(1, 40))
        seconds = self.chance.choice([0.3, 2.5, 4.0, 5.0])
        what: What = self.what(MessageDelayed(seconds), MessageDoubled(seconds), MessageDoubled(seconds))
        return Fault(when, what, TheSender(), self.chance.choice([None, 5.0, 20.0]))

    def message_lost(self) -> Fault:
        chance = self.chance
        seconds = chance.choice([None, None, 2.0])
        late = chance.choice([0.05, 1.0, 3.0, 5.0])
        what = self.what(MessageLost(), MessageLost(), MessageDelayed(late), MessageDoubled(late))
        return Fault(self.message(), what, TheSender(), seconds)

    def partition(self) -> Fault:
        everyone = [*self.servers, MASTER, *CLIENTS]
        some = self.chance.sample(everyone, self.chance.randint(1, len(everyone) // 2))
        others = Group(tuple(Node(name) for name in everyone if name not in some))
        return Fault(self.at(), Partition(others), Group(tuple(Node(name) for name in some)), self.seconds())

    def fellows(self) -> Fault:
        """A server that its fellows cannot reach, or not the master either, though clients can."""
        one = self.setup.client_host if self.setup.client_host and self.chance.random() < 0.5 else ""
        one = one or self.chance.choice(self.servers)
        others = Group(
            tuple(Node(name) for name in (*self.servers, *self.chance.choice([(), (MASTER,)])) if name != one)
        )
        return Fault(self.at(), Partition(others), Node(one), 2.0 * self.seconds())

    def one_way(self) -> Fault:
        other = self.target(TheMaster(), Node(self.chance.choice(self.servers)))
        return Fault(self.at(), Partition(other, one_way=True), self.node(), self.seconds())

    def isolate(self) -> Fault:
        hears, speaks = self.chance.choice([(False, False), (True, False), (False, True)])
        return Fault(self.at(), Isolate(hears, speaks), self.node(), self.seconds())

    def bad_link(self) -> Fault:
        chance = self.chance
        faults = chance.choice(
            [
                LinkFaults(loss=chance.choice([0.02, 0.1, 0.3])),
                LinkFaults(duplication=chance.choice([0.1, 0.5])),
                LinkFaults(jitter=chance.choice([0.03, 0.3, 2.0, 5.0])),
                LinkFaults(jitter=chance.choice([0.03, 0.3, 2.0, 5.0])),
                LinkFaults(corruption=chance.choice([0.01, 0.1, 0.3])),
            ]
        )
        source = self.target(self.node(), Node(chance.choice(CLIENTS)))
        other = None if chance.random() < 0.3 else self.target(TheMaster(), Node(chance.choice(self.servers)))
        return Fault(self.at(), BadLink(faults, other, one_way=chance.random() < 0.5), source, self.seconds())

    def reset(self) -> Fault:
        """Streams of calls break, at some moment or in the middle of a call."""
        one_sided = self.chance.random() < 0.6
        if self.chance.random() < 0.3:
            return Fault(self.at(), StreamsReset(None, one_sided), self.node())
        return Fault(self.message(), StreamsReset(TheReceiver(), one_sided), TheSender())

    def late_answers(self) -> tuple[Fault, ...]:
        """Answers of one kind are late for a while, and streams break on which such answers are awaited: they arrive
        when other calls of that kind are on their way."""
        method, nth = self.chance.choice(_ASKED_OFTEN), self.chance.choice([1, 3, 10, 30])
        late = MessageDelayed(self.chance.choice([0.03, 0.1, 0.3]))
        found = [Fault(OnMessage(method, Kind.REPLY, nth=nth), late, TheSender(), 6.0)]
        for later in (2, 5, 9, 14):
            when = OnMessage(method, Kind.REPLY, nth=nth + later)
            found.append(Fault(when, StreamsReset(TheSender(), one_sided=True), TheReceiver()))
        return tuple(found)

    def clock(self) -> Fault:
        drift, offset = self.chance.choice([-0.05, -0.01, 0.01, 0.05]), self.chance.choice([-300.0, 300.0])
        what = self.what(ClockDrift(drift), WallOffset(offset))
        return Fault(self.at(), what, self.node(), 4.0 * self.seconds())

    # Disks.

    def disk_error(self) -> Fault:
        faults = [ReadError(), WriteError(), SyncError(), SyncError(loses_pages=True)]
        return Fault(self.at(), DiskTrouble(self.chance.choice(faults)), self.node(), self.seconds())

    def dropped_writes(self) -> Fault:
        """Bytes of chunks that are written and land nowhere. (Who drops headers can be found out by nobody.)"""
        fault = DroppedWrites("chunks/", suffix=".data", times=self.chance.choice([1, 2, None]))
        return Fault(self.at(), DiskTrouble(fault), Node(self.chance.choice(self.servers)), self.seconds())

    def one_disk_error(self) -> Fault:
        return Fault(self.disk_step(), OperationFails(), TheSender(), self.chance.choice([None, None, 1.0]))

    def full(self) -> Fault:
        return Fault(self.at(), DiskTrouble(FullDisk()), self.node(), self.seconds())

    def short_writes(self) -> Fault:
        return Fault(self.at(), DiskTrouble(ShortWrites()), self.node(), 3.0 * self.seconds())

    def slow(self) -> Fault:
        fault = SlowDisk(seconds_per_operation=self.chance.choice([0.002, 0.02, 0.15]))
        return Fault(self.at(), DiskTrouble(fault), self.node(), self.seconds())

    def rot(self) -> Fault:
        target = self.replica()
        block = self.chance.choice([0, 0, 1])
        what = self.what(
            RottenBlock(target.path, target.chunk, block),
            RottenTable(target.path, target.chunk, block),
            TornBlock(target.path, target.chunk, block),
        )
        return Fault(self.at(), what, target)

    def header(self) -> Fault:
        target = self.replica()
        slot = self.chance.choice([None, 0, 1])
        what: What = RottenHeader(target.path, target.chunk, slot)
        if slot is not None and self.chance.random() < 0.4:
            what = TornHeader(target.path, target.chunk, slot)
        return Fault(self.at(), what, target)

    def header_and_kill(self) -> tuple[Fault, ...]:
        """A header rots, and the server starts anew before it has noticed."""
        target, when = self.replica(), self.at()
        slot: int | Literal["newest"] | None = self.chance.choice([None, 0, 2, "newest", "newest", "newest"])
        rot = Fault(when, RottenHeader(target.path, target.chunk, slot), target)
        return rot, Fault(At(when.seconds + 0.01), Kill(), target, self.seconds())

    def empty_disk(self) -> Fault:
        return Fault(self.at(), EmptyDisk(), Node(self.chance.choice(self.servers)), self.seconds())


# More than once: more likely.
_DRAWERS: tuple[_Drawer, ...] = (
    _Draw.kill,
    _Draw.kill,
    _Draw.power,
    _Draw.power_all,
    _Draw.power_all,
    _Draw.stop,
    _Draw.pause,
    _Draw.pause,
    _Draw.client_kill,
    _Draw.at_message,
    _Draw.at_message,
    _Draw.at_disk,
    _Draw.at_disk,
    _Draw.at_log,
    _Draw.wrong_folder,
    _Draw.at_clone,
    _Draw.at_removal,
    _Draw.message_lost,
    _Draw.message_lost,
    _Draw.late_reports,
    _Draw.late_orders,
    _Draw.late_writes,
    _Draw.partition,
    _Draw.fellows,
    _Draw.one_way,
    _Draw.isolate,
    _Draw.bad_link,
    _Draw.bad_link,
    _Draw.reset,
    _Draw.late_answers,
    _Draw.clock,
    _Draw.disk_error,
    _Draw.one_disk_error,
    _Draw.dropped_writes,
    _Draw.full,
    _Draw.short_writes,
    _Draw.slow,
    _Draw.rot,
    _Draw.header,
    _Draw.header_and_kill,
    _Draw.empty_disk,
    _Draw.empty_disk,
)
