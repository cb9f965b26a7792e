"""The lock service as a process of its own: killed with SIGKILL and stopped with SIGSTOP, it keeps its promises."""

import asyncio
import secrets
import signal
from pathlib import Path

import pytest

from cluster import processes
from cluster.folder import NodeConfig, NodeFolder, ReadyRecord
from cluster.interface import wait_until
from cluster.roles import LOCK, node_settings, role_of
from cluster.settings import ClusterSettings
from lockservice.client.session import OwnLockService
from lockservice.interface import SessionState
from runtime.errors import Conflict
from runtime.real.world import RealWorld

pytestmark = pytest.mark.cluster
TOKEN = secrets.token_hex(16)


class LockProcess:
    """The program of the node "lock", as a cluster starts it."""

    def __init__(self, home: Path) -> None:
        self.folder = NodeFolder(home / "nodes" / LOCK)
        self.address = "127.0.0.1:0"
        home.mkdir(parents=True)
        (home / "token").write_text(TOKEN, encoding="ascii")

    def begin(self) -> None:
        """Start it."""
        settings = node_settings(LOCK, "desk", ClusterSettings(), address=self.address, master_address="")
        owner = processes.this_process()
        self.folder.prepare(NodeConfig("desk", LOCK, role_of(LOCK), settings, owner))
        self._process = processes.start_program(self.folder.config, self.folder.log)

    async def start(self) -> None:
        """Start it; returns when it serves."""
        self.begin()

        async def ready() -> ReadyRecord | None:
            return self.folder.read_ready()

        found = await wait_until(ready, what="the lock service serves", timeout_seconds=60.0)
        assert found is not None
        self.address, self.identity = found.control_address, found.identity

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert processes.send_signal(self.identity, number)

    async def kill(self) -> None:
        """Kill it; returns when it is gone."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)


async def test_sessions_and_locks_outlive_a_kill_and_a_pause(tmp_path: Path):
    lock = LockProcess(tmp_path / "desk")
    world = RealWorld(node="client", root=tmp_path / "client", token=TOKEN)
    await lock.start()
    try:
        session = await OwnLockService(world, lock.address).open_session()
        other = await OwnLockService(world, lock.address).open_session()
        held = await session.acquire("/master", lock_delay_seconds=0.5)
        await session.create("/here", b"me", ephemeral=True)
        await lock.kill()
        await lock.start()
        if session.state is not SessionState.EXPIRED:  # A busy machine may take longer than the grace.
            assert await other.check(held)
            with pytest.raises(Conflict):
                await other.acquire("/master")
        lock.signal(signal.SIGSTOP)
        await session.expired.wait()
        lock.signal(signal.SIGCONT)
        fresh = await OwnLockService(world, lock.address).open_session()
        after = await fresh.acquire("/master", wait_seconds=90.0)
        assert after.generation > held.generation and await fresh.list("/") == []
        await fresh.close()
    finally:
        await lock.kill()
        await world.close()


async def test_a_damaged_log_is_refused_in_words(tmp_path: Path):
    lock = LockProcess(tmp_path / "desk")
    await lock.start()
    await lock.kill()
    [log] = (lock.folder.data / "log").iterdir()
    content = bytearray(log.read_bytes())
    content[40] ^= 1
    log.write_bytes(content)
    lock.begin()

    async def refused() -> str:
        failure = await asyncio.to_thread(lock.folder.read_failure)
        return failure[1] if failure is not None and failure[0] == "Corrupted" else ""

    message = await wait_until(refused, what="it refuses to start", timeout_seconds=60.0)
    await lock.kill()
    assert "log/00000000000000000001.log" in message and "damaged" in message
