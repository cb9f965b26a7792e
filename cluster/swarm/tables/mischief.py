"""Drawing the setup, the work and the faults of one seed. A seed has some kinds of faults only."""

import random
from collections.abc import Callable

from cluster.faultplan import (
    At,
    BadLink,
    Fault,
    Isolate,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnMessage,
    Partition,
    Pause,
    PowerCut,
    Stop,
    StreamsReset,
    Target,
    TheReceiver,
    TheSender,
    What,
)
from cluster.swarm.tables.plan import Kind, PlannedOperation, Setup
from runtime.faults.links import Kind as MessageKind
from runtime.faults.links import LinkFaults

CHUNKSERVERS = 4
_WORK = (
    (Kind.PUT, 10),
    (Kind.WRITE, 4),
    (Kind.WRITE_ROWS, 3),
    (Kind.DELETE, 2),
    (Kind.CHECK, 5),
    (Kind.GET, 6),
    (Kind.READ, 5),
    (Kind.SCAN, 3),
    (Kind.SPLIT, 1),
)
_METHODS = (
    "TabletServer/MutateRows",
    "TabletServer/CheckAndMutateRow",
    "TabletServer/LoadTablet",
    "TabletServer/UnloadTablet",
    "TabletServer/SortLog",
    "TabletServer/ListTablets",
    "TabletServer/SplitTablet",
    "LockService/KeepAlive",
    "LockService/WriteLockFile",
    "Master/Rename",
    "Chunkserver/Write",
    "Master/Create",
)


def client_names(setup: Setup) -> list[str]:
    """The nodes of the clients."""
    return ["client"] if setup.clients == 1 else [f"client{number}" for number in range(1, setup.clients + 1)]


def tablet_servers(setup: Setup) -> list[str]:
    """The nodes of the tablet servers."""
    return [f"ts{number}" for number in range(1, setup.tablet_servers + 1)]


def draw_setup(chance: random.Random) -> Setup:
    """The cluster."""
    return Setup(
        clients=chance.choice([2, 3, 3]),
        rows=chance.choice([4, 8, 12]),
        tablet_servers=chance.choice([2, 3, 3]),
        tablet_masters=chance.choice([1, 1, 2]),
        masters=chance.choice([1, 1, 1, 2]),
        memtable_bytes=chance.choice([2000, 4096, 1 << 20]),
        segment_bytes=chance.choice([3000, 20_000]),
        split_bytes=chance.choice([0, 0, 3000]),
        tablets=chance.choice([1, 2, 4]),
        trouble_seconds=chance.choice([12.0, 20.0]),
    )


def draw_operations(chance: random.Random, setup: Setup) -> tuple[PlannedOperation, ...]:
    """What every client will do."""
    kinds, weights = [kind for kind, _ in _WORK], [weight for _, weight in _WORK]
    pause = chance.choice([0.03, 0.1, 0.3])
    found = []
    for client in client_names(setup):
        for kind in chance.choices(kinds, weights, k=round(setup.trouble_seconds / pause * chance.uniform(0.4, 0.8))):
            found.append(
                PlannedOperation(
                    client,
                    round(chance.expovariate(1 / pause), 3),
                    kind,
                    chance.randrange(setup.rows),
                    count=chance.randint(1, setup.rows),
                    column=chance.randrange(2),
                )
            )
    return tuple(found)


def draw_faults(chance: random.Random, setup: Setup) -> tuple[Fault, ...]:
    """What will strike."""
    share = chance.choice([0.15, 0.3, 0.5])
    draw = _Draw(chance, setup)
    drawers = [drawer for drawer in _DRAWERS if chance.random() < share] or [chance.choice(_DRAWERS)]
    found: list[Fault] = []
    for drawer in (*drawers, *chance.choices(drawers, k=chance.randint(0, 4))):
        found += drawer(draw)
    return tuple(found)


class _Draw:
    """Draws faults."""

    def __init__(self, chance: random.Random, setup: Setup) -> None:
        self.chance = chance
        self.setup = setup

    def at(self) -> At:
        return At(round(self.chance.uniform(0.2, self.setup.trouble_seconds), 3))

    def seconds(self) -> float:
        """From much shorter than a session to longer than one."""
        return round(self.chance.choice([0.3, 1.0, 2.0, 3.0, 6.0]) * self.chance.uniform(0.8, 1.2), 3)

    def server(self) -> Node:
        return Node(self.chance.choice(tablet_servers(self.setup)))

    def master(self) -> Node:
        return Node(f"tm{self.chance.randint(1, self.setup.tablet_masters)}")

    def below(self) -> Node:
        return Node(self.chance.choice([f"cs{number}" for number in range(1, CHUNKSERVERS + 1)]))

    def anyone(self) -> Node:
        return self.chance.choice([self.server, self.server, self.master, self.below])()

    def server_dies(self) -> list[Fault]:
        what: What = self.chance.choice((Kill(), Kill(), Stop()))
        return [Fault(self.at(), what, self.server(), self.seconds())]

    def server_pauses(self) -> list[Fault]:
        return [Fault(self.at(), Pause(), self.server(), self.seconds())]

    def server_is_cut_off(self) -> list[Fault]:
        return [Fault(self.at(), Isolate(), self.server(), self.seconds())]

    def server_is_cut_off_from_the_lock_service(self) -> list[Fault]:
        return [Fault(self.at(), Partition(Node("lock")), self.server(), self.seconds())]

    def master_dies(self) -> list[Fault]:
        return [Fault(self.at(), Kill(), self.master(), self.seconds())]

    def master_pauses(self) -> list[Fault]:
        return [Fault(self.at(), Pause(), self.master(), self.seconds())]

    def master_is_cut_off(self) -> list[Fault]:
        other = self.chance.choice([self.server(), Node("lock")])
        return [Fault(self.at(), Partition(other), self.master(), self.seconds())]

    def chunkserver_dies(self) -> list[Fault]:
        what: What = self.chance.choice((Kill(), Pause()))
        return [Fault(self.at(), what, self.below(), self.seconds())]

    def file_master_dies(self) -> list[Fault]:
        return [Fault(self.at(), Kill(), Node("master"), self.seconds())]

    def lock_service_dies(self) -> list[Fault]:
        what: What = self.chance.choice((Kill(), PowerCut()))
        return [Fault(self.at(), what, Node("lock"), self.seconds())]

    def dies_at_a_message(self) -> list[Fault]:
        """In the middle of an assignment, of a sort, of a split."""
        when = OnMessage(
            self.chance.choice(_METHODS),
            self.chance.choice([MessageKind.REQUEST, MessageKind.REPLY]),
            nth=self.chance.choice([1, 2, 3, 5, 20, 60]),
        )
        target: Target = self.chance.choice((TheSender(), TheReceiver()))
        what: What = self.chance.choice((Kill(), Pause()))
        return [Fault(when, what, target, self.seconds())]

    def bad_link(self) -> list[Fault]:
        faults = LinkFaults(delay=0.02, jitter=0.1, loss=self.chance.choice([0.0, 0.1]), duplication=0.1)
        return [Fault(self.at(), BadLink(faults), self.anyone(), self.seconds())]

    def messages_go_wrong(self) -> list[Fault]:
        when = OnMessage(self.chance.choice(_METHODS), nth=self.chance.choice([1, 3, 10, 40]))
        seconds = round(self.chance.choice([0.1, 1.0, 4.0]), 3)
        what: What = self.chance.choice((MessageLost(), MessageDelayed(seconds), MessageDoubled(seconds)))
        return [Fault(when, what)]

    def streams_reset(self) -> list[Fault]:
        return [Fault(self.at(), StreamsReset(), self.anyone())]


_DRAWERS: tuple[Callable[[_Draw], list[Fault]], ...] = (
    _Draw.server_dies,
    _Draw.server_dies,
    _Draw.server_pauses,
    _Draw.server_pauses,
    _Draw.server_is_cut_off,
    _Draw.server_is_cut_off_from_the_lock_service,
    _Draw.master_dies,
    _Draw.master_pauses,
    _Draw.master_is_cut_off,
    _Draw.chunkserver_dies,
    _Draw.file_master_dies,
    _Draw.lock_service_dies,
    _Draw.dies_at_a_message,
    _Draw.bad_link,
    _Draw.messages_go_wrong,
    _Draw.streams_reset,
)
