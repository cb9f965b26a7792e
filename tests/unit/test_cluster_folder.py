"""A cluster's folder and what happens when two commands want it."""

import asyncio
import errno
import json
import stat
from pathlib import Path

import pytest

from cluster.folder import ClusterFolder, ClusterRecord, NodeConfig, ReadyRecord, UnknownCluster, cluster_names
from cluster.processes import ProcessIdentity
from cluster.roles import node_settings, role_of
from cluster.settings import ClusterSettings
from gfs.names import locate
from runtime.errors import Conflict, IncompatibleFormat, NoSpace

CONFIG = NodeConfig("desk", "cs1", "chunkserver", {"durability": "fsync"}, ProcessIdentity(1, 2.5))


def made(home: Path, name: str = "desk", master: str = "127.0.0.1:20001") -> ClusterFolder:
    folder = ClusterFolder(name, home)
    folder.path.mkdir(parents=True)
    folder.write_record(ClusterRecord(name, master, ClusterSettings()))
    return folder


def test_the_record_survives_its_file(tmp_path: Path):
    folder = made(tmp_path)
    assert folder.require() == ClusterRecord("desk", "127.0.0.1:20001", ClusterSettings())


def test_clients_find_a_cluster_by_what_the_folder_holds(tmp_path: Path):
    folder = made(tmp_path)
    folder.draw_token()
    token = folder.token()
    contact = locate.find_contact("desk", home=tmp_path)
    assert (contact.cluster, contact.master, contact.token) == ("desk", "127.0.0.1:20001", token)


def test_the_token_is_drawn_once_and_readable_by_its_owner_alone(tmp_path: Path):
    folder = made(tmp_path)
    folder.draw_token()
    token = folder.token()
    assert len(token) == 32
    folder.draw_token()
    assert folder.token() == token
    assert stat.S_IMODE((folder.path / "token").stat().st_mode) == 0o600


def test_an_unknown_cluster_is_answered_with_the_ones_there_are(tmp_path: Path):
    made(tmp_path, "lecture")
    made(tmp_path, "lab")
    with pytest.raises(UnknownCluster, match=r"no cluster 'desk' .*there are: lab, lecture"):
        ClusterFolder("desk", tmp_path).require()
    assert cluster_names(tmp_path) == ["lab", "lecture"]


def test_a_folder_of_another_version_is_refused_with_both_versions(tmp_path: Path):
    folder = made(tmp_path)
    path = folder.path / "cluster.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(IncompatibleFormat, match=r"of format 99, this version of Tabletop reads format 1"):
        folder.require()


def test_a_record_that_is_no_json_is_refused(tmp_path: Path):
    folder = made(tmp_path)
    (folder.path / "cluster.json").write_text("{")
    with pytest.raises(IncompatibleFormat, match="is not a JSON object"):
        folder.require()


def test_a_node_says_that_it_serves_and_takes_it_back(tmp_path: Path):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)
    assert node.read_ready() is None
    record = ReadyRecord(ProcessIdentity(12, 34.5), "127.0.0.1:1", "127.0.0.1:2")
    node.write_ready(record)
    assert node.read_ready() == record
    node.forget_ready()
    assert node.read_ready() is None


def test_what_a_program_is_told_survives_its_file(tmp_path: Path):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)
    assert NodeConfig.from_json(json.loads(node.config.read_text())) == CONFIG


def test_another_start_forgets_why_the_last_one_failed(tmp_path: Path):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)
    node.write_failure("Conflict", "the port is in use")
    assert node.read_failure() == ("Conflict", "the port is in use")
    node.prepare(CONFIG)
    assert node.read_failure() == ("", "it ended before it served")
    node.forget_failure()
    assert node.read_failure() is None


def test_a_full_disk_is_told_with_the_file_that_found_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)
    before = node.config.read_bytes()

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")  # As a write to a descriptor does: without a name.

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NoSpace, match=r"nodes/cs1/config.json.*No space left on device; free some space"):
        node.prepare(CONFIG)
    assert node.config.read_bytes() == before and list(node.path.glob("*.new")) == []


def test_a_node_starts_again_on_a_full_disk_in_the_space_that_was_kept_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)
    spare, really_write = node.path / "spare", Path.write_bytes

    def used() -> int:
        return sum(path.stat().st_size for path in node.path.iterdir() if path.is_file())

    taken_by_all = used()

    def nearly_full(path: Path, data: bytes) -> int:
        if used() + len(data) > taken_by_all:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return really_write(path, data)

    monkeypatch.setattr(Path, "write_bytes", nearly_full)
    whole = spare.stat().st_size
    changed = NodeConfig("c", "cs1", "chunkserver", {"rack": "r" * 3000})
    node.prepare(changed)
    assert node.config.read_bytes() and 0 < spare.stat().st_size < whole
    monkeypatch.undo()
    node.prepare(changed)
    assert spare.stat().st_size == whole


def test_a_reason_finds_a_place_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    node = made(tmp_path).node("cs1")
    node.prepare(CONFIG)

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    size = (node.path / "failure.json").stat().st_size
    node.write_failure("NoSpace", "cannot write: No space left on device" + "ü" * 5000)
    kind, message = node.read_failure() or ("", "")
    assert kind == "NoSpace" and message.startswith("cannot write: No space left on device")
    assert (node.path / "failure.json").stat().st_size == size


async def test_two_commands_never_hold_one_folder(tmp_path: Path):
    folder = made(tmp_path)
    async with folder.locked():
        with pytest.raises(Conflict, match="another command has been working on cluster 'desk'"):
            async with ClusterFolder("desk", tmp_path).locked(patience_seconds=0.0):
                raise AssertionError("two hold it")
    async with folder.locked(patience_seconds=0.0):
        pass


async def test_who_waits_while_the_folder_is_purged_gets_a_new_one(tmp_path: Path):
    folder, other = made(tmp_path), ClusterFolder("desk", tmp_path)
    order = []

    async def wait_and_write() -> None:
        async with other.locked():
            order.append("second")
            other.write_record(ClusterRecord("desk", "", ClusterSettings()))

    async with folder.locked():
        waiting = asyncio.create_task(wait_and_write())
        await asyncio.sleep(0)
        folder.purge()
        order.append("first")
    await waiting
    assert order == ["first", "second"]
    assert other.exists()


async def test_a_lock_without_a_cluster_leaves_no_folder(tmp_path: Path):
    folder = ClusterFolder("desk", tmp_path)
    async with folder.locked():
        assert folder.path.is_dir()
    assert not folder.path.exists()


def test_a_lost_record_of_several_masters_is_told_by_what_the_nodes_were_told(tmp_path: Path):
    settings = ClusterSettings(chunkservers=3, masters=3)
    record = ClusterRecord("desk", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", settings, lock="127.0.0.1:4")
    folder = ClusterFolder("desk", tmp_path)
    for name in settings.node_names():
        told = node_settings(
            name,
            "desk",
            settings,
            address=record.address_of(name) or "127.0.0.1:0",
            master_address=record.master,
            lock_address=record.lock,
        )
        folder.node(name).prepare(NodeConfig("desk", name, role_of(name), told))
    assert folder.record_of_nodes() == record
    assert [record.address_of(name)[-1:] for name in settings.node_names()] == ["1", "2", "3", "4", "", "", ""]
