"""Registrations and heartbeats that nobody would send, at the master; and such answers, at a chunkserver: an error, or
a handling that leaves no wrong state behind (GFS 2.6.2, 4.4, 4.5)."""

import random
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message

from runtime.errors import TabletopError
from runtime.wire import master_pb2
from runtime.wire.common_pb2 import Removal
from tests.unit.chunkserver_support import AUTHORITY, Desk, until
from tests.unit.master_fakes import Scene, fingerprint

NUMBERS = [0, 1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**32 - 1]
LARGE = [*NUMBERS, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
REALS = [0.0, -1.0, 1e-300, 1.0, 1e300, float("inf"), float("-inf"), float("nan")]
NAMES = ["", "cs1", "cs2", "cs9", "master", "a" * 300, "ünïcode", "../../etc", "line\nbreak", "\0", "cs1:1", "cs3:1"]


def mutated(message: Message, chance: random.Random) -> None:
    """Change one field, at whatever depth: another value, an entry twice, an entry less, a new entry."""
    field = chance.choice(list(message.DESCRIPTOR.fields))
    target: Any = message
    if field.is_repeated:
        entries = getattr(target, field.name)
        what = chance.randrange(4)
        if what == 0 and len(entries):
            del entries[chance.randrange(len(entries))]
        elif field.message_type is not None:
            if what == 1 and len(entries):
                entries.add().CopyFrom(chance.choice(entries))
            elif what == 2 and len(entries):
                mutated(chance.choice(entries), chance)
            else:
                new = entries.add()
                for _ in range(3):
                    mutated(new, chance)
        else:
            entries.append(value_of(field, chance))
    elif field.message_type is not None:
        mutated(getattr(target, field.name), chance)
    else:
        setattr(target, field.name, value_of(field, chance))


def value_of(field: Any, chance: random.Random) -> Any:
    kinds = field
    if field.type == kinds.TYPE_STRING:
        return chance.choice(NAMES)
    if field.type == kinds.TYPE_BYTES:
        return chance.randbytes(chance.randrange(20))
    if field.type == kinds.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == kinds.TYPE_DOUBLE:
        return chance.choice(REALS)
    if field.type in (kinds.TYPE_UINT32, kinds.TYPE_FIXED32):
        return chance.choice(NUMBERS)
    return chance.choice(LARGE)


def scrambled(message: Any, chance: random.Random) -> Any:
    """A message of this kind from other bytes; None where the bytes are no message at all."""
    data = bytearray(message.SerializeToString())
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(data) or 1)
        what = chance.randrange(3)
        if what == 0 and data:
            data[place % len(data)] ^= 1 << chance.randrange(8)
        elif what == 1:
            del data[place:]
        else:
            data[place:place] = chance.randbytes(chance.randrange(1, 9))
    try:
        return type(message).FromString(bytes(data))
    except DecodeError:
        return None


def nonsense(message: Any, chance: random.Random) -> Any:
    """One that is almost what is sent, or hardly."""
    if chance.random() < 0.3:
        return scrambled(message, chance)
    for _ in range(chance.choice([1, 1, 2, 5])):
        mutated(message, chance)
    return message


@pytest.mark.parametrize("seed", range(20))
def test_the_master_survives_whatever_chunkservers_say(seed: int):
    chance = random.Random(f"heartbeats {seed}")

    async def story(scene: Scene) -> None:
        for number in range(3):
            await scene.create(f"/{number}")
            await scene.lease(f"/{number}")
        handles = list(scene.server.core.state.chunks.handles())
        before = fingerprint(scene.server)[0]
        for _ in range(40):
            server = scene.chunkservers[chance.choice(scene.names)]
            honest = chance.choice([server.registration, lambda server=server: server.heartbeat(list(server.chunks))])()
            message = nonsense(honest, chance)
            if message is None:
                continue
            register = isinstance(message, master_pb2.RegisterRequest)
            call = scene.server.reporting.register if register else scene.server.reporting.heartbeat
            try:
                reply = await call(message)
            except TabletopError as error:
                assert error.message
            else:
                type(reply).FromString(reply.SerializeToString())
            scene.server.core.check_invariants()
            if chance.random() < 0.1:
                await scene.pass_time(chance.choice([0.5, 2, 20]))
        await scene.pass_time(1)
        assert fingerprint(scene.server)[0] == before
        # Whoever goes on honestly is believed again, and is served, though the nonsense was in the names of all.
        for name in scene.names:
            await scene.chunkservers[name].kill()
        for name in scene.names:
            scene.chunkservers[name].sequence = 0
            scene.chunkservers[name].life += 2**20
            await scene.chunkservers[name].start()
        chunks = scene.server.core.state.chunks
        await scene.until(lambda: all(chunks.chunk(handle).replicas for handle in handles), 600)
        scene.server.core.check_invariants()
        assert not scene.events("TaskFailed") and not scene.server.failure
        await scene.restart_master()
        assert await scene.listed("/") == ["/0", "/1", "/2"]

    scene = Scene(chunkservers=4)
    scene.play(story)


@pytest.mark.parametrize("seed", range(5))
async def test_a_chunkserver_survives_whatever_a_master_answers(tmp_path: Path, seed: int):
    chance = random.Random(f"answers {seed}")
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        heartbeats = desk.servers["cs1"]._heartbeats
        assert heartbeats is not None
        for _ in range(60):
            honest = master_pb2.HeartbeatReply(
                known=True,
                extensions=[master_pb2.LeaseExtension(handle=7, version=1, milliseconds=1000)],
                removals=[Removal(handle=9, version=3, milliseconds=1000)],
                authority=AUTHORITY,
            )
            reply = nonsense(honest, chance)
            if reply is None:
                continue
            if reply.authority.namespace == AUTHORITY.namespace:
                reply.authority.CopyFrom(AUTHORITY)  # Of a later epoch it would be an order to leave this master.
            kept = [removal for removal in reply.removals if removal.handle != 7]
            del reply.removals[:]
            reply.removals.extend(kept)
            try:
                await heartbeats._follow(reply, desk.worlds["cs1"].clock.now())
            except TabletopError as error:
                assert error.message
        assert (await desk.read("cs1", 7, 0, 3))[1] == b"abc"
        count = len(desk.master.answered)
        await until(lambda: len(desk.master.answered) > count + 2)


@pytest.mark.parametrize("seconds", [-1.0, 1e300, float("inf"), float("nan")])
async def test_a_chunkserver_goes_on_to_speak_whatever_it_is_told_of_the_time_between(tmp_path: Path, seconds: float):
    async with Desk(tmp_path) as desk:
        desk.master.heartbeat_seconds = seconds
        await desk.start("cs1")
        count = len(desk.master.answered)
        await until(lambda: len(desk.master.answered) > count + 2)
