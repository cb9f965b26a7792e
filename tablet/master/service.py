"""The gRPC face of the tablet master: tables as a whole, and what it knows. Nobody needs it to read or write a row."""

from collections.abc import Callable
from typing import Any

from runtime.errors import NotFound
from runtime.wire import tables_pb2 as wire
from runtime.wire import tables_pb2_grpc
from runtime.world import World
from tablet.engine.model.schema_message import schema_from_message
from tablet.master.compacting import compact
from tablet.master.tables import SERVING
from tablet.master.tenure import Tenure

_SPLIT_SECONDS = 60.0


class TabletMasterServicer(tables_pb2_grpc.TabletMasterServicer):
    """`tenure`: the present one. Raises NotActing while this master does not act."""

    def __init__(self, world: World, tenure: Callable[[], Tenure]) -> None:
        self._world = world
        self._tenure = tenure

    async def CreateTable(self, request: wire.CreateTableRequest, context: Any) -> wire.CreateTableReply:
        """Create a table. Raises AlreadyExists, InvalidRequest."""
        schema, tenure = schema_from_message(request.schema), self._tenure()
        split_rows = list(request.split_rows)
        await tenure.once.run(request.name, lambda: tenure.changes.create(request.table, schema, split_rows))
        return wire.CreateTableReply()

    async def DeleteTable(self, request: wire.DeleteTableRequest, context: Any) -> wire.DeleteTableReply:
        """Delete a table. Raises NotFound."""
        tenure = self._tenure()
        try:
            await tenure.once.run(request.name, lambda: tenure.changes.delete(request.table))
            tenure.sweeping.hurry()
        except NotFound as error:
            raise NotFound(f"there is no table {request.table!r}; `tabletop table ls` shows which there are") from error
        return wire.DeleteTableReply()

    async def ListTables(self, request: wire.ListTablesRequest, context: Any) -> wire.ListTablesReply:
        """All tables that serve."""
        records = await self._tenure().changes.records()
        return wire.ListTablesReply(tables=[record for record in records.values() if record.state == SERVING])

    async def SplitTabletAt(self, request: wire.SplitTabletAtRequest, context: Any) -> wire.SplitTabletAtReply:
        """Have a tablet split by the server that has it. Raises NotFound, InvalidRequest, NotServed, Unavailable."""
        tenure = self._tenure()
        place, _ = await tenure.find(request.tablet)
        order = wire.SplitTabletRequest(
            master=tenure.lock.generation,
            sequencer=tenure.lock.to_bytes(),
            tablet=request.tablet,
            row=request.row,
        )
        reply = await tenure.servers.stub(place.server).SplitTablet(order, timeout=_SPLIT_SECONDS)
        return wire.SplitTabletAtReply(lower=reply.lower, upper=reply.upper)

    async def TakeSnapshot(self, request: wire.TakeSnapshotRequest, context: Any) -> wire.TakeSnapshotReply:
        """Take a snapshot of a table. Raises NotFound, AlreadyExists, InvalidRequest, Conflict, Unavailable."""
        tenure = self._tenure()
        take = tenure.snapshots.take
        taken = await tenure.once.run(request.name, lambda: take(request.table, request.snapshot))
        return wire.TakeSnapshotReply(snapshot=taken)

    async def ListSnapshots(
        self, request: wire.ListTableSnapshotsRequest, context: Any
    ) -> wire.ListTableSnapshotsReply:
        """All snapshots that are there."""
        return wire.ListTableSnapshotsReply(snapshots=await self._tenure().snapshots.taken())

    async def RestoreSnapshot(self, request: wire.RestoreSnapshotRequest, context: Any) -> wire.RestoreSnapshotReply:
        """Make a table of a snapshot. Raises NotFound, AlreadyExists, InvalidRequest, Conflict, Corrupted."""
        tenure = self._tenure()
        restore = tenure.snapshots.restore
        table = await tenure.once.run(request.name, lambda: restore(request.snapshot, request.table))
        return wire.RestoreSnapshotReply(table=table)

    async def DeleteSnapshot(self, request: wire.DeleteSnapshotRequest, context: Any) -> wire.DeleteSnapshotReply:
        """Delete a snapshot. Raises NotFound, Conflict."""
        tenure = self._tenure()
        await tenure.once.run(request.name, lambda: tenure.snapshots.delete(request.snapshot))
        return wire.DeleteSnapshotReply()

    async def GetTabletStatus(self, request: wire.TabletStatusRequest, context: Any) -> wire.TabletStatus:
        """Servers and tablets, as of the last round."""
        tenure = self._tenure()
        waiting = [place.tablet for place in tenure.known() if not tenure.assigning.is_served(place)]
        return wire.TabletStatus(
            servers=list(tenure.servers.alive),
            tablets=tenure.places,
            waiting=waiting,
            waiting_seconds=[tenure.seconds_waiting(tablet) for tablet in waiting],
            master=tenure.node,
            generation=tenure.lock.generation,
        )

    async def MergeNeighbours(self, request: wire.MergeNeighboursRequest, context: Any) -> wire.MergeNeighboursReply:
        """Have two neighbours made one tablet. Raises NotFound, InvalidRequest, Conflict, NotServed, Unavailable."""
        return wire.MergeNeighboursReply(place=await self._tenure().merging.merge(request.one, request.other))

    async def MoveTablet(self, request: wire.MoveTabletRequest, context: Any) -> wire.MoveTabletReply:
        """Give a tablet to another server. Raises NotFound, Conflict, Unavailable."""
        return wire.MoveTabletReply(place=await self._tenure().moving.move(request.tablet, request.server))

    async def CompactTablets(self, request: wire.CompactTabletsRequest, context: Any) -> wire.CompactTabletsReply:
        """Have a tablet, or all of a table, compacted. Raises NotFound, NoSpace, DiskFailure, Unavailable."""
        done = await compact(self._world, self._tenure(), request.name, major=request.major)
        return wire.CompactTabletsReply(tablets=done)
