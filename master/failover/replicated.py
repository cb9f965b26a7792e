"""One of several masters: a shadow, until it takes over; then the master, until it must not be (GFS 5.1.3).

    SHADOW ---the lock is free, and the charter lets it---> ACTING
    SHADOW <---the lock, the log or the charter is lost---- ACTING

What is the same in both: one folder, one gRPC server, one log (`following.py`). What changes is who answers: the parts
of a master on a memory of its own, or the reads of a shadow. Whoever asks a shadow for more hears NotActing, and the
address of the acting master.

Taking over. First the lock; then this master's name and a higher epoch in the charter; then nothing is taken from the
master before any more, all that is in the log counts, and the log says that a tenure begins. From there on it is what
every start of a master is: chunkservers register, and tell of the leases that they hold; the first of them that hears
the new epoch refuses the old master. Only when the begin of the tenure is on all that are in sync is anybody answered.

Standing down. The lock may be lost from one moment to the next by this master's own clock, which counts shorter than
the lock service's. From that moment on no answer leaves, and no order is given: what was under way has its end, and
nobody is told. The log is read from the disk again, as after a start, since it may have records that were never
answered; the next acting master has them cut off, or finds that it has them, too.

Invariants: (1) no answer of an acting master is sent unless the lock is certain at that moment; (2) an epoch is the
tenure of one master; (3) a master whose log cannot be read ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from master.core import Core
from master.events import MasterFailed, MasterStoodDown, MasterTookOver, TakeoverRefused
from master.failover.following import FollowedLog
from master.failover.handing_over import REFUSAL_COUNTS_SECONDS, HandingOver
from master.failover.mastership import Charter, Claim, Mastership, taken_over, why_not
from master.failover.shadow import READS, Shadow
from master.failover.shipping import Shipping, ShippingSettings
from master.log.reserve import Reserve
from master.maintenance.repair import Repair
from master.parts import Parts
from master.serving.measures import master_measures
from master.settings import MasterSettings
from runtime.errors import NoSpace, NotActing, Superseded, TabletopError, Unavailable
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire import master_pb2, master_pb2_grpc, masters_pb2, masters_pb2_grpc, node_pb2_grpc
from runtime.world import RpcServer, World

_GRACE_SECONDS = 1.0
# Of the elections that pass before a master that could not write tries for the lock again.
_TURNS_FOR_OTHERS = 4


class _Tenure:
    """This master acts: the parts of a master, the lock, and the others that get its log."""

    def __init__(self, parts: Parts, claim: Claim, shipping: Shipping) -> None:
        self.parts = parts
        self.claim = claim
        self.shipping = shipping
        self.is_open = False  # the begin of the tenure is on all masters that are in sync
        self.loops: list[asyncio.Task[None]] = []

    @property
    def gives_way(self) -> bool:
        """Whether another one should act rather than this one again: it could not begin, or not write its log."""
        return not self.is_open or bool(self.parts.core.failure)

    async def answer(self, servicer: Any, name: str, request: Any, context: Any) -> Any:
        """What a servicer of the acting master answers, if it acts still when it has the answer: a refusal, too, may
        come from a memory that is old by then. Raises NotActing."""
        self._require_certain(definite=True)
        try:
            reply = await getattr(servicer, name)(request, context)
        except TabletopError as error:
            self._require_certain(definite=error.definite)
            raise
        self._require_certain(definite=False)
        return reply

    def _require_certain(self, *, definite: bool) -> None:
        """Raise NotActing if another may act by now, or this one does not act yet."""
        core = self.parts.core
        if not self.is_open or core.failure or not self.claim.is_certain:
            why = core.failure or ("it is not sure of its lock" if self.is_open else "it is taking over")
            raise NotActing(f"{core.world.node} does not act as the master now: {why}", definite=definite)


class ReplicatedMaster:
    """One master of several. `start` returns when it serves, as a shadow at first."""

    bulk_address = ""

    def __init__(self, world: World, settings: MasterSettings, mastership: Mastership) -> None:
        self.failure = ""  # why it had to end by itself
        self._world = world
        self._settings = settings
        self._mastership = mastership
        self._others = {name: where for name, where in settings.addresses().items() if name != world.node}
        self._shadow: Shadow | None = None
        self._tenure: _Tenure | None = None
        self._rpc: RpcServer | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._shutdown = asyncio.Event()
        self._disturbed = asyncio.Event()
        self._reason = ""
        self._note = "it has just started"
        self._reserve = Reserve(world)
        self._refused_at = float("-inf")  # when its log had no room for a change

    # What tests and judges look at

    @property
    def core(self) -> Core | None:
        """The memory of the acting master; None while this one does not act."""
        tenure = self._tenure
        return tenure.parts.core if tenure is not None and tenure.is_open else None

    @property
    def acting_parts(self) -> Parts | None:
        """What the acting master is made of; None while this one does not act."""
        tenure = self._tenure
        return tenure.parts if tenure is not None and tenure.is_open else None

    @property
    def repair(self) -> Repair | None:
        """The background work of the acting master."""
        tenure = self._tenure
        return tenure.parts.repair if tenure is not None and tenure.is_open else None

    @property
    def shadow(self) -> Shadow | None:
        """What this master is while it does not act."""
        return self._shadow

    @property
    def may_answer(self) -> bool:
        """Whether it would answer a client as the acting master at this moment."""
        tenure = self._tenure
        return tenure is not None and tenure.is_open and tenure.claim.is_certain and not tenure.parts.core.failure

    @property
    def control_address(self) -> str:
        """Where it is reached; final once it serves."""
        return self._rpc.address if self._rpc else self._settings.control_address

    # Starting and ending

    async def start(self) -> None:
        """Read the log and serve as a shadow. Raises Corrupted, IncompatibleFormat, Conflict, DiskFailure."""
        await self._world.disk.lock("")
        try:
            await self._become_shadow()
            await self._serve()
        except BaseException:
            await self._world.disk.unlock("")
            raise
        self._loops = [
            self._world.spawn(self._live(), "shadow or act"),
            self._world.spawn(self._watch_clock(), "watch the clock of a shadow"),
        ]
        self._world.events.emit(NodeStarted(role="master"))

    async def _serve(self) -> None:
        rpc = self._world.network.rpc_server(self._settings.control_address)
        master_pb2_grpc.add_MasterServicer_to_server(
            _routed(master_pb2_grpc.MasterServicer, "Master", self._answer), rpc.registrar
        )
        master_pb2_grpc.add_ChunkserverRegistryServicer_to_server(
            _routed(master_pb2_grpc.ChunkserverRegistryServicer, "ChunkserverRegistry", self._hear), rpc.registrar
        )
        masters_pb2_grpc.add_MasterReplicaServicer_to_server(_ReplicaService(self), rpc.registrar)
        node = NodeService(
            self._world,
            role="master",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        node_pb2_grpc.add_NodeServicer_to_server(node, rpc.registrar)
        await rpc.start()
        self._rpc = rpc

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has called Shutdown, or this master must not go on (`failure` says why)."""
        await self._shutdown.wait()

    async def stop(self) -> None:
        """Stop serving, give the lock back, close the log."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._stand_down("it stops")
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        if self._shadow is not None:
            await self._shadow.log.close()
        await self._mastership.close()
        await self._world.disk.unlock("")
        self._world.events.emit(NodeStopped())

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant of any part does not hold."""
        core = self.core
        if core is not None:
            core.check_invariants()
        if self._shadow is not None:
            self._shadow.log.state.check_invariants()

    def counters(self) -> dict[str, int]:
        """What was counted since the start, for Describe."""
        parts = self._tenure.parts if self._tenure is not None else None
        if parts is None and self._shadow is not None:
            parts = self._shadow.parts
        found = {} if parts is None else parts.counters()
        return {**found, "acting": int(self.may_answer)}

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside that: while it acts."""
        core = self.core
        return iter(()) if core is None else master_measures(core)

    # Shadow or acting

    async def _live(self) -> None:
        """Loop: wait for the lock, act, stand down."""
        while True:
            try:
                taken = await self._wait_for_charge()
                reason = await self._act(*taken) if taken is not None else self._reason
                gives_way = self._tenure is not None and self._tenure.gives_way
                await self._stand_down(reason)
                await self._become_shadow()
                if gives_way:  # Its disk may be full: the others get their turn before it tries again.
                    await self._world.clock.sleep(_TURNS_FOR_OTHERS * self._settings.election_seconds)
            except TabletopError as error:
                self._fail(error.message)
                return

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self._world.events.emit(MasterFailed(reason=reason))
        self._shutdown.set()

    def _disturb(self, reason: str) -> None:
        """What this master is now must end; the first reason counts."""
        self._reason = self._reason or reason
        self._disturbed.set()

    async def _become_shadow(self) -> None:
        settings = self._settings
        log = FollowedLog(
            self._world,
            cluster=settings.cluster,
            checkpoint_log_bytes=settings.checkpoint_log_bytes,
            kept_checkpoints=settings.kept_checkpoints,
        )
        await log.recover()
        await self._reserve.look()
        await self._reserve.fill()  # Now, while it needs nothing of it.
        self._disturbed, self._reason = asyncio.Event(), ""
        self._shadow = Shadow(self._world, settings, log, on_broken=self._disturb)

    async def _watch_clock(self) -> None:
        while True:
            await self._world.clock.sleep(self._settings.heartbeat_seconds / 2)
            if self._shadow is not None and self._tenure is None:
                self._shadow.core.look_at_clock()

    async def _wait_for_charge(self) -> tuple[Claim, Charter, int] | None:
        """Return with the lock and the charter that names this master; None if the shadow's log broke meanwhile."""
        while not self._disturbed.is_set():
            try:
                found = await self._try_to_take_charge()
                if found is not None:
                    return found
            except TabletopError as error:
                self._note = f"the lock service: {error.message}"
            await self._world.clock.sleep(self._settings.election_seconds)
        return None

    async def _try_to_take_charge(self) -> tuple[Claim, Charter, int] | None:
        if why := self._why_not(await self._mastership.read()):
            self._note = why
            return None
        claim = await self._mastership.claim(self._settings.election_seconds)
        if claim is None:
            self._note = "another master acts"
            return None
        try:
            charter, generation = await claim.read()
            if why := self._why_not(charter):
                self._world.events.emit(TakeoverRefused(reason=why))
            else:
                mine = taken_over(charter, self._world.node)
                return claim, mine, await claim.write(mine, generation)
        except BaseException:
            await claim.release()
            raise
        await claim.release()
        return None

    def _why_not(self, charter: Charter | None) -> str:
        assert self._shadow is not None
        log = self._shadow.log
        return why_not(charter, self._world.node, namespace=log.namespace, last_epoch=log.last_epoch)

    async def _act(self, claim: Claim, charter: Charter, generation: int) -> str:
        """Act until that must end; returns why."""
        shadow = self._shadow
        assert shadow is not None
        await shadow.fence(charter.epoch)
        log, before = shadow.log, shadow.acting.master or "none"
        log.take_charge()
        settings = self._settings
        shipping = Shipping(
            self._world,
            log,
            claim,
            charter,
            generation,
            confirmed=shadow.confirmed,
            address=self.control_address,
            others=self._others,
            settings=ShippingSettings(
                settings.shadow_heartbeat_seconds, settings.shadow_patience_seconds, settings.shadow_memory_bytes
            ),
            on_lost=self._disturb,
        )
        log.shipping = shipping
        core = Core(self._world, settings, log)
        self._tenure = tenure = _Tenure(Parts(core), claim, shipping)
        handing_over = HandingOver(self._world, shipping, patience=settings.shadow_patience_seconds)
        core.when_refused = partial(self._hand_over, tenure, handing_over)
        shipping.start()
        tenure.loops = [
            self._world.spawn(self._until_lost(claim), "watch the lock"),
            self._world.spawn(self._until_failed(core), "watch for failure"),
            self._world.spawn(self._open_tenure(tenure, charter.epoch, before), "begin the tenure"),
        ]
        await self._disturbed.wait()
        return self._reason

    async def _open_tenure(self, tenure: _Tenure, epoch: int, before: str) -> None:
        core = tenure.parts.core
        try:
            await core.take_over(epoch)
        except TabletopError as error:
            self._disturb(error.message)
            return
        tenure.is_open = True
        self._note = ""
        tenure.loops += tenure.parts.begin()
        sequence = tenure.shipping.begins_at
        self._world.events.emit(MasterTookOver(epoch=epoch, sequence=sequence, before=before))

    async def _hand_over(self, tenure: _Tenure, handing_over: HandingOver, problem: NoSpace) -> None:
        """The log had no room for a change. Before anybody is told: may another one have it?"""
        self._refused_at = self._world.clock.now()
        if tenure.is_open and (successor := await handing_over.successor()):
            tenure.parts.core.give_up(f"its log cannot be written, and {successor} can act: {problem.message}")

    async def _until_lost(self, claim: Claim) -> None:
        await claim.lost.wait()
        self._disturb("the session with the lock service is over, or may be")

    async def _until_failed(self, core: Core) -> None:
        await core.failed.wait()
        self._disturb(core.failure)

    async def _stand_down(self, reason: str) -> None:
        """End the tenure, if there is one: first the answers, then the work that is under way."""
        shadow, self._shadow = self._shadow, None
        tenure = self._tenure
        if tenure is None:
            if shadow is not None:
                await shadow.log.close()
            return
        core = tenure.parts.core
        core.give_up(reason)
        core.stopping.set()
        tasks = [loop for loop in tenure.loops if loop is not asyncio.current_task()]
        for loop in tasks:
            loop.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await tenure.shipping.stop(f"{self._world.node} does not act as the master any more: {reason}")
        await core.drain()
        await tenure.claim.release()
        await core.log.close()
        self._tenure = None
        self._world.events.emit(MasterStoodDown(epoch=tenure.shipping.charter.epoch, reason=reason))

    # Answers

    async def _answer(self, name: str, request: Any, context: Any) -> Any:
        """A client asks."""
        tenure, shadow = self._tenure, self._shadow
        if tenure is not None:
            return await tenure.answer(tenure.parts.service, name, request, context)
        if shadow is not None and name in READS and request.may_be_old:
            return await shadow.read(name, request, context)
        raise self._not_acting()

    async def _hear(self, name: str, request: Any, context: Any) -> Any:
        """A chunkserver reports."""
        tenure = self._tenure
        if tenure is None:
            raise self._not_acting()
        return await tenure.answer(tenure.parts.registry, name, request, context)

    def _not_acting(self) -> NotActing:
        acting = masters_pb2.ActingMaster() if self._shadow is None else self._shadow.acting
        whom = f"ask {acting.master} at {acting.address}" if acting.address else "nobody is known to act now"
        servers = (acting.address,) if acting.address else ()
        return NotActing(f"{self._world.node} is a shadow master and changes nothing: {whom}", servers=servers)

    def follow(self, acting: masters_pb2.ActingMaster) -> Shadow:
        """The shadow that takes what this acting master sends. Raises Superseded (this master acts under a higher
        epoch), Unavailable (it has to stand down first)."""
        tenure = self._tenure
        if tenure is not None:
            mine = tenure.shipping.charter.epoch
            if acting.epoch < mine:
                raise Superseded(
                    f"{acting.master} acts under epoch {acting.epoch}, and {self._world.node} under epoch {mine}: the "
                    "older one is to stop"
                )
            self._disturb(f"{acting.master} acts under epoch {acting.epoch}")
        if tenure is not None or self._shadow is None:
            raise Unavailable(f"{self._world.node} is standing down; ask again in a moment", definite=True)
        return self._shadow

    def take_report(self, report: masters_pb2.ReplicaReport) -> masters_pb2.ReplicaReportReply:
        """A chunkserver tells what it holds: of use to a shadow alone."""
        shadow = self._shadow if self._tenure is None else None
        return masters_pb2.ReplicaReportReply(known=shadow is None or shadow.core.take_report(report))

    async def standing_with_space(self) -> masters_pb2.MasterStanding:
        """As `standing`, and whether its disk has room for the log of a master that acts."""
        reserve = self._reserve if self._tenure is None else self._tenure.parts.core.reserve
        has_refused = self._world.clock.now() - self._refused_at < REFUSAL_COUNTS_SECONDS
        is_short = has_refused or not await reserve.has_room()
        standing = self.standing()
        standing.short_of_space = is_short
        return standing

    def standing(self) -> masters_pb2.MasterStanding:
        """What this master is, and how far."""
        tenure, shadow = self._tenure, self._shadow
        if tenure is not None:
            shipping = tenure.shipping
            found = masters_pb2.MasterStanding(
                acting=self.may_answer,
                epoch=shipping.charter.epoch,
                last_sequence=tenure.parts.core.log.next_sequence - 1,
                applied_sequence=shipping.confirmed_sequence,
                followers=shipping.standings(),
            )
        else:
            found = masters_pb2.MasterStanding() if shadow is None else shadow.standing()
        found.master, found.address, found.note = self._world.node, self.control_address, self._note
        return found


class _ReplicaService(masters_pb2_grpc.MasterReplicaServicer):
    """What the acting master, chunkservers and operators ask of each master."""

    def __init__(self, master: ReplicatedMaster) -> None:
        self._master = master

    async def AskLog(self, request: masters_pb2.AskLogRequest, context: Any) -> masters_pb2.LogStanding:
        """What the log holds."""
        return await self._master.follow(request.acting).ask(request)

    async def BeginStream(self, request: masters_pb2.BeginStreamRequest, context: Any) -> masters_pb2.LogStanding:
        """Records come after this one."""
        return await self._master.follow(request.acting).begin_stream(request)

    async def AppendRecords(self, request: masters_pb2.AppendRecordsRequest, context: Any) -> masters_pb2.LogStanding:
        """Records."""
        return await self._master.follow(request.acting).append(request)

    async def InstallCheckpoint(
        self, request: masters_pb2.InstallCheckpointRequest, context: Any
    ) -> masters_pb2.LogStanding:
        """A piece of the whole state."""
        return await self._master.follow(request.acting).install(request)

    async def ReportReplicas(self, request: masters_pb2.ReplicaReport, context: Any) -> masters_pb2.ReplicaReportReply:
        """Where replicas are."""
        return self._master.take_report(request)

    async def GetStanding(self, request: masters_pb2.StandingRequest, context: Any) -> masters_pb2.MasterStanding:
        """What this master is."""
        return await self._master.standing_with_space()


def _routed(base: type, service: str, answer: Callable[[str, Any, Any], Awaitable[Any]]) -> Any:
    """A servicer whose every method asks `answer`: who answers changes while the gRPC server lives."""

    def method(name: str) -> Callable[[Any, Any, Any], Awaitable[Any]]:
        async def call(self: Any, request: Any, context: Any) -> Any:
            return await answer(name, request, context)

        return call

    names = [found.name for found in master_pb2.DESCRIPTOR.services_by_name[service].methods]
    return type(f"Routed{service}", (base,), {name: method(name) for name in names})()
