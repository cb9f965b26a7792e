"""The lock service's gRPC face. Questions answer from memory, which holds only what is durable."""

from typing import Any

from lockservice import paths
from lockservice.interface import FileStat, Sequencer
from lockservice.server.core import LockCore
from lockservice.state.lock_state import Request
from runtime.errors import InvalidRequest
from runtime.wire import lockservice_pb2 as wire
from runtime.wire import lockservice_pb2_grpc


class LockServicer(lockservice_pb2_grpc.LockServiceServicer):
    """What clients call. Every method raises Superseded once the session is over."""

    def __init__(self, core: LockCore) -> None:
        self._core = core

    # Sessions

    async def OpenSession(self, request: wire.OpenSessionRequest, context: Any) -> wire.SessionLease:
        """Begin a session. Raises InvalidRequest, NoSpace, DiskFailure, Unavailable."""
        received = self._core.now
        session, extended = await self._core.open(request.client)
        return self._lease(session, extended - received)

    async def KeepAlive(self, request: wire.KeepAliveRequest, context: Any) -> wire.SessionLease:
        """Extend a session, and tell what has changed."""
        received = self._core.now
        extended = await self._core.keep_alive(
            request.session, epoch=request.epoch, seen_event=request.seen_event, hold=request.hold
        )
        return self._lease(request.session, extended - received)

    async def CloseSession(self, request: wire.CloseSessionRequest, context: Any) -> wire.CloseSessionReply:
        """End a session; one that is over already is fine."""
        await self._core.close(request.session)
        return wire.CloseSessionReply()

    def _lease(self, session: int, held: float) -> wire.SessionLease:
        core = self._core
        events, last = core.watches.pending(session)
        return wire.SessionLease(
            session=session,
            epoch=core.state.epoch,
            held_seconds=held,
            lease_seconds=core.settings.lease_seconds,
            grace_seconds=core.settings.grace_seconds,
            client_share=core.settings.share_for_clients,
            events=[wire.LockEvent(path=change.path, kind=change.kind.value) for change in events],
            last_event=last,
        )

    # Changes

    async def CreateLockFile(self, request: wire.CreateLockFileRequest, context: Any) -> wire.LockFileStat:
        """Make a file. Raises Conflict (it is there), InvalidRequest."""
        generation = await self._core.change(
            request.request.epoch,
            _name(request.request),
            lambda name: self._core.state.plan_create(
                name, request.path, request.contents, ephemeral=request.ephemeral
            ),
        )
        return self._written(request.path, generation, request.ephemeral, len(request.contents))

    async def WriteLockFile(self, request: wire.WriteLockFileRequest, context: Any) -> wire.LockFileStat:
        """Replace the contents of a file. Raises NotFound, Conflict, Superseded, InvalidRequest."""
        expected = request.generation if request.HasField("generation") else None
        sequencer = _sequencer(request.sequencer) if request.HasField("sequencer") else None
        generation = await self._core.change(
            request.request.epoch,
            _name(request.request),
            lambda name: self._core.state.plan_write(
                name, request.path, request.contents, generation=expected, sequencer=sequencer
            ),
        )
        entry = self._core.state.files.get(request.path)
        is_ephemeral = entry is not None and entry.owner != 0
        return self._written(request.path, generation, is_ephemeral, len(request.contents))

    async def DeleteLockFile(self, request: wire.DeleteLockFileRequest, context: Any) -> wire.LockChanged:
        """Remove a file. Raises NotFound, Conflict, InvalidRequest."""
        expected = request.generation if request.HasField("generation") else None
        await self._core.change(
            request.request.epoch,
            _name(request.request),
            lambda name: self._core.state.plan_delete(name, request.path, generation=expected),
        )
        return wire.LockChanged()

    async def AcquireLock(self, request: wire.AcquireLockRequest, context: Any) -> wire.LockChanged:
        """Take a lock. Raises Conflict, InvalidRequest (a longer lock-delay than the service's)."""
        most = round(self._core.settings.lock_delay_seconds * 1000)
        delay = request.delay_milliseconds if request.HasField("delay_milliseconds") else most
        if delay > most:
            raise InvalidRequest(f"a lock-delay of {delay} ms: this lock service takes at most {most} ms")
        generation = await self._core.change(
            request.request.epoch,
            _name(request.request),
            lambda name: self._core.state.plan_acquire(name, request.path, delay_milliseconds=delay),
        )
        return wire.LockChanged(generation=generation)

    async def ReleaseLock(self, request: wire.ReleaseLockRequest, context: Any) -> wire.LockChanged:
        """Give a lock back. Raises Conflict, InvalidRequest."""
        await self._core.change(
            request.request.epoch,
            _name(request.request),
            lambda name: self._core.state.plan_release(name, request.path),
        )
        return wire.LockChanged()

    def _written(self, path: str, generation: int, is_ephemeral: bool, length: int) -> wire.LockFileStat:
        """What a change is answered, which others may have changed again when it is a repetition."""
        return wire.LockFileStat(
            generation=generation,
            lock_generation=self._core.state.lock_generation(path),
            is_ephemeral=is_ephemeral,
            length=length,
        )

    # Questions

    async def ReadLockFile(self, request: wire.LockQuestion, context: Any) -> wire.LockFileContents:
        """The contents of a file. Raises NotFound, InvalidRequest."""
        self._core.living(request.session)
        stat = self._core.state.stat(request.path)
        return wire.LockFileContents(contents=self._core.state.file(request.path).contents, stat=_stat(stat))

    async def ListLockFiles(self, request: wire.LockQuestion, context: Any) -> wire.LockFileNames:
        """The names directly below a path. Raises InvalidRequest."""
        self._core.living(request.session)
        return wire.LockFileNames(names=self._core.state.names(request.path))

    async def CheckLock(self, request: wire.CheckLockRequest, context: Any) -> wire.CheckLockReply:
        """Whether a lock is still held as a sequencer says."""
        self._core.living(request.session)
        return wire.CheckLockReply(is_held=self._core.state.is_held(_sequencer(request.sequencer)))

    async def Watch(self, request: wire.LockQuestion, context: Any) -> wire.WatchReply:
        """Have a session told of changes of a path. Raises InvalidRequest."""
        self._core.living(request.session)
        paths.check_path(request.path, may_be_root=True)
        self._core.watches.add(request.session, request.path)
        return wire.WatchReply(epoch=self._core.state.epoch)


def _name(request: wire.LockRequest) -> Request:
    return Request(request.session, request.number, request.oldest, tuple(request.given_up))


def _sequencer(sequencer: wire.LockSequencer) -> Sequencer:
    return Sequencer(sequencer.path, sequencer.generation, sequencer.session)


def _stat(stat: FileStat) -> wire.LockFileStat:
    return wire.LockFileStat(
        generation=stat.generation,
        lock_generation=stat.lock_generation,
        is_ephemeral=stat.is_ephemeral,
        length=stat.length,
    )
