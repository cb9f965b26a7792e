"""Two placement policies, when a server joins and when one leaves: bytes moved, and how even the disks are (GFS 4.2).

    python -m bench.placement [--servers 16] [--chunks 4000] [--racks 4] [--plot docs/pictures/placement.svg]

The policies are pure functions (`master/balance/placement.py` and `hashing.py` beside it), so that this needs no
cluster: chunks of drawn sizes are placed as a master would place them, then a server joins and moves are made until the
policy wants none, then a server leaves and its copies are made elsewhere. Every figure follows from the seed.

    balance     what the fullest server stores, over the mean of all; and the standard deviation, over the mean
    moved       bytes that were copied, over what a perfect balance would need: the new server's even share when one
                joins, what the dead server held when one leaves
    peak        the largest share of the chunks created right after a server joined that went to it, over its even
                share: a server that has just joined should not get every new chunk
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.report import machine
from master.balance.placement import Candidate, Policy, Stored
from master.balance.placement_policies import POLICIES, policy_of
from master.balance.racks import Topology

GIGABYTE = 10**9
DISK_BYTES = 400 * GIGABYTE
CHUNK_BYTES = 64 * 1024 * 1024
COPIES = 3
NEW_CHUNKS = 300
MOVES_AT_ONCE = 64
COLOURS = ("#1f77b4", "#d62728")
_WIDTH, _PANEL, _LEFT, _GAP = 760, 150, 60, 64


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly servers are filled, each figure over the mean."""

    highest: float
    deviation: float


@dataclass(slots=True)
class World:
    """Servers, and which of them hold which chunk."""

    policy: Policy
    chance: random.Random
    servers: dict[str, Candidate] = field(default_factory=dict)
    chunks: dict[int, Stored] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)

    def join(self, name: str, rack: str) -> None:
        """An empty server joins."""
        self.servers[name] = Candidate(name, rack, DISK_BYTES, DISK_BYTES, 0.0)
        self.loads[name] = 0

    def candidates(self) -> list[Candidate]:
        """All servers, in a drawn order."""
        found = [replace(server, free=server.total - self.loads[name]) for name, server in self.servers.items()]
        self.chance.shuffle(found)
        return found

    def create(self, handle: int, length: int) -> tuple[str, ...]:
        """Make a chunk; returns its servers. What was created lately counts less with each later chunk."""
        chosen = self.policy.choose(self.candidates(), handle=handle, count=COPIES, needed_bytes=CHUNK_BYTES)
        for name, server in self.servers.items():
            recent = server.recent_creations * 0.98 + (name in chosen)
            self.servers[name] = replace(server, recent_creations=recent)
        self.put(Stored(handle, length, chosen))
        return chosen

    def put(self, chunk: Stored) -> None:
        """Say which servers hold a chunk now."""
        before = self.chunks.get(chunk.handle)
        for name in before.replicas if before else ():
            if name in self.loads:
                self.loads[name] -= chunk.length
        for name in chunk.replicas:
            self.loads[name] += chunk.length
        self.chunks[chunk.handle] = chunk

    def even_out(self) -> int:
        """Make the moves that the policy wants until it wants none; returns the bytes that were copied."""
        moved = 0
        while True:
            planned = self.policy.moves(
                self.candidates(), list(self.chunks.values()), loads=self.loads, most=MOVES_AT_ONCE
            )
            if not planned:
                return moved
            for move in planned:
                chunk = self.chunks[move.handle]
                names = tuple(move.destination if name == move.source else name for name in chunk.replicas)
                self.put(replace(chunk, replicas=names))
                moved += chunk.length

    def leave(self, name: str) -> int:
        """A server dies, and its copies are made elsewhere; returns the bytes that were copied."""
        del self.servers[name]
        held = [chunk for chunk in self.chunks.values() if name in chunk.replicas]
        moved = 0
        for chunk in held:
            by_name = {server.name: server for server in self.candidates()}
            present = [by_name[other] for other in chunk.replicas if other != name]
            [new] = self.policy.choose(
                list(by_name.values()), handle=chunk.handle, count=1, needed_bytes=CHUNK_BYTES, present=present
            )
            self.put(replace(chunk, replicas=(*(other for other in chunk.replicas if other != name), new)))
            moved += chunk.length
        del self.loads[name]
        return moved

    def balance(self) -> Balance:
        """How even it is now."""
        loads = list(self.loads.values())
        mean = statistics.mean(loads)
        return Balance(max(loads) / mean, statistics.pstdev(loads) / mean)

    def broken(self) -> int:
        """Chunks whose copies break the rule of racks."""
        topology = Topology(server.place for server in self.servers.values())
        places = [[self.servers[name].place for name in chunk.replicas] for chunk in self.chunks.values()]
        return sum(topology.breaks(held) > 0 for held in places)


@dataclass(slots=True)
class Outcome:
    """What one policy did. Bytes; `loads` are those of each server at the end of each step."""

    policy: str
    steps: dict[str, tuple[Balance, int, float]] = field(default_factory=dict)  # balance, bytes moved, over the least
    loads: dict[str, dict[str, int]] = field(default_factory=dict)
    peak: float = 0.0
    broken: int = 0


def play(name: str, *, servers: int, chunks: int, racks: int, seed: int) -> Outcome:
    """Fill a cluster, let a server join and one leave."""
    world, outcome = World(policy_of(name), random.Random(f"order {seed}")), Outcome(name)
    sizes = random.Random(f"sizes {seed}")

    def note(step: str, moved: int, least: float) -> None:
        outcome.steps[step] = (world.balance(), moved, moved / least if least else 0.0)
        outcome.loads[step] = dict(world.loads)

    for number in range(1, servers + 1):
        world.join(f"cs{number}", f"r{(number - 1) % racks + 1}")
    for handle in range(1, chunks + 1):
        world.create(handle, sizes.randint(1, CHUNK_BYTES))
    note("filled", 0, 0)
    new = f"cs{servers + 1}"
    world.join(new, f"r{servers % racks + 1}")
    chosen = [
        new in world.create(chunks + number, sizes.randint(1, CHUNK_BYTES)) for number in range(1, NEW_CHUNKS + 1)
    ]
    windows = [sum(chosen[begin : begin + 50]) / 50 for begin in range(0, NEW_CHUNKS, 50)]
    outcome.peak = max(windows) / (COPIES / len(world.servers))
    note(f"{new} joined", 0, 0)
    lacking = sum(world.loads.values()) / len(world.loads) - world.loads[new]
    note("evened out", world.even_out(), lacking)
    held = world.loads["cs1"]
    note("cs1 left", world.leave("cs1"), held)
    note("evened out again", world.even_out(), 0)
    outcome.broken = world.broken()
    return outcome


def tables(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown."""
    lines = [
        "| step | policy | fullest / mean | deviation / mean | moved, GB | moved / least |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for step in outcomes[0].steps:
        for outcome in outcomes:
            balance, moved, ratio = outcome.steps[step]
            moves = (f"{moved / GIGABYTE:.1f}" if moved else "-", f"{ratio:.2f}" if ratio else "-")
            figures = (f"{balance.highest:.3f}", f"{balance.deviation:.3f}", *moves)
            lines.append(f"| {step} | {outcome.policy} | {' | '.join(figures)} |")
    lines += [
        "",
        "| policy | new chunks to the new server, over its even share | chunks that break the rule of racks |",
    ]
    lines.append("|---|--:|--:|")
    lines += [f"| {outcome.policy} | {outcome.peak:.2f} | {outcome.broken} |" for outcome in outcomes]
    return "\n".join(lines)


def plot(outcomes: Sequence[Outcome], title: str) -> str:
    """What each server stores after each step, as an SVG picture."""
    steps = list(outcomes[0].loads)
    height = 60 + len(steps) * (_PANEL + _GAP)
    names = list(dict.fromkeys(name for outcome in outcomes for loads in outcome.loads.values() for name in loads))
    most = max(load for outcome in outcomes for loads in outcome.loads.values() for load in loads.values()) / GIGABYTE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="bold">{title}</text>',
    ]
    for number, outcome in enumerate(outcomes):
        x = _LEFT + number * 150
        parts.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{COLOURS[number]}"/>')
        parts.append(f'<text x="{x + 18}" y="40">{outcome.policy}</text>')
    for place, step in enumerate(steps):
        top = 60 + place * (_PANEL + _GAP)
        bottom, slot = top + 16 + _PANEL, (_WIDTH - _LEFT - 20) / len(names)
        parts.append(f'<text x="{_LEFT}" y="{top + 8}">{step}: GB on each server</text>')
        for line in range(5):
            y = bottom - line * _PANEL / 4
            parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 20}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * line / 4:.1f}</text>')
        for at, name in enumerate(names):
            parts.append(
                f'<text x="{_LEFT + (at + 0.5) * slot:.1f}" y="{bottom + 14}" text-anchor="middle" font-size="9">'
                f"{name}</text>"
            )
            for number, outcome in enumerate(outcomes):
                stored = outcome.loads[step].get(name, 0) / GIGABYTE
                width, tall = slot * 0.4, _PANEL * stored / most
                left = _LEFT + at * slot + slot * 0.1 + number * width
                parts.append(
                    f'<rect x="{left:.1f}" y="{bottom - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
                    f'fill="{COLOURS[number]}"/>'
                )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Play, print the tables, draw the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.placement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, default=16)
    parser.add_argument("--chunks", type=int, default=4000)
    parser.add_argument("--racks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="also draw what each server stores")
    options = parser.parse_args()
    facts = {"servers": options.servers, "chunks": options.chunks, "racks": options.racks, "seed": options.seed}
    outcomes = [play(name, **facts) for name in POLICIES]
    title = (
        f"{options.chunks} chunks of up to 64 MiB, {COPIES} copies, {options.servers} servers in {options.racks} racks"
    )
    print(f"{machine()}; {title}\n")
    print(tables(outcomes))
    if options.plot is not None:
        options.plot.write_text(plot(outcomes, title), encoding="utf-8")


if __name__ == "__main__":
    main()
