"""A whole simulation, and the world of each node in it.

    simulation = Simulation(seed=7)
    desk = simulation.add_node("desk")

    async def story():
        await desk.disk.make_directory("notes")
        simulation.power_cut("desk")
        desk_again = simulation.restart("desk")
        return await desk_again.disk.list()

    simulation.run(story())

The coroutine that is given to `run` is the operator: it belongs to no node, lives through every fault, and may use any
node's world. Work that must die with its node is started with `SimulatedWorld.spawn`, or run with `Simulation.on`.

The same seed gives the same run, event for event: compare `Simulation.event_bytes()`.
"""

import asyncio
import contextvars
import traceback
import weakref
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from runtime.errors import NotFound
from runtime.events import EventLog, MemorySink, TaskFailed
from runtime.faults.links import LinkFaults
from runtime.faults.undo import Imposed, Undo, all_of
from runtime.simulated.cards import Card, FairCard
from runtime.simulated.disk import DEFAULT_CAPACITY_BYTES, SimulatedDisk
from runtime.simulated.distances import WayOut
from runtime.simulated.fabric import ANY, Fabric
from runtime.simulated.loop import LIFE, Life, SimulatedLoop
from runtime.simulated.messages import MessageHook
from runtime.simulated.network import Cards, SimulatedNetwork
from runtime.simulated.tape import Plain, Tape
from runtime.world import Clock, Disk, Network, Random

T = TypeVar("T")

EPOCH_MICROSECONDS = 1_067_000_000_000_000  # October 2003, when the GFS paper was read at SOSP.
BREATH_SECONDS = 0.0001  # What a slice of heavy work costs, by convention: a real cost would not repeat.
BACKGROUND_SECONDS = 0.001
SLOWEST_RATE = 0.01  # of a clock: one that stands still would stop its node for ever


# All that have not been collected, for tests that close what they leave.
OPEN_SIMULATIONS: "weakref.WeakSet[Simulation]" = weakref.WeakSet()


class NodeEnded(Exception):
    """The node that was doing this work was killed or stopped."""


class SimulatedClock:
    """One node's clock: virtual time, moved by an offset and run at a rate of its own."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._rate = 1.0
        self._anchor_true = 0.0
        self._anchor_shown = 0.0
        self._drifts = Imposed[float](self._set_rate)
        self._offsets = Imposed[float]()

    def drift(self, drift: float) -> Undo:
        """Run faster by this part from now on: 0.01 gains 36 seconds an hour. What was gained stays after the end."""
        return self._drifts.add(drift)

    def offset_wall(self, seconds: float) -> Undo:
        """Set the wall clock ahead of the true time by so much. `now` does not jump: it is monotonic."""
        return self._offsets.add(seconds)

    def _set_rate(self) -> None:
        self._anchor_shown, self._anchor_true = self.now(), self._loop.time()
        self._rate = max(SLOWEST_RATE, 1.0 + sum(self._drifts.values()))

    def now(self) -> float:
        """Seconds, monotonic."""
        return self._anchor_shown + (self._loop.time() - self._anchor_true) * self._rate

    def wall_microseconds(self) -> int:
        """Microseconds since the epoch."""
        return EPOCH_MICROSECONDS + int(sum(self._offsets.values()) * 1_000_000) + int(self.now() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Wait until this clock has advanced by `seconds`."""
        await asyncio.sleep(max(0.0, seconds) / self._rate)


class SimulatedWorld:
    """What one life of one node stands on."""

    def __init__(
        self, node: str, life: Life, disk: SimulatedDisk, clock: SimulatedClock, simulation: "Simulation"
    ) -> None:
        self.node = node
        self.life = life
        self.simulated_disk = disk
        self.simulated_clock = clock
        self.clock: Clock = clock
        self.disk: Disk = disk
        self.random: Random = simulation.tape.generator(f"{node} life {simulation.lives_of(node)}")
        self.events = EventLog(node, simulation.sink, clock.wall_microseconds, simulation.true_microseconds)
        self.network: Network = SimulatedNetwork(
            simulation.fabric,
            simulation.cards,
            life,
            simulation.token_of(node),
            self.events,
            self.spawn,
            self.random,
        )
        self._loop = simulation.loop
        self._boot_id = f"{node} boot {simulation.boots_of(node)}"

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` in the background as this node; an exception that escapes it is recorded as TaskFailed."""
        context = contextvars.copy_context()
        context.run(LIFE.set, self.life)
        task = self._loop.create_task(work, name=f"{self.node}: {name}", context=context)
        task.add_done_callback(lambda ended: self._ended(ended, name))
        return task

    async def breathe(self) -> None:
        """Let others run; a slice of work has a fixed cost."""
        await asyncio.sleep(BREATH_SECONDS)

    async def in_background(self, work: Callable[[], T]) -> T:
        """Run `work` here and now, at a fixed cost."""
        result = work()
        await asyncio.sleep(BACKGROUND_SECONDS)
        return result

    def resident_bytes(self) -> int:
        """Not known of a simulated node."""
        return 0

    def boot_id(self) -> str:
        """Changes at a power cut of the node, and not when it is killed."""
        return self._boot_id

    def process_id(self) -> int:
        """A simulated node has no process."""
        return 0

    def _ended(self, task: asyncio.Task[Any], name: str) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.emit(TaskFailed(task=name, trace="".join(traceback.format_exception(error))))


class Simulation:
    """One run: its seed, its nodes, its faults. `bytes_per_second` is the speed of every network card, each way; `ways`
    what lies between racks and data centres. With `fair` the cards serve their streams in turn: see cards.py.
    `recorded` and `plain` are for replays: see tape.py."""

    def __init__(
        self,
        seed: int = 0,
        *,
        quiet: bool = False,
        recorded: bool = False,
        plain: Sequence[Plain] = (),
        token: str = "simulated",
        latency_seconds: float = 0.0002,
        bytes_per_second: float = 125e6,
        ways: WayOut | None = None,
        fair: bool = False,
    ) -> None:
        self.seed = seed
        self.token = token
        self.tape = Tape(seed, quiet=quiet, recorded=recorded, plain=plain)
        self.loop = SimulatedLoop(self.tape)
        make_card = partial(FairCard, loop=self.loop) if fair else Card
        self.fabric = Fabric(self.loop, self.tape, latency_seconds=latency_seconds, ways=ways, make_card=make_card)
        self.cards = Cards(bytes_per_second, make_card)
        self.sink = MemorySink()
        self.reached: dict[str, int] = {}
        self._worlds: dict[str, SimulatedWorld] = {}
        self._lives: dict[str, list[Life]] = {}
        self._power_cuts: dict[str, int] = {}
        self._tokens: dict[str, str] = {}
        OPEN_SIMULATIONS.add(self)

    def run(self, main: Coroutine[Any, Any, T], *, processor_seconds: float | None = None) -> T:
        """Run `main` to its end in virtual time. May be called again: time goes on where it stood. A run that takes
        more than `processor_seconds` of the processor is ended by SimulationStuck."""
        with self.loop.watch(processor_seconds):
            return self.loop.run(main)

    def close(self) -> None:
        """End what is left of all tasks, so that it does not end at some later time. Closing twice is harmless."""
        self.loop.close()

    def __enter__(self) -> "Simulation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Nodes.

    def add_node(
        self, name: str, *, capacity_bytes: int = DEFAULT_CAPACITY_BYTES, token: str | None = None
    ) -> SimulatedWorld:
        """A new node with an empty disk, in its first life. `token`: another one than the cluster's, for a stranger."""
        assert name not in self._worlds, f"there is a node {name} already"
        self._tokens[name] = self.token if token is None else token
        disk = SimulatedDisk(name, self.tape.stream(f"disk of {name}"), self.loop.time, capacity_bytes=capacity_bytes)
        return self._begin_life(name, disk, SimulatedClock(self.loop))

    def world(self, name: str) -> SimulatedWorld:
        """The node's present or last life. Raises NotFound."""
        if name not in self._worlds:
            raise NotFound(f"no node {name!r}; there are {', '.join(self._worlds) or 'none'}")
        return self._worlds[name]

    def nodes(self) -> list[str]:
        """All nodes, in order of addition."""
        return list(self._worlds)

    def lives_of(self, name: str) -> int:
        """How many lives the node has had, the present one included."""
        return len(self._lives.get(name, []))

    def boots_of(self, name: str) -> int:
        """How often the node's machine was started: once, and once more after each power cut."""
        return 1 + self._power_cuts.get(name, 0)

    def true_microseconds(self) -> int:
        """The true time since the epoch, which no node knows."""
        return EPOCH_MICROSECONDS + self.loop.nanoseconds // 1000

    def token_of(self, name: str) -> str:
        """What the node shows to others."""
        return self._tokens.get(name, self.token)

    async def on(self, world: SimulatedWorld, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` as the node, and wait for it. Raises NodeEnded if the node's life ends before, or has ended."""
        if not world.life.alive:
            work.close()
            raise NodeEnded(f"{world.node} has ended, and does no work")
        ended: asyncio.Future[None] = self.loop.create_future()
        context = contextvars.copy_context()
        context.run(LIFE.set, world.life)
        task = self.loop.create_task(work, name=f"{world.node}: operator's work", context=context)
        forget = self.fabric.when_ended(world.life, lambda: ended.cancel())
        task.add_done_callback(lambda _: ended.cancel(), context=contextvars.Context())
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            forget()
        if not task.done():
            raise NodeEnded(f"{world.node} ended before its work was done")
        return task.result()

    # Faults of nodes.

    def kill(self, name: str) -> None:
        """End the node as SIGKILL does: nothing of it runs any more, its disk keeps the page cache."""
        self.world(name)
        for life in [life for life in self._lives[name] if life.alive]:
            life.alive = False
            life.held.clear()
            for task in life.tasks.values():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.fabric.ended(life)

    def power_cut(self, name: str, *, loses_all: bool = False) -> None:
        """Kill the node and take from its disk what was not synced, as the tape decides, or (`loses_all`) all of it.
        Until it is started again its machine answers nothing: others learn of its end only by their patience."""
        self._power_cuts[name] = self._power_cuts.get(name, 0) + 1
        self.fabric.set_dark(name, True)
        self.kill(name)
        self.world(name).simulated_disk.lose_power(loses_all=loses_all)

    def restart(self, name: str) -> SimulatedWorld:
        """Begin another life of the node, on the same disk; a life that still goes on is killed."""
        old = self.world(name)
        self.kill(name)
        return self._begin_life(name, old.simulated_disk, old.simulated_clock)

    def succeed(self, name: str) -> SimulatedWorld:
        """Begin another life of the node, on the same disk, beside the one before, which is paused perhaps and not
        dead: as a second server begins that reaches the same files. Whatever ends the node ends both."""
        old = self.world(name)
        return self._begin_life(name, old.simulated_disk, old.simulated_clock)

    def pause(self, name: str) -> Undo:
        """Freeze the node as SIGSTOP does: what comes in waits. It goes on when every pause of this life is undone."""
        life = self.world(name).life
        life.paused = True
        end_this = life.pauses.add("paused")

        def undo() -> None:
            end_this()
            if life.paused and not life.pauses:
                self.loop.resume(life)

        return undo

    def resume(self, name: str) -> None:
        """Let a paused node go on, however many pauses there are."""
        life = self.world(name).life
        life.pauses.clear()
        self.loop.resume(life)

    # Faults of the network.

    def partition(self, one: list[str], other: list[str], *, one_way: bool = False) -> Undo:
        """Cut the ways between two groups of nodes; `one_way` cuts only what `one` sends."""
        ways = [(source, target) for source in one for target in other]
        if not one_way:
            ways += [(target, source) for source, target in ways]
        return all_of([self.fabric.block(source, target) for source, target in ways])

    def isolate(self, name: str) -> Undo:
        """Cut a node off from all others."""
        return self.partition([name], [other for other in self.nodes() if other != name])

    def impose(self, faults: LinkFaults, source: str = ANY, target: str = ANY) -> Undo:
        """Make one way slow, lossy, or given to duplicates; "*" stands for any node."""
        return self.fabric.impose(faults, source, target)

    def reset(self, name: str, other: str = ANY, *, one_sided: bool = False) -> None:
        """Break the streams of calls between two nodes; "*" stands for any node. `one_sided`: callers alone notice."""
        self.fabric.reset(name, other, one_sided=one_sided)

    def slow(self, name: str, seconds: float) -> Undo:
        """Delay all that a node sends or receives."""
        return self.fabric.slow(name, seconds)

    def on_message(self, hook: MessageHook) -> Undo:
        """Ask a hook about every message: see messages.py."""
        return self.fabric.on_message(hook)

    def heal(self) -> None:
        """End all faults of the network."""
        self.fabric.heal()

    # What happened.

    def sometimes(self, label: str) -> None:
        """Mark that this run has reached a rare state; a sweep reports the labels that no run reached."""
        self.reached[label] = self.reached.get(label, 0) + 1

    def event_bytes(self) -> bytes:
        """All events of all nodes, one JSON line each, in the order in which they happened."""
        return "".join(record.to_json() + "\n" for record in self.sink.records).encode()

    def _begin_life(self, name: str, disk: SimulatedDisk, clock: SimulatedClock) -> SimulatedWorld:
        self.fabric.set_dark(name, False)
        life = Life(name)
        self._lives.setdefault(name, []).append(life)
        world = self._worlds[name] = SimulatedWorld(name, life, disk, clock, self)
        return world
