"""The end of a torture run: everything is healed, and everything is compared.

In this order, and each step is a claim that can fail:

1. Every node that was left alone still runs, and the cluster is at its goals again soon (`resting.py`).
2. Each file that must be there can be read and holds what it may hold; of each change in doubt one outcome is there.
3. Each acknowledged record is where its client was told, and is read once, in the order of its writer; then the file
   of records is deleted, for what failed tries have left in it differs. No other file is there.
4. Files with doubtful bytes are written over, so that every byte is defined (GFS Table 1).
5. Every chunk is at its goal, every replica verifies, and the replicas of a chunk are alike, byte for byte.
6. No node recorded a background task that failed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.checkers import ReplicaVerdict, judge_replicas
from cluster.interface import wait_until
from cluster.real import RealCluster
from cluster.torture.contents import LATE_SECONDS, Contents
from cluster.torture.history import History, in_words
from cluster.torture.names import Doubt, Outcome
from cluster.torture.records import RECORDS, complaints
from cluster.torture.resting import AtRest
from cluster.torture.workload import SHARED, Worker, is_temporary
from gfs.events import LeftBehind
from gfs.records import RecordReader
from runtime.errors import NotFound, TabletopError, TimedOut
from runtime.events import Record

SETTLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Counted:
    """How much was compared."""

    files: int = 0
    data_bytes: int = 0
    chunks: int = 0
    replicas: int = 0
    rows: int = 0
    tablets: int = 0


class Judge:
    """Looks at a cluster after its run. `client_records` is what the clients recorded of themselves."""

    def __init__(self, cluster: RealCluster, workers: Sequence[Worker], history: History) -> None:
        self._cluster = cluster
        self._workers = workers
        self._history = history
        self._files = 0
        self._bytes = 0

    async def judge(self, client_records: Sequence[Record]) -> Counted:
        """Go through all claims; what does not hold becomes a violation."""
        rest = AtRest(self._cluster, self._history)
        await rest.nodes_run()
        await rest.at_goals()
        for worker in self._workers:
            await self._files_of(worker)
        await self._records()
        await self._no_other_names(client_records)
        await self._define_every_byte()
        verdict = await self._replicas()
        rest.no_task_failed()
        chunks, replicas = (verdict.chunks, verdict.replicas) if verdict else (0, 0)
        return Counted(self._files, self._bytes, chunks, replicas)

    # Files.

    async def _files_of(self, worker: Worker) -> None:
        for path in sorted(worker.names.files):
            if not await worker.check_file(path):
                self._history.violation(f"{worker.name} cannot read {path} though no fault is left")
                continue
            self._files += 1
            self._bytes += worker.names.files[path].length
        for doubt in worker.names.doubts:
            await self._settle(worker, doubt)

    async def _settle(self, worker: Worker, doubt: Doubt) -> None:
        """Exactly one of a change's outcomes is there. Keeps the files that it left, so that they count as known."""
        found: dict[str, bytes | None] = {}
        for path in doubt.outcomes[0]:
            try:
                found[path] = await worker.client.read_file(path)
            except NotFound:
                found[path] = None
            except TabletopError as error:
                self._history.violation(f"{worker.name} cannot read {path} though no fault is left: {error.message}")
                return
        complaints = [complaint_about_outcome(outcome, found) for outcome in doubt.outcomes]
        if all(complaints):
            self._history.violation(
                f"{doubt.change} by {worker.name} was in doubt, and none of its outcomes is there: "
                + "; or ".join(str(complaint) for complaint in complaints)
            )
        for path, data in found.items():
            if data is not None:
                self._files += 1
                self._bytes += len(data)
                worker.names.put(path, Contents(data))
                # What came out of a doubtful change may differ between replicas until it is written over.
                worker.names.files[path].doubt(0, data, now=-LATE_SECONDS)

    async def _records(self) -> None:
        client, names = self._workers[0].client, self._workers[0].names
        try:
            content = await client.read_file(RECORDS)
            found = [record async for record in RecordReader(client, RECORDS).records()]
            await client.delete(RECORDS, immediately=True)
        except TabletopError as error:
            self._history.violation(f"{RECORDS} cannot be read and deleted though no fault is left: {error.message}")
            return
        for complaint in complaints([worker.ledger for worker in self._workers], content, found):
            self._history.violation(complaint)
        names.gone_undefined.add(RECORDS)
        self._files += 1
        self._bytes += len(content)

    async def _no_other_names(self, client_records: Sequence[Record]) -> None:
        known = {path for worker in self._workers for path in worker.names.files}
        known |= {worker.home for worker in self._workers} | set(SHARED)
        told = {record.event.path for record in client_records if isinstance(record.event, LeftBehind)}
        try:
            entries = await self._workers[0].client.list("/", recursive=True)
        except TabletopError as error:
            self._history.violation(f"the names cannot be listed though no fault is left: {error.message}")
            return
        for path in sorted({entry.path for entry in entries} - known):
            if is_temporary(path.rpartition("/")[2]) and path in told:
                self._history.remark(f"{path} is left for the master: its client could not remove it, and said so")
            else:
                self._history.violation(f"{path} is there, expected no such file")

    async def _define_every_byte(self) -> None:
        doubtful = [
            (worker, path, contents)
            for worker in self._workers
            for path, contents in sorted(worker.names.files.items())
            if not contents.defined
        ]
        if not doubtful:
            return
        await asyncio.sleep(max(contents.seconds_in_doubt(_now()) for _, _, contents in doubtful))
        for worker, path, contents in doubtful:
            before = in_words(contents)
            if not await worker.write_over(path):
                self._history.violation(f"{worker.name} cannot write over {path} ({before}) though no fault is left")
            elif not await worker.check_file(path):
                self._history.violation(f"{worker.name} cannot read {path} again though no fault is left")

    # Replicas and nodes.

    async def _replicas(self) -> ReplicaVerdict | None:
        last: list[ReplicaVerdict] = []

        async def good() -> bool:
            try:
                last[:] = [self._without_undefined(await judge_replicas(self._cluster))]
            except TabletopError:
                return False
            return last[0].good

        try:
            seconds = SETTLE_SECONDS + self._cluster.settings.lease_seconds
            await wait_until(good, what="the replicas are alike", timeout_seconds=seconds, poll_seconds=1.0)
        except TimedOut:
            complaints = [*last[0].below_goal, *last[0].disagreeing] if last else ["the replicas cannot be compared"]
            for complaint in complaints:
                self._history.violation(complaint)
        return last[0] if last else None

    def _without_undefined(self, verdict: ReplicaVerdict) -> ReplicaVerdict:
        """Deleted files cannot be written over: where their bytes were in doubt, their replicas may differ."""
        gone = [path.removeprefix("/") for worker in self._workers for path in worker.names.gone_undefined]
        hidden = [f"-{path.replace('/', '|')} (" for path in gone]
        kept = [text for text in verdict.disagreeing if not any(name in text for name in hidden)]
        return replace(verdict, disagreeing=kept)


def complaint_about_outcome(outcome: Outcome, found: dict[str, bytes | None]) -> str | None:
    """Why this is not what came out; None if it may be."""
    for path, contents in outcome.items():
        data = found[path]
        if contents is None and data is not None:
            return f"{path} has {len(data)} bytes, expected no such file"
        if contents is not None:
            complaint = "there is no such file" if data is None else contents.complaint(data)
            if complaint is not None:
                return f"{path}: {complaint}"
    return None


def _now() -> float:
    return asyncio.get_running_loop().time()
