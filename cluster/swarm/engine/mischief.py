"""Drawing the faults of one seed, as data (`cluster.faultplan`): a seed has some kinds only.

Some strike at a time, some at a step: the third sync of the log, the renaming of a manifest.
"""

import random
from collections.abc import Callable

from cluster.faultplan import (
    At,
    ClockDrift,
    DiskTrouble,
    Ending,
    Fault,
    Kill,
    Node,
    OnDisk,
    OperationFails,
    Pause,
    PowerCut,
    RottenEnd,
    RottenFile,
    Stop,
    WallOffset,
)
from cluster.swarm.engine.plan import Setup
from runtime.faults.disk import FullDisk, ReadError, ShortWrites, SlowDisk, SyncError, WriteError

SERVER = "server"
DISK_BYTES = 10_000_000
HOME = "home"
"""The folder of a server's tablets, if they are split and merged."""
LOST_PAGES_SHARE = 0.1
"""Of the seeds, in which the log's pages are lost by a failed sync, and then the power is."""
_TARGET = Node(SERVER)
_DOWN_SECONDS = (0.1, 0.3, 1.0)
_STEPS = (
    ("write", "log-*/*.log"),
    ("write", "log-*/*.log"),
    ("sync", "log-*/*.log"),
    ("create", "log-*/*.log"),
    ("truncate", "log-*/*.log"),
    ("write", "log-*/segments*"),
    ("rename", "log-*/segments*"),
    ("remove", "log-*"),
    ("write", "tablet*/*.sst.new"),
    ("sync", "tablet*/*.sst.new"),
    ("rename", "tablet*/*.sst.new"),
    ("write", "tablet*/manifest*"),
    ("rename", "tablet*/manifest*"),
    ("sync_directory", "tablet*"),
    ("remove", "tablet*"),
    ("read", "tablet*/*.sst"),
    ("open", "tablet*"),
    ("write", "sorted*"),
    ("rename", "sorted*"),
    ("remove", "sorted*"),
)
_RESHAPING_STEPS = (
    ("write", "catalogue*"),
    ("rename", "catalogue*"),
    ("sync_directory", ""),
    ("make_directory", "tablet*"),
    ("rename", "tablet*/manifest*"),
    ("create", "tablet*/manifest*"),
)


_FENCED_STEPS = (
    ("write", "log-*/*.log"),
    ("write", "log-*/*.log"),
    ("write", "log-*/*.log"),
    ("write", "log-*/*.log"),
    ("write", "log-*/*.log"),
    ("sync", "log-*/*.log"),
    ("exists", "log-*/claim*"),
    ("exists", "log-*/claim*"),
    ("rename", "log-*/segments*"),
    ("*", "log-*/*"),
    ("*", "tablet*/manifest*"),
    ("*", "*"),
)
"""Where a server that is succeeded may stand still."""


def draw_faults(chance: random.Random, setup: Setup) -> tuple[Fault, ...]:
    """What will strike."""
    share = chance.choice([0.2, 0.4, 0.7])
    drawers = [drawer for drawer in _DRAWERS if chance.random() < share] or [chance.choice(_DRAWERS)]
    draw = _Draw(chance, setup)
    found: list[Fault] = []
    for drawer in (*drawers, *chance.choices(drawers, k=chance.randint(0, 8))):
        drawn = drawer(draw)
        found.extend(drawn if isinstance(drawn, tuple) else (drawn,))
    return tuple(found)


def draw_pauses(chance: random.Random, setup: Setup) -> tuple[Fault, ...]:
    """How often, and when, the server stands still, and then wakes up."""
    draw = _Draw(chance, setup)
    return tuple(draw.pause() for _ in range(chance.choice([2, 3, 5])))


def draw_sequences(chance: random.Random, setup: Setup) -> tuple[Fault, ...]:
    """Faults that harm together, in this order, and seldom meet by chance; in some seeds."""
    return _Draw(chance, setup).lost_pages() if chance.random() < LOST_PAGES_SHARE else ()


class _Draw:
    """Draws single faults."""

    def __init__(self, chance: random.Random, setup: Setup) -> None:
        self.chance = chance
        self.setup = setup
        self.has_rotten_log = False

    def at(self) -> At:
        return At(round(self.chance.uniform(0.2, self.setup.trouble_seconds), 3))

    def seconds(self) -> float:
        return round(self.chance.choice(_DOWN_SECONDS) * self.chance.uniform(0.5, 1.5), 3)

    def placed(self, path: str) -> str:
        """Where the file or folder is, if tables are split."""
        return f"{HOME}/{path.replace('log-*', 'log')}".rstrip("/") if self.setup.reshapes else path

    def step(self) -> OnDisk:
        verb, path = self.chance.choice((*_STEPS, *_RESHAPING_STEPS) if self.setup.reshapes else _STEPS)
        return OnDisk(verb, self.placed(path), SERVER, nth=self.chance.choice([1, 1, 2, 3, 5, 10, 20, 50]))

    def ending(self) -> Ending:
        return self.chance.choice((Kill(), PowerCut()))

    def kill(self) -> Fault:
        return Fault(self.at(), Kill(), _TARGET, self.seconds())

    def power(self) -> Fault:
        return Fault(self.at(), PowerCut(), _TARGET, self.seconds())

    def stop(self) -> Fault:
        return Fault(self.at(), Stop(), _TARGET, self.seconds())

    def at_step(self) -> Fault:
        return Fault(self.step(), self.ending(), _TARGET, self.seconds())

    def step_fails(self) -> Fault:
        return Fault(self.step(), OperationFails(), _TARGET, self.chance.choice([None, None, 0.5]))

    def pause(self) -> Fault:
        seconds = self.chance.choice([0.2, 1.0, 1.0, 3.0]) * self.chance.uniform(0.8, 1.5)
        if self.chance.random() < 0.4:
            return Fault(self.at(), Pause(), _TARGET, round(seconds, 3))
        verb, path = self.chance.choice(_FENCED_STEPS)
        step = OnDisk(verb, self.placed(path), SERVER, nth=self.chance.choice([1, 2, 5, 10, 20, 50]))
        return Fault(step, Pause(), _TARGET, round(seconds, 3))

    def full(self) -> Fault:
        return Fault(self.at(), DiskTrouble(FullDisk()), _TARGET, self.seconds())

    def short_writes(self) -> Fault:
        return Fault(self.at(), DiskTrouble(ShortWrites()), _TARGET, 4.0 * self.seconds())

    def nearly_full(self) -> tuple[Fault, ...]:
        """What does not fit is written in part, while a slow disk makes many wait for one write."""
        when, seconds, left = self.at(), 4.0 * self.seconds(), self.chance.randrange(10_000, 90_000)
        slow = SlowDisk(seconds_per_operation=0.002, seconds_per_sync=0.005)
        troubles = (FullDisk(DISK_BYTES - left), ShortWrites(), slow)
        return tuple(Fault(when, DiskTrouble(trouble), _TARGET, seconds) for trouble in troubles)

    def slow(self) -> Fault:
        chance = self.chance
        fault = SlowDisk(
            seconds_per_operation=chance.choice([0.0, 0.0005, 0.005]), seconds_per_sync=chance.choice([0.002, 0.02])
        )
        return Fault(self.at(), DiskTrouble(fault), _TARGET, 4.0 * self.seconds())

    def error(self) -> Fault:
        path = self.chance.choice(["", "log", "tablet", "tablet0"])
        path = self.placed(path) if path else ""
        lost = SyncError(path, loses_pages=True)
        fault = self.chance.choice([ReadError(path), WriteError(path), SyncError(path), lost])
        return Fault(self.at(), DiskTrouble(fault), _TARGET, self.seconds())

    def lost_pages(self) -> tuple[Fault, ...]:
        """Syncs of the log fail and forget what they should have written; the server gives up, and its next life finds
        these bytes in the cache, and writes after them. Then the power goes."""
        lost = DiskTrouble(SyncError(self.placed("log-*").removesuffix("-*"), loses_pages=True))
        when, seconds = self.at(), round(self.chance.uniform(0.5, 3.0), 3)
        dark = At(round(when.seconds + seconds + self.chance.uniform(0.6, 3.0), 3))
        return Fault(when, lost, _TARGET, seconds), Fault(dark, PowerCut(), _TARGET, 0.1)

    def rot(self) -> Fault:
        pattern = self.chance.choice(["tablet*/*.sst", "tablet*/*.sst", "tablet*/manifest*", "sorted*/*"])
        place, count = self.chance.random(), self.chance.choice([1, 1, 20])
        what = RottenFile(self.placed(pattern), self.chance.randrange(4), place, count)
        return Fault(self.at(), what, _TARGET, 3.0 * self.seconds())

    def rotten_log(self) -> tuple[Fault, ...]:
        """The node dies, and the newest bytes of its log rot before it is started again; once, for bits that flip twice
        are as before."""
        if self.has_rotten_log:
            return ()
        self.has_rotten_log = True
        when, rotten = self.at(), RottenEnd(self.placed("log-*/*.log"), self.chance.choice([1, 1, 20]))
        dies = Fault(when, self.ending(), _TARGET, 0.2)
        return dies, Fault(At(round(when.seconds + 0.05, 3)), rotten, _TARGET)

    def clock(self) -> Fault:
        seconds = self.chance.choice([-300.0, -1.0, 1.0, 300.0])
        drift = ClockDrift(self.chance.choice([-0.05, 0.05]))
        what: WallOffset | ClockDrift = WallOffset(seconds) if self.chance.random() < 0.5 else drift
        return Fault(self.at(), what, _TARGET, 4.0 * self.seconds())


_DRAWERS: tuple[Callable[[_Draw], Fault | tuple[Fault, ...]], ...] = (
    _Draw.kill,
    _Draw.kill,
    _Draw.power,
    _Draw.power,
    _Draw.stop,
    _Draw.at_step,
    _Draw.at_step,
    _Draw.at_step,
    _Draw.step_fails,
    _Draw.step_fails,
    _Draw.full,
    _Draw.short_writes,
    _Draw.nearly_full,
    _Draw.slow,
    _Draw.error,
    _Draw.rot,
    _Draw.rotten_log,
    _Draw.clock,
)
