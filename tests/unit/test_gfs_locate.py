"""Finding a cluster of this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gfs
from gfs.names.locate import FORMAT, Contact, cluster_name, find_contact, home_folder, master_gone
from runtime.errors import IncompatibleFormat, InvalidRequest, NotFound, Unauthenticated, Unavailable


def prepare(home: Path, name: str, contact: object, token: str | None = "secret\n") -> None:
    (home / name).mkdir(parents=True)
    (home / name / "cluster.json").write_text(contact if isinstance(contact, str) else json.dumps(contact))
    if token is not None:
        (home / name / "token").write_text(token)


def contact_of(name: str, master: str = "127.0.0.1:4000") -> dict[str, object]:
    return {"format": FORMAT, "cluster": name, "master": master}


def test_a_cluster_is_found_by_name_variable_or_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TABLETOP_HOME", str(tmp_path))
    monkeypatch.delenv("TABLETOP_CLUSTER", raising=False)
    for name in ("desk", "group-4"):
        prepare(tmp_path, name, contact_of(name, f"{name}:1"))
    assert find_contact().master == "desk:1"
    assert find_contact("group-4").master == "group-4:1"
    monkeypatch.setenv("TABLETOP_CLUSTER", "group-4")
    assert find_contact().cluster == "group-4"
    assert find_contact().token == "secret"


def test_the_token_is_not_shown_where_a_contact_is_printed(tmp_path: Path):
    prepare(tmp_path, "desk", contact_of("desk"))
    assert "secret" not in repr(find_contact("desk", home=tmp_path))


def test_home_follows_the_variables_and_ignores_a_relative_xdg_path():
    assert home_folder({"XDG_STATE_HOME": "relative"}) == Path.home() / ".local/state/tabletop"
    assert home_folder({"TABLETOP_HOME": "/t", "XDG_STATE_HOME": "/s"}) == Path("/t")
    assert cluster_name(None, {}) == "desk"


@pytest.mark.parametrize(
    ("contact", "token", "kind", "message"),
    [
        ("not json", "secret", IncompatibleFormat, "is not JSON"),
        ({"format": 99}, "secret", IncompatibleFormat, "is of format 99"),
        ([], "secret", IncompatibleFormat, "is of format"),
        (contact_of("desk", ""), "secret", Unavailable, "tabletop up"),
        (contact_of("desk"), None, Unauthenticated, "token of cluster 'desk'"),
    ],
)
def test_a_folder_that_does_not_serve_is_refused_with_what_to_do(
    tmp_path: Path, contact: object, token: str | None, kind: type[Exception], message: str
):
    prepare(tmp_path, "desk", contact, token)
    with pytest.raises(kind, match=message):
        gfs.connect("desk", state=str(tmp_path))


def test_a_missing_cluster_and_a_name_that_is_a_path_are_refused(tmp_path: Path):
    with pytest.raises(NotFound, match="tabletop up --cluster none"):
        gfs.connect("none", state=str(tmp_path))
    with pytest.raises(InvalidRequest, match="an address is given as "):
        find_contact("127.0.0.1:8000", home=tmp_path)
    for thing in (b"desk", tmp_path, 5):
        with pytest.raises(InvalidRequest, match="expected its name, a text such as 'desk'"):
            find_contact(thing, home=tmp_path)  # type: ignore[arg-type]
    for name in ("..", "a/b", "a\0b"):
        with pytest.raises(InvalidRequest, match="cluster name"):
            find_contact(name, home=tmp_path)


def test_a_cluster_that_is_down_is_known_by_its_folder_at_once(tmp_path: Path):
    prepare(tmp_path, "desk", contact_of("desk"))
    (tmp_path / "desk" / "nodes" / "cs1").mkdir(parents=True)
    with pytest.raises(Unavailable, match="cluster 'desk' is down; start it with `tabletop up`") as caught:
        find_contact("desk", home=tmp_path)
    assert caught.value.definite
    ready = tmp_path / "desk" / "nodes" / "cs1" / "ready.json"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    ready.write_text(json.dumps({"process_id": ended.pid}))
    with pytest.raises(Unavailable, match="is down"):
        find_contact("desk", home=tmp_path)
    ready.write_text(json.dumps({"process_id": os.getpid()}))
    assert find_contact("desk", home=tmp_path).cluster == "desk"
    master = tmp_path / "desk" / "nodes" / "master" / "ready.json"
    master.parent.mkdir()
    master.write_text(json.dumps({"process_id": ended.pid}))
    with pytest.raises(Unavailable, match="start it again with `tabletop fault restart master`"):
        find_contact("desk", home=tmp_path)
    # It was stopped in good order; it is starting; it has refused to start.
    master.unlink()
    with pytest.raises(Unavailable, match="the master of cluster 'desk' is not running; start it again"):
        find_contact("desk", home=tmp_path)
    failure = master.with_name("failure.json")
    failure.write_text(json.dumps({"kind": "", "message": "it ended before it served"}))
    assert find_contact("desk", home=tmp_path).cluster == "desk"
    failure.write_text(json.dumps({"kind": "NoSpace", "message": "the disk is full"}))
    with pytest.raises(Unavailable, match="is not running: the disk is full; start it again"):
        find_contact("desk", home=tmp_path)


def test_a_program_that_has_connected_sees_that_the_masters_process_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("TABLETOP_CLUSTER", raising=False)
    prepare(tmp_path, "desk", contact_of("desk"))
    ready = tmp_path / "desk" / "nodes" / "master" / "ready.json"
    ready.parent.mkdir(parents=True)
    ready.write_text(json.dumps({"process_id": os.getpid()}))
    contact = find_contact("desk", home=tmp_path)
    assert master_gone(contact) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    ready.write_text(json.dumps({"process_id": ended.pid}))
    gone = master_gone(contact)
    assert gone is not None and "start it with `tabletop up`" in gone.message
    assert master_gone(Contact("desk", "elsewhere:1", "secret")) is None


def test_the_patience_of_a_program_bounds_its_reads_and_its_writes():
    with gfs.connect(master="127.0.0.1:1", token="secret", patience_seconds=50) as fs:
        settings = fs.run(settings_of)
    assert (settings.patience_seconds, settings.write_patience_seconds) == (30, 50)
    short = gfs.connect(master="127.0.0.1:1", token="secret", patience_seconds=0.05)
    with short as fs, pytest.raises(gfs.TimedOut, match=r"within 0\.05 seconds"):
        fs.stat("/a")


async def settings_of(client: gfs.Client) -> gfs.ClientSettings:
    return client.settings


def test_of_several_masters_all_must_be_gone_before_nobody_is_asked(tmp_path: Path):
    prepare(tmp_path, "desk", contact_of("desk", "127.0.0.1:1,127.0.0.1:2"))
    for name, process_id in (("master", 2**22 + 1), ("master2", os.getpid()), ("cs1", os.getpid())):
        (tmp_path / "desk" / "nodes" / name).mkdir(parents=True)
        (tmp_path / "desk" / "nodes" / name / "ready.json").write_text(json.dumps({"process_id": process_id}))
    assert find_contact("desk", home=tmp_path).master == "127.0.0.1:1,127.0.0.1:2"
    (tmp_path / "desk" / "nodes" / "master2" / "ready.json").write_text(json.dumps({"process_id": 2**22 + 1}))
    with pytest.raises(Unavailable, match="not running"):
        find_contact("desk", home=tmp_path)
