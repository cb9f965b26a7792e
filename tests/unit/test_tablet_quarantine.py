"""SSTables that cannot be read are set aside: for how long, and what the synchronous face makes of it."""

import math

import pytest

import tablet.engine
from runtime.errors import Corrupted, DiskFailure
from tablet.engine.maintenance.quarantine import Quarantine
from tablet.engine.world.events import TableSetAside
from tablet.engine.world.options import Options, PolicySettings


def test_damage_is_set_aside_for_good_and_an_error_of_the_disk_for_longer_each_time():
    quarantine = Quarantine()
    assert quarantine.set_aside(1, Corrupted("damaged"), now=0.0) == math.inf
    seconds = [quarantine.set_aside(2, DiskFailure("EIO"), now=50.0) for _ in range(20)]
    assert seconds[:4] == [1, 2, 4, 8] and seconds[-1] == 3600
    assert quarantine.left_out(now=3649.0) == {1, 2}
    assert quarantine.left_out(now=1e9) == {1}
    assert (quarantine.reason(1), quarantine.reason(3)) == ("damaged", "")
    quarantine.release((2, 3))
    assert quarantine.set_aside(2, DiskFailure("EIO"), now=0.0) == 1
    quarantine.check_invariants()


def test_the_synchronous_face_continues_around_a_damaged_file_and_says_so_once(tmp_path):
    options = Options(policy="everything", policy_settings=PolicySettings(fan_in=3), block_cache_bytes=0)
    with tablet.engine.open(tmp_path, options) as table:
        table.create_family("f")
        for number in range(2):
            table.put(f"row{number}", "f:q", "v" * 100)
            table.flush()
    oldest = min(tmp_path.glob("*.sst"))
    data = bytearray(oldest.read_bytes())
    data[20] ^= 1
    oldest.write_bytes(data)
    with tablet.engine.open(tmp_path, options) as table:
        for number in range(2, 20):
            table.put(f"row{number}", "f:q", "v" * 100)
            table.flush()
            table.settle()
        told = [record.event for record in table.events if isinstance(record.event, TableSetAside)]
        assert [event.table for event in told] == [oldest.name]
        assert oldest.name in told[0].reason and "block at offset 0" in told[0].reason
        figures = table.figures()
        assert [found.name for found in figures.tables if found.trouble] == [oldest.name]
        assert len(figures.tables) <= 4 and figures.work.compactions > 5
        assert table.get("row19", "f:q") == b"v" * 100
        with pytest.raises(Corrupted, match=oldest.name):
            table.get("row0", "f:q")
        with pytest.raises(Corrupted, match=oldest.name):
            table.compact()
