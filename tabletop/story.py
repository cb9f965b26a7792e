"""The main job as a story, told over a cluster of either world.

A cluster stores a folder tree; the chunkserver that is primary for a file dies while the file is written; bits rot in a
stored block; the acting master dies in the middle of a write, and another one takes over (or the only one restarts from
its log in the middle of reading); and at the end every byte is as it was, on the full number of copies. `tabletop demo`
tells it with processes, tests/sim tells it in virtual time.

Every claim is a check that can fail: the story holds if all of them held.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from cluster import checkers
from cluster.interface import Cluster, Corruption, NodeState, wait_until
from cluster.roles import MASTER
from runtime.errors import Corrupted, TabletopError, TimedOut, Unavailable
from runtime.events import in_causal_order, sentence
from runtime.wire import common_pb2, master_pb2
from tabletop import transfer, wording
from tabletop.progress import Meter
from tabletop.sources import SourceFile, Tree, digests

TREE = "/library"
LONG = "/long-file"
WRITTEN = "/written-while-a-server-dies"
WITHOUT_MASTER = "/written-while-the-master-dies"
HEAL_SECONDS = 120.0


class Narrator(Protocol):
    """Who tells the story."""

    def chapter(self, title: str) -> None:
        """A new part begins."""

    def say(self, text: str) -> None:
        """One thing that happened, or that is about to."""

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Some facts."""

    def check(self, claim: str, held: bool) -> None:
        """A claim, and whether it turned out true."""

    def progress(self, verb: str, total_bytes: int, files: int) -> AbstractContextManager[Meter]:
        """Work of this size begins."""


@dataclass
class Timeline:
    """What the master reported, sampled while the story went on. Times in seconds of the loop's clock."""

    samples: list[tuple[float, master_pb2.ClusterStatus]] = field(default_factory=list)

    def first(self, after: float, condition: Callable[[master_pb2.ClusterStatus], bool]) -> float | None:
        """When the condition was first seen to hold, from `after` on; None if never."""
        return next((time for time, status in self.samples if time >= after and condition(status)), None)

    def most(self, after: float, figure: Callable[[master_pb2.ClusterStatus], int]) -> int:
        """The highest value of a figure from `after` on."""
        return max((figure(status) for time, status in self.samples if time >= after), default=0)


class Story:
    """One telling. `long_file` is a tree of one file "" that fills several chunks."""

    def __init__(self, cluster: Cluster, tree: Tree, long_file: Tree, narrator: Narrator) -> None:
        self.cluster = cluster
        self.narrator = narrator
        self.checks: list[tuple[str, bool]] = []
        self._tree = tree
        self._long_file = long_file
        self._client = cluster.client()
        self._expected: dict[str, str] = {}
        self._timeline = Timeline()
        self._killed = ""
        self._killed_at = 0.0
        self._rotten: Corruption | None = None
        self._events_before_rot: dict[str, int] = {}

    async def tell(self) -> bool:
        """Tell the whole story on a cluster that serves; returns whether every check held."""
        watching = asyncio.get_running_loop().create_task(self._watch(), name="watch the master")
        try:
            await self.store()
            await self.show_chunks()
            await self.kill_a_primary_while_it_is_written_to()
            await self.rot_a_block()
            if self.cluster.settings.masters > 1:
                await self.lose_the_acting_master_while_a_file_is_written()
                await self.read_everything_back()
            else:
                await self.read_everything_back_while_the_master_restarts()
            await self.wait_until_healed()
            await self.judge()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return all(held for _, held in self.checks)

    async def store(self) -> None:
        """Put the tree and the long file into the cluster."""
        self.narrator.chapter("A folder tree goes in")
        total = sum(file.size for file in self._tree.files) + self._long_file.files[0].size
        files = len(self._tree.files) + 1
        for path, digest in (await digests(self._tree)).items():
            self._expected[f"{TREE}/{path}"] = digest
        self._expected[LONG] = (await digests(self._long_file))[""]
        started = _now()
        with self.narrator.progress("stored", total, files) as meter:
            await transfer.put_tree(self.cluster, self._tree, TREE, meter)
            await transfer.put_tree(self.cluster, self._long_file, LONG, meter)
        seconds = _now() - started
        goal = self.cluster.settings.replicas
        self.narrator.say(
            f"{wording.count(files, 'file')}, {wording.size(total)}, each chunk on {goal} chunkservers, in "
            f"{wording.duration(seconds)}: {wording.size(total / max(seconds, 0.001))}/s, "
            f"{files / max(seconds, 0.001):,.0f} files/s."
        )

    async def show_chunks(self) -> None:
        """Show where the bytes are."""
        self.narrator.chapter("Where the chunks are")
        status = await wait_until(
            self._status_with_lengths,
            what="the chunkservers have told the master how long the chunks are",
            timeout_seconds=HEAL_SECONDS,
        )
        assert status is not None
        self.narrator.say(
            f"The master knows {wording.count(status.chunk_count, 'chunk')} of up to {wording.size(status.chunk_bytes)}"
            f" in {wording.count(status.file_count, 'file')}. Which server holds which chunk it never writes down: "
            "it asks the chunkservers (GFS 2.6.2)."
        )
        self.narrator.say(f"The chunks of {LONG}:")
        chunks = [found for found in status.chunks if found.path == LONG]
        self.narrator.table(
            ["chunk", "handle", "version", "bytes", "primary", "replicas"],
            [
                [
                    str(found.chunk.index),
                    f"{found.chunk.handle:#x}",
                    str(found.chunk.version),
                    f"{found.chunk.length:,}",
                    found.primary or "no lease",
                    " ".join(replica.server for replica in found.chunk.replicas),
                ]
                for found in chunks
            ],
        )
        self.narrator.table(
            ["chunkserver", "chunks", "stored"],
            [
                [server.location.server, f"{server.chunk_count:,}", wording.size(server.stored_bytes)]
                for server in status.servers
            ],
        )

    async def _status_with_lengths(self) -> master_pb2.ClusterStatus | None:
        """The master hears of lengths with the heartbeats: the status as soon as it knows those of the long file."""
        status = await self.cluster.status(chunks=True)
        told = sum(found.chunk.length for found in status.chunks if found.path == LONG)
        return status if told == self._long_file.files[0].size else None

    async def kill_a_primary_while_it_is_written_to(self) -> None:
        """Write a file, and kill the chunkserver that orders its mutations in the middle of it."""
        self.narrator.chapter("A primary dies while it is written to")
        size = self._long_file.files[0].size
        kill = partial(self._kill_primary_of, WRITTEN, size)
        longest_pause = await self._write_long_file(WRITTEN, kill)
        self.narrator.say(
            f"The writer went on by itself and wrote all {wording.size(size)}; its longest pause was "
            f"{wording.duration(longest_pause)}. The master may name another primary only when the dead one's lease "
            f"has run out, here after {self.cluster.settings.lease_seconds:g} s at most (the paper: 60 s, GFS 3.1)."
        )

    async def _write_long_file(self, path: str, interrupt: Callable[[int], Awaitable[None]]) -> float:
        """Write the long file once more, and do something to the cluster when some of it is written; returns the
        writer's longest pause after that, seconds."""
        first_part = self.cluster.settings.chunk_bytes * 3 // 2
        longest_pause = 0.0
        async with await self._client.open(path, "xb") as file:
            written = 0
            async for piece in _cut(self._long_file.pieces(""), first_part):
                before = _now()
                await file.write(piece)
                written += len(piece)
                if written == first_part:
                    await file.flush()
                    await interrupt(written)
                    before = _now()
                elif written > first_part:
                    longest_pause = max(longest_pause, _now() - before)
            before = _now()
            await file.flush()
            longest_pause = max(longest_pause, _now() - before)
        self._expected[path] = self._expected[LONG]
        return longest_pause

    async def lose_the_acting_master_while_a_file_is_written(self) -> None:
        """Write a file, and kill the master that acts in the middle of it: another one takes over."""
        self.narrator.chapter("The acting master dies while a file is written")
        size, before, killed_at, acting = self._long_file.files[0].size, await self.cluster.status(), 0.0, ""

        async def kill(written: int) -> None:
            nonlocal acting, killed_at
            acting, killed_at = await self.cluster.who_acts(), _now()
            await self.cluster.kill(acting)
            self.narrator.say(
                f"{wording.size(written)} of {wording.size(size)} were written when {acting}, which acted, was killed."
            )

        async def successor() -> str:
            with suppress(Unavailable):
                return await self.cluster.who_acts()
            return ""

        longest_pause = await self._write_long_file(WITHOUT_MASTER, kill)
        successor_name = await wait_until(successor, what="a master acts", timeout_seconds=HEAL_SECONDS)
        after = await self.cluster.status()
        self._claim(f"another master acts in the place of {acting}", successor_name not in ("", acting))
        self._claim(
            "it knows every file and directory that was known before, and the new one",
            (before.file_count + 1, before.directory_count) == (after.file_count, after.directory_count),
        )
        self.narrator.say(
            f"{successor_name} had the log, record for record, and took over under a new epoch, which chunkservers "
            f"obey from then on (GFS 5.1.3). The writer noticed nothing but a pause of "
            f"{wording.duration(longest_pause)}; the file was whole {wording.duration(_now() - killed_at)} after the "
            "kill."
        )
        await self.cluster.restart(acting)

    async def _kill_primary_of(self, path: str, size: int, written: int) -> None:
        status = await self.cluster.status(chunks=True)
        chunk = max((found for found in status.chunks if found.path == path), key=lambda found: found.chunk.index)
        self._claim(f"chunk {chunk.chunk.index} of {path} has a primary while it is written", bool(chunk.primary))
        self._killed = chunk.primary or chunk.chunk.replicas[0].server
        await self.cluster.kill(self._killed)
        self._killed_at = _now()
        self.narrator.say(
            f"{wording.size(written)} of {wording.size(size)} were written when {self._killed}, the primary of chunk "
            f"{chunk.chunk.index} (handle {chunk.chunk.handle:#x}), was killed without a warning."
        )

    async def rot_a_block(self) -> None:
        """Flip bits on one chunkserver's disk, and ask exactly that chunkserver for them."""
        self.narrator.chapter("Bits rot on a disk")
        status = await self.cluster.status(chunks=True)
        # One with the most live replicas: damage to the last good one would be a loss, and not to be healed.
        chunks = [found for found in status.chunks if found.path == LONG]
        found = max(chunks, key=lambda found: len(self._living(found.chunk)))
        replica = self._living(found.chunk)[0]
        self._events_before_rot = {name: len(self.cluster.events(name)) for name in self._masters()}
        done = self._rotten = await self.cluster.corrupt(LONG, found.chunk.index, 1, replica.server)
        self.narrator.say(
            f"Behind the back of {done.server}, {done.flipped_bytes} bytes were flipped in block {done.block} of chunk "
            f"{done.chunk_index} of {LONG} (handle {done.handle:#x}), at byte {done.file_offset} of {done.file}."
        )
        refusal = ""
        try:
            await checkers.read_replica(self.cluster.client_world, replica, found.chunk)
        except Corrupted as error:
            refusal = error.message
        self._claim(f"{done.server} does not hand out the damaged block", bool(refusal))
        self.narrator.say(f"Asked for it, {done.server} answers: {refusal or 'with damaged bytes!'}")

    async def read_everything_back(self) -> None:
        """Compare every file with its source."""
        self.narrator.chapter("Everything is read back")
        await self._read_back(asyncio.Event())

    async def read_everything_back_while_the_master_restarts(self) -> None:
        """Compare every file with its source, and restart the master half-way."""
        self.narrator.chapter("Everything is read back, and the master restarts in the middle")
        half = asyncio.Event()
        restarting = asyncio.ensure_future(self._restart_master(half))
        try:
            await self._read_back(half)
            note = await restarting
        finally:
            restarting.cancel()
        self.narrator.say(note)

    async def _read_back(self, half: asyncio.Event) -> None:
        """Compare every file with its source; `half` is set when half of them are read."""
        files = [SourceFile(path, 0) for path in self._expected]
        found: dict[str, str] = {}

        async def read(file: SourceFile, meter: Meter) -> None:
            found[file.path] = await transfer.digest_of(self._client, file.path, meter)
            if len(found) >= len(files) // 2:
                half.set()

        started = _now()
        long_files = sum(path in self._expected for path in (LONG, WRITTEN, WITHOUT_MASTER))
        total = sum(file.size for file in self._tree.files) + long_files * self._long_file.files[0].size
        with self.narrator.progress("read back", total, len(files)) as meter:
            await transfer.for_each_file(files, lambda file: read(file, meter))
            half.set()
        seconds = _now() - started
        self.narrator.say(f"{wording.count(len(files), 'file')} read in {wording.duration(seconds)}.")
        wrong = sorted(path for path, digest in self._expected.items() if found.get(path) != digest)
        self._claim(f"the SHA-256 of all {len(files):,} files equals the source's", not wrong)
        for path in wrong[:10]:
            self.narrator.say(f"  differs: {path}")

    async def _restart_master(self, half: asyncio.Event) -> str:
        await half.wait()
        before = await self.cluster.status()
        killed_at = _now()
        await self.cluster.kill(MASTER)
        await self.cluster.restart(MASTER)
        served_at = _now()

        async def knows_all() -> master_pb2.ClusterStatus | None:
            with suppress(Unavailable, TimedOut):
                status = await self.cluster.status()
                if status.missing_chunks == 0 and _alive(status) >= self.cluster.settings.chunkservers - 1:
                    return status
            return None

        after = await wait_until(knows_all, what="the master knows where every chunk is", timeout_seconds=HEAL_SECONDS)
        assert after is not None
        self._claim(
            "the restarted master knows every file and directory that it knew before",
            (before.file_count, before.directory_count) == (after.file_count, after.directory_count),
        )
        return (
            f"The master was killed half-way and started again: it served {wording.duration(served_at - killed_at)} "
            f"later, and knew where every chunk is {wording.duration(_now() - killed_at)} after the kill. "
            f"It says: {after.recovery_note or 'nothing'}"
        )

    async def wait_until_healed(self) -> None:
        """Wait until every chunk has its copies again, and say how long it took."""
        self.narrator.chapter("Back to full strength")

        rotten = self._rotten
        assert rotten is not None

        async def healed() -> bool:
            with suppress(Unavailable, TimedOut):
                status = await self.cluster.status()
                good = _is_healed(status, self._killed) and not status.HasField("shadow")
                return good and await self._has_good_replicas(rotten.handle, self.cluster.settings.replicas)
            return False

        try:
            await wait_until(healed, what="every chunk has its copies again", timeout_seconds=HEAL_SECONDS)
        except TimedOut as error:
            self.narrator.say(error.message)
        done = _now()
        noticed = self._timeline.first(self._killed_at, lambda status: _is_dead(status, self._killed))
        healed_at = self._timeline.first(self._killed_at, lambda status: _is_healed(status, self._killed)) or done
        # While a master that has restarted waits for the chunkservers to register, it counts too few copies.
        all_there = self.cluster.settings.chunkservers - 1
        most = self._timeline.most(
            self._killed_at,
            lambda status: status.under_replicated_chunks if _alive(status) >= all_there else 0,
        )
        noticed_words = "at some time" if noticed is None else wording.duration(noticed - self._killed_at)
        self.narrator.table(
            ["after the kill of " + self._killed, "what the master reported"],
            [
                [noticed_words, f"{self._killed} is dead"],
                ["at the most", f"{wording.count(most, 'chunk')} with too few copies"],
                [wording.duration(healed_at - self._killed_at), "every chunk has its copies again"],
            ],
        )
        self.narrator.say(
            "A master that begins to act does not know which leases were granted before: it lets a lease time pass "
            "before it has a chunk copied whose replicas are not all there."
        )
        self.narrator.say(f"What the master recorded of chunk {rotten.handle:#x}, in which bits had rotted:")
        self.narrator.table(["after", "the master"], self._recorded(rotten.handle))

    async def judge(self) -> None:
        """Look at every replica of every chunk."""
        self.narrator.chapter("The judgement")
        verdict = await checkers.judge_replicas(self.cluster)
        goal = self.cluster.settings.replicas
        self._claim(f"every one of {verdict.chunks:,} chunks has {goal} live replicas", not verdict.below_goal)
        self._claim(f"all {verdict.replicas:,} replicas verify, and those of one chunk agree", not verdict.disagreeing)
        for line in [*verdict.below_goal, *verdict.disagreeing][:10]:
            self.narrator.say(f"  {line}")
        states = {report.node: report.state for report in await self.cluster.nodes()}
        others = [node for node in states if node != self._killed]
        self._claim("every other node serves", all(states[node] is NodeState.SERVING for node in others))

    def _claim(self, claim: str, held: bool) -> None:
        self.checks.append((claim, held))
        self.narrator.check(claim, held)

    def _masters(self) -> list[str]:
        return self.cluster.settings.master_names()

    def _living(self, chunk: common_pb2.ChunkLocations) -> list[common_pb2.Location]:
        return [replica for replica in chunk.replicas if replica.server != self._killed]

    async def _has_good_replicas(self, handle: int, goal: int) -> bool:
        status = await self.cluster.status(chunks=True)
        found = next((found for found in status.chunks if found.chunk.handle == handle), None)
        if found is None or len(found.chunk.replicas) < goal:
            return False
        try:
            for replica in found.chunk.replicas:
                await checkers.read_replica(self.cluster.client_world, replica, found.chunk)
        except TabletopError:
            return False
        return True

    def _recorded(self, handle: int) -> list[list[str]]:
        """The master's events about one chunk since its bits rotted, with the time since the first of them."""
        since_then = [
            record for name in self._masters() for record in self.cluster.events(name)[self._events_before_rot[name] :]
        ]
        records = [record for record in in_causal_order(since_then) if getattr(record.event, "handle", None) == handle]
        return [
            [
                wording.duration((record.wall_microseconds - records[0].wall_microseconds) / 1e6),
                sentence(record.event),
            ]
            for record in records
        ]

    async def _watch(self) -> None:
        while True:
            with suppress(TabletopError):
                status = await self.cluster.status()
                if not status.HasField("shadow"):
                    self._timeline.samples.append((_now(), status))
            await asyncio.sleep(0.2)


def _alive(status: master_pb2.ClusterStatus) -> int:
    return sum(server.alive for server in status.servers)


def _is_dead(status: master_pb2.ClusterStatus, server: str) -> bool:
    return all(not found.alive for found in status.servers if found.location.server == server)


def _is_healed(status: master_pb2.ClusterStatus, dead: str) -> bool:
    """Whether the master has noticed the death and made up for it."""
    return _is_dead(status, dead) and status.under_replicated_chunks == 0 and status.missing_chunks == 0


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _cut(pieces: AsyncIterator[bytes], first_bytes: int) -> AsyncIterator[bytes]:
    """The same bytes, with a boundary between two pieces after the first `first_bytes`."""
    left = first_bytes
    async for piece in pieces:
        if 0 < left < len(piece):
            yield piece[:left]
            piece = piece[left:]
            left = 0
        else:
            left -= len(piece)
        yield piece
