"""Drawing the setup, the work and the faults of one seed. A seed has some kinds of faults only, so that rare
combinations are not drowned by common ones."""

import random
from collections.abc import Callable

from cluster.faultplan import (
    At,
    BadLink,
    ClockDrift,
    DiskTrouble,
    Ending,
    Fault,
    Isolate,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnDisk,
    OnMessage,
    OperationFails,
    Pause,
    PowerCut,
    StreamsReset,
    TheSender,
)
from cluster.swarm.locks.plan import Kind, PlannedOperation, Setup
from runtime.faults.disk import FullDisk, SlowDisk, SyncError, WriteError
from runtime.faults.links import Kind as MessageKind
from runtime.faults.links import LinkFaults

LOCK = "lock"
WORST_DRIFT = 0.08
"""Of a clock; the service is told that clocks may differ by 0.1."""
_WORK = (
    (Kind.ACQUIRE, 8),
    (Kind.RELEASE, 5),
    (Kind.CHECK, 2),
    (Kind.FENCED, 4),
    (Kind.COMPARE, 6),
    (Kind.WRITE, 2),
    (Kind.READ, 4),
    (Kind.SHOW, 2),
    (Kind.HIDE, 1),
    (Kind.LOOK, 3),
    (Kind.LEAVE, 1),
)
_STEPS = (
    ("write", "log/*"),
    ("sync", "log/*"),
    ("sync", "log/*"),
    ("rename", "log/*"),
    ("sync_directory", "log"),
    ("remove", "log/*"),
    ("write", "log/*.part"),
    ("sync", "log/*.part"),
)
_METHODS = ("AcquireLock", "ReleaseLock", "WriteLockFile", "CreateLockFile", "KeepAlive", "OpenSession", "Watch", "*")


def client_names(setup: Setup) -> list[str]:
    """The nodes of the clients."""
    return [f"client{number}" for number in range(1, setup.clients + 1)]


def draw_setup(chance: random.Random) -> Setup:
    """The service."""
    lease = chance.choice([0.5, 1.0, 2.0, 6.0])
    return Setup(
        clients=chance.choice([2, 3, 3, 4]),
        locks=chance.choice([1, 1, 2]),
        registers=chance.choice([1, 2]),
        lease_seconds=lease,
        grace_seconds=round(lease * chance.choice([0.0, 0.5, 2.0]), 3),
        delay_seconds=chance.choice([0.0, 1.0, 5.0]),
        log_bytes=chance.choice([1024, 4096, 1 << 20]),
        patience_seconds=chance.choice([1.0, 5.0, 20.0]),
        trouble_seconds=chance.choice([20.0, 40.0]),
    )


def draw_operations(chance: random.Random, setup: Setup) -> tuple[PlannedOperation, ...]:
    """What every client will do."""
    kinds, weights = [kind for kind, _ in _WORK], [weight for _, weight in _WORK]
    pause, gives_up = chance.choice([0.02, 0.2, 0.8]), chance.choice([0.0, 0.0, 0.1])
    found = []
    for client in client_names(setup):
        for kind in chance.choices(kinds, weights, k=chance.randint(25, 60)):
            found.append(
                PlannedOperation(
                    client,
                    round(chance.expovariate(1 / pause), 3),
                    kind,
                    chance.randrange(setup.locks if kind in (Kind.ACQUIRE, Kind.RELEASE) else setup.registers),
                    wait_seconds=chance.choice([0.0, 0.0, 1.0, 10.0]),
                    delay_share=chance.choice([0.0, 0.5, 1.0, 1.0]),
                    gives_up_after=round(chance.choice([0.001, 0.01, 0.5]), 3) if chance.random() < gives_up else 0.0,
                )
            )
    return tuple(found)


def draw_faults(chance: random.Random, setup: Setup) -> tuple[Fault, ...]:
    """What will strike."""
    share = chance.choice([0.15, 0.3, 0.6])
    draw = _Draw(chance, setup)
    drawers = [drawer for drawer in _DRAWERS if chance.random() < share] or [chance.choice(_DRAWERS)]
    found: list[Fault] = []
    for drawer in (*drawers, *chance.choices(drawers, k=chance.randint(0, 8))):
        found += drawer(draw)
    return tuple(found)


class _Draw:
    """Draws faults."""

    def __init__(self, chance: random.Random, setup: Setup) -> None:
        self.chance = chance
        self.setup = setup
        self.nodes = [LOCK, *client_names(setup)]
        self.drifting: set[str] = set()

    def at(self) -> At:
        return At(round(self.chance.uniform(0.2, self.setup.trouble_seconds), 3))

    def seconds(self) -> float:
        """From much shorter than a lease to longer than a session."""
        whole = self.setup.lease_seconds + self.setup.grace_seconds
        return round(whole * self.chance.choice([0.1, 0.4, 0.9, 1.2, 2.0]) * self.chance.uniform(0.8, 1.2), 3)

    def client(self) -> Node:
        return Node(self.chance.choice(self.nodes[1:]))

    def anyone(self) -> Node:
        return Node(self.chance.choice(self.nodes))

    def ending(self) -> Ending:
        return self.chance.choice((Kill(), PowerCut()))

    def service_dies(self) -> list[Fault]:
        return [Fault(self.at(), self.ending(), Node(LOCK), self.seconds())]

    def service_dies_at_a_step(self) -> list[Fault]:
        verb, path = self.chance.choice(_STEPS)
        step = OnDisk(verb, path, LOCK, nth=self.chance.choice([1, 2, 3, 5, 10, 20, 40]))
        return [Fault(step, self.ending(), TheSender(), self.seconds())]

    def client_dies(self) -> list[Fault]:
        return [Fault(self.at(), Kill(), self.client(), self.seconds())]

    def pause(self) -> list[Fault]:
        return [Fault(self.at(), Pause(), self.anyone(), self.seconds())]

    def cut_off(self) -> list[Fault]:
        what = self.chance.choice([Isolate(), Isolate(), Isolate(hears=True), Isolate(speaks=True)])
        return [Fault(self.at(), what, self.anyone(), self.seconds())]

    def bad_link(self) -> list[Fault]:
        chance = self.chance
        faults = chance.choice(
            [
                LinkFaults(loss=0.1),
                LinkFaults(duplication=0.3),
                LinkFaults(duplication=0.3, jitter=0.5),
                LinkFaults(delay=0.1, jitter=0.3),
            ]
        )
        return [Fault(self.at(), BadLink(faults), self.anyone(), 4 * self.seconds())]

    def reset(self) -> list[Fault]:
        return [Fault(self.at(), StreamsReset(one_sided=self.chance.random() < 0.3), self.anyone())]

    def message(self) -> list[Fault]:
        chance = self.chance
        late = round(chance.choice([0.1, 1.0, 5.0]) * chance.uniform(0.5, 1.5), 3)
        kind = chance.choice([None, MessageKind.REQUEST, MessageKind.REPLY])
        what: MessageLost | MessageDelayed | MessageDoubled
        what = MessageLost() if chance.random() < 0.5 else MessageDelayed(late)
        if chance.random() < 0.4:
            what, kind = MessageDoubled(late), MessageKind.REQUEST
        when = OnMessage(f"*{chance.choice(_METHODS)}", kind=kind, nth=chance.choice([1, 2, 3, 5, 10, 20]))
        return [Fault(when, what, TheSender(), chance.choice([None, 1.0, 5.0]))]

    def clock(self) -> list[Fault]:
        """One for a node, so that no clock is worse than the service is told."""
        target = self.anyone()
        if target.name in self.drifting:
            return []
        self.drifting.add(target.name)
        drift = self.chance.choice([-WORST_DRIFT, WORST_DRIFT])
        return [Fault(At(round(self.chance.uniform(0.0, 5.0), 3)), ClockDrift(drift), target)]

    def disk(self) -> list[Fault]:
        chance = self.chance
        fault = chance.choice(
            [
                FullDisk(),
                WriteError("log"),
                SyncError("log"),
                SyncError("log", loses_pages=True),
                SlowDisk(seconds_per_operation=0.005, seconds_per_sync=0.05),
            ]
        )
        return [Fault(self.at(), DiskTrouble(fault), Node(LOCK), self.seconds())]

    def step_fails(self) -> list[Fault]:
        verb, path = self.chance.choice(_STEPS)
        step = OnDisk(verb, path, LOCK, nth=self.chance.choice([1, 2, 3, 5, 10, 20]))
        return [Fault(step, OperationFails(), TheSender(), self.chance.choice([None, 0.5]))]


_DRAWERS: tuple[Callable[[_Draw], list[Fault]], ...] = (
    _Draw.service_dies,
    _Draw.service_dies,
    _Draw.service_dies_at_a_step,
    _Draw.client_dies,
    _Draw.client_dies,
    _Draw.pause,
    _Draw.pause,
    _Draw.cut_off,
    _Draw.cut_off,
    _Draw.bad_link,
    _Draw.reset,
    _Draw.message,
    _Draw.message,
    _Draw.clock,
    _Draw.clock,
    _Draw.disk,
    _Draw.step_fails,
)
