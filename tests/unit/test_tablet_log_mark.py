"""How far a tablet's own log is durable, written down outside of the log."""

from pathlib import Path

import pytest

import tablet.engine
from runtime.durable_mark import decode_mark, encode_mark
from runtime.errors import Corrupted
from runtime.real.disk import RealDisk
from runtime.simulated.world import Simulation
from tablet.embedded.inline import run_inline
from tablet.engine.engine import Engine
from tablet.engine.log.log_mark import LogMark, marked_sequence, refuse_short_log
from tablet.engine.world.options import Options, SyncMode
from tablet.engine.world.storage import DiskStorage
from tablet.tools.verification import verify_folder

MARK = "durable"


def written(folder: Path, sync: SyncMode) -> Path:
    """A tablet with two rows in its log, closed in good order; returns the log."""
    with tablet.engine.open(folder, Options(sync=sync)) as table:
        table.create_family("f")
        table.put("a", "f:a", "1")
        table.put("b", "f:a", "2")
    (log,) = folder.glob("*.log")
    return log


@pytest.mark.parametrize("sync", ["os", "fsync"])
def test_a_closed_tablet_whose_log_is_cut_short_is_refused(tmp_path: Path, sync: SyncMode):
    log = written(tmp_path, sync)
    log.write_bytes(log.read_bytes()[:100])
    with pytest.raises(Corrupted, match=r"ends with record \d, but the file durable says .* record 3 had been durable"):
        tablet.engine.open(tmp_path)
    (tmp_path / MARK).unlink()
    with tablet.engine.open(tmp_path) as table:
        assert len(list(table.scan())) < 2, "whoever removes the mark says that the rows may be lost"


def test_verify_says_what_an_opening_would_refuse(tmp_path: Path):
    log = written(tmp_path, "os")
    log.write_bytes(log.read_bytes()[:100])

    async def problems() -> list[str]:
        storage = DiskStorage(RealDisk(str(tmp_path), inline=True))
        return [problem async for verdict in verify_folder(storage) for problem in verdict.problems]

    assert any("durable says" in problem for problem in run_inline(problems()))


@pytest.mark.parametrize("content", [b"", b"garbage of sixteen", bytes(16)])
def test_a_mark_that_cannot_be_read_says_nothing(tmp_path: Path, content: bytes):
    written(tmp_path, "os")
    (tmp_path / MARK).write_bytes(content)
    with tablet.engine.open(tmp_path) as table:
        assert [row.key for row in table.scan()] == [b"a", b"b"]


def test_without_a_sync_nothing_is_promised(tmp_path: Path):
    """A power cut may take the last rows then, and the tablet is to open."""
    table = tablet.engine.open(tmp_path)
    table.create_family("f")
    table.put("a", "f:a", "1")
    assert not (tmp_path / MARK).exists()
    table.sync()
    assert decode_mark((tmp_path / MARK).read_bytes()) == 2
    table.put("b", "f:a", "2")
    assert decode_mark((tmp_path / MARK).read_bytes()) == 2
    table.close()


def test_each_synced_write_of_an_embedded_tablet_is_marked_at_once(tmp_path: Path):
    table = tablet.engine.open(tmp_path, Options(sync="fsync"))
    table.create_family("f")
    for number in range(3):
        table.put(f"{number}", "f:a", "x")
        assert decode_mark((tmp_path / MARK).read_bytes()) == number + 2
    table.close()


def test_a_servers_tablet_marks_a_moment_later_and_once_for_many():
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        writes: list[int] = []
        world.simulated_disk.on_operation(
            lambda operation: (
                writes.append(operation.number) if operation.path.endswith(MARK) and operation.verb == "write" else None
            )
        )

        async def story() -> None:
            await world.disk.make_directory("t")
            storage = DiskStorage(world.disk, "t")
            engine = await Engine.open(storage, world, Options(sync="fsync"))
            await engine.create_family("f")
            for number in range(20):
                await engine.put(b"%d" % number, b"f:a", b"x")
            await world.clock.sleep(1.0)
            assert await marked_sequence(storage) == engine.state.log.durable_sequence == 21
            assert 0 < len(writes) < 20
            await engine.close()

        simulation.run(simulation.on(world, story()))


def test_a_mark_never_falls_and_is_written_when_it_is_closed():
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def story() -> None:
            storage = DiskStorage(world.disk)
            mark = LogMark(storage, world, inline=False)
            await mark.note(7)
            await mark.note(5)
            await mark.close()
            assert await marked_sequence(storage) == 7
            await storage.note(MARK, encode_mark(9))
            assert await marked_sequence(storage) == 9

        simulation.run(simulation.on(world, story()))


def test_a_log_may_hold_more_than_its_mark_says():
    refuse_short_log(5, 5, "000001.log")
    refuse_short_log(0, 0, "")
    with pytest.raises(Corrupted, match=r"000001\.log ends with record 4"):
        refuse_short_log(5, 4, "000001.log")
