"""Folders that lie apart: a hint, which costs nothing where nobody takes it."""

import os
from pathlib import Path
from unittest.mock import patch

from runtime.real import spreading
from runtime.real.disk import RealDisk


async def test_a_folder_is_made_whether_the_file_system_takes_the_hint_or_not(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    await disk.make_directory("chunks", spread=True)
    await disk.make_directory("chunks", spread=True)  # The flag may be there already.
    with patch.object(spreading.fcntl, "ioctl", side_effect=OSError("no such thing")):
        await disk.make_directory("others", spread=True)
    with patch.object(spreading.sys, "platform", "darwin"):
        await disk.make_directory("more", spread=True)
    assert sorted(os.listdir(tmp_path)) == ["chunks", "more", "others"]


def test_who_asks_is_told_whether_it_is_done(tmp_path: Path) -> None:
    assert not spreading.spread_folders_of(str(tmp_path / "none"))
    with patch.object(spreading.fcntl, "ioctl") as ioctl:
        assert spreading.spread_folders_of(str(tmp_path))
    flags = ioctl.call_args_list[1].args[2]
    assert len(ioctl.call_args_list) == 2 and int.from_bytes(flags[:4], "little") == 0x00020000
