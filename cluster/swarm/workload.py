"""Drawing the cluster and the work of one seed.

Few paths and much work, so that clients collide; sizes that lie at the edges of blocks and chunks more often than
chance would have it. Each seed has some kinds of operations only, with weights of its own.
"""

import dataclasses
import random
from dataclasses import dataclass

from cluster.swarm.appends import most_payload_bytes
from cluster.swarm.history import Kind
from cluster.swarm.plan import PlannedOperation, Setup

BLOCK = 65536
CLIENTS = ("client1", "client2", "client3")
_SLOTS = 2
_OPENING = ("wb", "xb", "ab", "r+b", "rb")
# Two ways to work: with names, where files come and go, and with bytes, where a few files live through all faults.
_BY_NAMES = {
    Kind.CREATE: 1.0,
    Kind.WRITE_FILE: 6.0,
    Kind.OPEN: 5.0,
    Kind.WRITE: 7.0,
    Kind.APPEND: 5.0,
    Kind.READ: 4.0,
    Kind.CLOSE: 3.0,
    Kind.ABANDON: 0.4,
    Kind.READ_FILE: 7.0,
    Kind.STAT: 4.0,
    Kind.LIST: 3.0,
    Kind.RENAME: 4.0,
    Kind.DELETE: 4.0,
    Kind.MAKE_DIRECTORY: 3.0,
}
_BY_BYTES = _BY_NAMES | {
    Kind.WRITE_FILE: 0.7,
    Kind.OPEN: 6.0,
    Kind.WRITE: 14.0,
    Kind.APPEND: 12.0,
    Kind.READ: 8.0,
    Kind.CREATE: 0.2,
    Kind.RENAME: 0.3,
    Kind.DELETE: 0.3,
    Kind.MAKE_DIRECTORY: 0.3,
}
_MODES_BY_NAMES = (3.0, 1.0, 3.0, 3.0, 1.0)
_MODES_BY_BYTES = (0.3, 0.1, 5.0, 5.0, 1.5)
WITH_GOALS = 0.4
"""The share of seeds in which the goals of files change."""
WITH_GIVING_UP = 0.3
"""The share of seeds in which callers give up calls of open files."""
WITH_COMPANY = 0.4
"""The share of seeds in which clients write several whole files at the same time, or create several."""
WITH_APPENDS = 0.4
"""The share of seeds in which clients append records to one file."""
WITH_NEXT_CHUNKS = 0.5
"""The share of these in which some have the next chunk made before the last one is full."""
SHARED = "/records"
SHARED_SLOT = _SLOTS
_GIVEN_UP = (Kind.WRITE, Kind.APPEND, Kind.READ, Kind.CLOSE)

FEWEST_REPLICAS = 2
# Without these a seed would show nothing.
_ALWAYS = (Kind.READ_FILE, Kind.OPEN, Kind.WRITE)


def draw_setup(chance: random.Random) -> Setup:
    """A cluster."""
    heartbeat = chance.choice([0.5, 1.0, 1.0, 2.0])
    servers = chance.randint(3, 7)
    return Setup(
        chunkservers=servers,
        replicas=chance.choice([2, 3, 3, 3]),
        chunk_bytes=chance.choice([BLOCK, BLOCK, 2 * BLOCK]),
        lease_seconds=max(2 * heartbeat, chance.choice([4.0, 4.0, 6.0, 10.0, 20.0, 60.0])),
        heartbeat_seconds=heartbeat,
        dead_after_heartbeats=chance.choice([3.0, 5.0, 5.0, 10.0]),
        durability=chance.choice(["replicated", "replicated", "fsync"]),
        trash_grace_seconds=chance.choice([3.0, 15.0, 40.0]),
        namespace_scan_seconds=chance.choice([2.0, 5.0, 10.0]),
        checkpoint_log_bytes=chance.choice([2048, 8192, 1 << 20]),
        inline_bytes=chance.choice([0, 4096, BLOCK, BLOCK]),
        write_piece_bytes=chance.choice([16384, 1 << 20, 1 << 22]),
        location_seconds=chance.choice([5.0, 30.0]),
        patience_seconds=chance.choice([12.0, 30.0]),
        write_seconds=chance.choice([1.5, 10.0]),
        write_patience_seconds=chance.choice([8.0, 25.0, 120.0, 120.0]),
        trouble_seconds=chance.uniform(60.0, 150.0),
    )


def with_host(chance: random.Random, setup: Setup) -> Setup:
    """In half of the seeds the clients are beside a chunkserver, whose replicas they read first: otherwise they would
    nearly always read the primary's. Drawn apart from all else."""
    host = f"cs{chance.randint(1, setup.chunkservers)}" if chance.random() < 0.5 else ""
    return dataclasses.replace(setup, client_host=host)


def draw_operations(chance: random.Random, setup: Setup) -> tuple[tuple[PlannedOperation, ...], list[str]]:
    """What each client does, and to which files."""
    is_by_bytes = chance.random() < 0.5
    kinds = _BY_BYTES if is_by_bytes else _BY_NAMES
    weights = {kind: weight * chance.choice([0.3, 1.0, 1.0, 3.0]) for kind, weight in kinds.items()}
    for kind in weights:
        if kind not in _ALWAYS and chance.random() < 0.15:
            weights[kind] = 0.0
    paths = _draw_paths(chance, _MODES_BY_BYTES if is_by_bytes else _MODES_BY_NAMES)
    total = chance.randint(80, 200)
    is_in_bursts = chance.random() < 0.5
    habit = _Habit(chance.choice([0.0, 0.1, 0.5]), chance.choice([0.0, 0.1, 0.5]))
    found = _beginning(chance, paths, setup)
    for client in CLIENTS:
        count = total // len(CLIENTS)
        pause = setup.trouble_seconds / count
        for number in range(count):
            kind = chance.choices(list(weights), list(weights.values()))[0]
            wait = chance.uniform(0.0, 2.0 * pause) * 0.9
            if is_in_bursts:
                wait = chance.uniform(0.0, 0.3) if chance.random() < 0.7 else 3.3 * wait
            drawn = _draw_operation(chance, client, kind, paths, setup, wait)
            found += [drawn, *_what_follows(chance, drawn, habit, setup)]
            if number % 12 == 11:
                found.append(PlannedOperation(client, 0.1, Kind.CLOSE, slot=chance.randrange(_SLOTS)))
    return tuple(found), paths.files


def with_goals(
    chance: random.Random, setup: Setup, operations: tuple[PlannedOperation, ...], paths: list[str]
) -> tuple[PlannedOperation, ...]:
    """In some seeds files get more or fewer replicas too, and an operator has some compared. Drawn apart from all else,
    so that the other seeds are what they would be without."""
    if chance.random() >= WITH_GOALS:
        return operations
    found = list(operations)
    for _ in range(chance.randint(2, 14)):
        place = chance.randrange(1, len(found))
        client, path, pause = found[place].client, chance.choice(paths), chance.choice([0.0, 0.1, 1.0, 4.0])
        kind = Kind.SET_REPLICATION if chance.random() < 0.8 else Kind.COMPARE
        count = chance.randint(FEWEST_REPLICAS, setup.chunkservers)
        found.insert(place, PlannedOperation(client, pause, kind, path, count=count))
    return tuple(found)


def with_giving_up(chance: random.Random, operations: tuple[PlannedOperation, ...]) -> tuple[PlannedOperation, ...]:
    """In some seeds callers give up, after a moment, some of the calls of open files, and go on with the file. Drawn
    apart from all else, so that the other seeds are what they would be without."""
    if chance.random() >= WITH_GIVING_UP:
        return operations
    share = chance.choice([0.05, 0.15, 0.3])
    return tuple(
        dataclasses.replace(planned, gives_up_after=chance.choice([0.0005, 0.002, 0.005, 0.05, 1.0]))
        if planned.kind in _GIVEN_UP and chance.random() < share
        else planned
        for planned in operations
    )


def with_company(
    chance: random.Random, setup: Setup, operations: tuple[PlannedOperation, ...], paths: list[str]
) -> tuple[PlannedOperation, ...]:
    """In some seeds a client that writes a whole file, or creates an empty one, does the same with others at the same
    time: they are created in one call. Drawn apart from all else, so that the other seeds are what they would be
    without."""
    if chance.random() >= WITH_COMPANY:
        return operations
    names = [*paths, *(f"{path}{number}" for path in paths for number in (1, 2))]
    found: list[PlannedOperation] = []
    for planned in operations:
        found.append(planned)
        if planned.kind in (Kind.WRITE_FILE, Kind.CREATE) and chance.random() < 0.6:
            first = found[-1] = dataclasses.replace(planned, replace=False)
            found += [
                dataclasses.replace(first, path=chance.choice(names), count=_draw_size(chance, setup), together=True)
                for _ in range(chance.randint(1, 5))
            ]
    return tuple(found)


def with_appends(
    chance: random.Random, setup: Setup, operations: tuple[PlannedOperation, ...]
) -> tuple[PlannedOperation, ...]:
    """In some seeds all clients append records to one file, in bursts, and read it (GFS 3.3). Nothing else is done to
    it, but in some seeds it is renamed or deleted now and then. Drawn apart from all else, so that the other seeds are
    what they would be without."""
    if chance.random() >= WITH_APPENDS:
        return operations
    found = list(operations)
    most = most_payload_bytes(setup.chunk_bytes)
    sizes = chance.choice([(1, 300), (200, 5000), (most // 2, most), (1, most)])
    gives_up = chance.choice([0.0, 0.0, 0.1])
    loses_name = chance.choice([0.0, 0.0, 0.15])
    for _ in range(chance.randint(6, 25)):
        place = chance.randrange(1, len(found))
        client, pause = found[place].client, chance.choice([0.0, 0.1, 1.0])
        burst = [PlannedOperation(client, pause, Kind.OPEN, SHARED, mode="ab", slot=SHARED_SLOT)]
        for _ in range(chance.randint(1, 6)):
            patience = chance.choice([0.0005, 0.005, 1.0]) if chance.random() < gives_up else 0.0
            append = PlannedOperation(client, chance.choice([0.0, 0.0, 0.3]), Kind.RECORD_APPEND, slot=SHARED_SLOT)
            burst.append(dataclasses.replace(append, count=chance.randint(*sizes), gives_up_after=patience))
        kind = chance.choice([Kind.READ_FILE, Kind.STAT, None, None])
        if chance.random() < loses_name:
            kind = chance.choice([Kind.RENAME, Kind.DELETE])
        if kind is not None:
            target = f"{SHARED}-{chance.randint(1, 3)}" if kind is Kind.RENAME else ""
            burst.append(PlannedOperation(client, chance.choice([0.0, 1.0]), kind, SHARED, target))
        if chance.random() < 0.4 or kind in (Kind.RENAME, Kind.DELETE):
            burst.append(PlannedOperation(client, 0.1, Kind.CLOSE, slot=SHARED_SLOT))
        found[place:place] = burst
    return tuple(found)


def with_next_chunks(chance: random.Random, operations: tuple[PlannedOperation, ...]) -> tuple[PlannedOperation, ...]:
    """In some of the seeds in which clients append records to one file, some of them have the file's next chunk made
    and write nothing to it. Drawn apart from all else, so that the other seeds are what they would be without."""
    if chance.random() >= WITH_NEXT_CHUNKS:
        return operations
    share = chance.choice([0.03, 0.1, 0.3])
    found: list[PlannedOperation] = []
    for planned in operations:
        found.append(planned)
        if planned.kind is Kind.RECORD_APPEND and chance.random() < share:
            pause = chance.choice([0.0, 0.0, 0.5])
            found.append(PlannedOperation(planned.client, pause, Kind.NEXT_CHUNK, slot=planned.slot))
    return tuple(found)


def _beginning(chance: random.Random, paths: "_Paths", setup: Setup) -> list[PlannedOperation]:
    """Most of the directories and files are there from the first second on."""
    found = [
        PlannedOperation(CLIENTS[0], 0.0, Kind.MAKE_DIRECTORY, path, parents=True)
        for path in paths.directories
        if chance.random() < 0.8
    ]
    found += [
        PlannedOperation(CLIENTS[0], 0.0, Kind.WRITE_FILE, path, count=_draw_size(chance, setup))
        for path in paths.files
        if chance.random() < 0.7
    ]
    return found


@dataclass(frozen=True, slots=True)
class _Habit:
    """How often a write is followed by another one to the same place, and how often its client looks at it again."""

    corrects: float
    looks_again: float


def _what_follows(
    chance: random.Random, drawn: PlannedOperation, habit: _Habit, setup: Setup
) -> list[PlannedOperation]:
    """What the client does soon after a write: nothing that was decided about it before holds with certainty then."""
    found: list[PlannedOperation] = []
    if drawn.kind is not Kind.WRITE:
        return found
    pause = chance.choice([0.0, 0.3, 2.0])
    if chance.random() < habit.corrects:
        found.append(dataclasses.replace(drawn, pause=pause, count=_draw_size(chance, setup)))
    if chance.random() < habit.looks_again:
        found += [dataclasses.replace(drawn, pause=pause, kind=Kind.READ)] * chance.choice([1, 1, 3])
    return found


@dataclass(frozen=True, slots=True)
class _Paths:
    files: list[str]
    directories: list[str]
    modes: tuple[float, ...]  # how often each of _OPENING


def _draw_paths(chance: random.Random, modes: tuple[float, ...]) -> _Paths:
    names = chance.sample(["a", "b", "c", "x", "y", "z"], chance.randint(1, 3))
    directories = chance.sample(["/d", "/e", "/d/f"], chance.randint(0, 3))
    files = [f"/{name}" for name in names]
    files += [f"{directory}/{chance.choice(names)}" for directory in directories]
    return _Paths(files, directories or ["/d"], modes)


def _draw_operation(
    chance: random.Random, client: str, kind: Kind, paths: _Paths, setup: Setup, pause: float
) -> PlannedOperation:
    path = chance.choice(paths.files)
    slot = chance.randrange(_SLOTS)
    size = _draw_size(chance, setup)
    match kind:
        case Kind.WRITE_FILE:
            replace = chance.random() < 0.6
            return PlannedOperation(client, pause, kind, path, replace=replace, count=size)
        case Kind.OPEN:
            mode = chance.choices(_OPENING, paths.modes)[0]
            return PlannedOperation(client, pause, kind, path, mode=mode, slot=slot, replace=chance.random() < 0.7)
        case Kind.WRITE:
            return PlannedOperation(client, pause, kind, slot=slot, offset=_draw_offset(chance, setup), count=size)
        case Kind.APPEND:
            return PlannedOperation(client, pause, kind, slot=slot, count=size)
        case Kind.READ:
            offset = _draw_offset(chance, setup)
            return PlannedOperation(client, pause, kind, slot=slot, offset=offset, count=_draw_size(chance, setup))
        case Kind.RENAME:
            if chance.random() < 0.25:
                target = chance.choice(paths.directories) + chance.choice(["", "2"])
                return PlannedOperation(client, pause, kind, chance.choice(paths.directories), target)
            target = chance.choice(paths.files)
            return PlannedOperation(client, pause, kind, path, target, replace=chance.random() < 0.6)
        case Kind.DELETE:
            is_tree = chance.random() < 0.3
            victim = chance.choice(paths.directories) if is_tree else path
            return PlannedOperation(client, pause, kind, victim, recursive=is_tree, immediately=chance.random() < 0.4)
        case Kind.MAKE_DIRECTORY:
            return PlannedOperation(
                client, pause, kind, chance.choice(paths.directories), parents=chance.random() < 0.7
            )
        case Kind.LIST:
            where = chance.choice(["/", *paths.directories])
            return PlannedOperation(client, pause, kind, where, recursive=chance.random() < 0.4)
        case _:
            return PlannedOperation(client, pause, kind, path, slot=slot)


def _draw_size(chance: random.Random, setup: Setup) -> int:
    kind = chance.randrange(10)
    if kind < 4:
        return chance.randint(1, 200)
    if kind < 7:
        return chance.randint(200, 20_000)
    if kind < 9:
        return max(1, BLOCK + chance.choice([-1, 0, 1, -513, 700]))
    return setup.chunk_bytes + chance.randint(-600, 30_000)


def _draw_offset(chance: random.Random, setup: Setup) -> int:
    kind = chance.randrange(10)
    if kind < 3:
        return 0
    if kind < 6:
        return chance.randint(0, 5_000)
    if kind < 8:
        return max(0, BLOCK * chance.randint(0, 2) + chance.choice([-300, -1, 0, 512]))
    return max(0, setup.chunk_bytes * chance.randint(1, 2) + chance.choice([-40, 0, 9000]))
