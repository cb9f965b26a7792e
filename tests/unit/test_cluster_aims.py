"""What faults are aimed at, in words."""

import pytest

from cluster.aims import aim, sides, stored
from cluster.faultplan import (
    AllServers,
    BusiestTabletServer,
    Group,
    InRack,
    LogOf,
    Node,
    OutsideRack,
    RandomServer,
    Replica,
    RottenBlock,
    RottenHeader,
    RottenRecord,
    RottenTable,
    ServerOfRow,
    ServerOfTablet,
    TheMaster,
    ThePrimary,
    TheTabletMaster,
    TornBlock,
    TornHeader,
)
from runtime.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cs2", Node("cs2")),
        ("  master2 ", Node("master2")),
        ("lock", Node("lock")),
        ("client", Node("client")),
        ("the master", TheMaster()),
        ("All servers", AllServers()),
        ("a random chunkserver", RandomServer()),
        ("the primary of chunk 0 of /a", ThePrimary("/a", 0)),
        ("primary of /a/b c[12]", ThePrimary("/a/b c", 12)),
        ("replica 2 of chunk 3 of /a", Replica("/a", 3, 2)),
        ("the replica 2  of  /a[3]", Replica("/a", 3, 2)),
        ("rack r1", InRack("r1")),
        ("rack r1 of dc2", InRack("r1", "dc2")),
        ("outside of rack r1", OutsideRack("r1")),
        ("the tablet master", TheTabletMaster()),
        ("the busiest tablet server", BusiestTabletServer()),
        ("the server of row m of users", ServerOfRow("users", "m")),
        ("server of row of the day of users", ServerOfRow("users", "of the day")),
        ("the server of tablet users-000003", ServerOfTablet("users-000003")),
        ("the log of ts1", LogOf("ts1")),
        ("log of ts12", LogOf("ts12")),
        ("ts1", Node("ts1")),
        ("cs1,cs2", Group((Node("cs1"), Node("cs2")))),
        ("cs1, cs2 and the master", Group((Node("cs1"), Node("cs2"), TheMaster()))),
    ],
)
def test_a_target_in_words(text, target):
    assert aim(text) == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no target; expected one such as"),
        (" , ", "no target"),
        ("cs", None),
        ("csx", "'csx' is no target"),
        ("server 2", "say 'cs2'"),
        ("/a", "say 'replica 1 of chunk 0 of /a'"),
        ("replica 2", "Say which chunk of which file"),
        ("replica 0 of chunk 0 of /a", "'0' is no number of a replica; they count from 1"),
        ("replica two of chunk 0 of /a", "'two' is no number of a replica"),
        ("replica 1 of chunk -1 of /a", "'-1' is no number of a chunk; they count from 0"),
        ("replica 1 of chunk 0 of a", "Say which chunk of which file"),
        ("the server of users", "Say 'the server of row m of users'"),
        ("log of cs1", "or 'the log of ts1'"),
        ("cs1, everyone", "'everyone' is no target"),
    ],
)
def test_each_mistake_has_its_own_words(text, words):
    if words is None:
        assert aim(text) == Node("cs")  # Whether there is such a node, the cluster says.
        return
    with pytest.raises(InvalidRequest, match=words.replace("(", r"\(")):
        aim(text)


def test_the_two_sides_of_a_partition():
    assert sides("cs1,cs2 / master") == (Group((Node("cs1"), Node("cs2"))), Node("master"))
    assert sides("cs1/master") == (Node("cs1"), Node("master"))
    assert sides("replica 1 of chunk 0 of /a / client") == (Replica("/a", 0, 1), Node("client"))
    for text in ("cs1", "cs1 /", "cs1 / cs2 / cs3", "/ cs1"):
        with pytest.raises(InvalidRequest, match="expected two sides"):
            sides(text)


@pytest.mark.parametrize(
    ("text", "torn", "found"),
    [
        ("replica 2 of chunk 3 of /a", False, (RottenBlock("/a", 3, 0), Replica("/a", 3, 2))),
        ("replica 2 of chunk 3 of /a, block 1", False, (RottenBlock("/a", 3, 1), Replica("/a", 3, 2))),
        ("the primary of /a[3], header", False, (RottenHeader("/a", 3), ThePrimary("/a", 3))),
        ("replica 1 of /a[0], checksum of block 2", False, (RottenTable("/a", 0, 2), Replica("/a", 0, 1))),
        ("replica 1 of /a[0], block 2", True, (TornBlock("/a", 0, 2), Replica("/a", 0, 1))),
        ("replica 1 of /a[0], header", True, (TornHeader("/a", 0), Replica("/a", 0, 1))),
        ("master log, record 5", False, (RottenRecord(5), Node("master"))),
        ("the lock's log record 1", False, (RottenRecord(1), Node("lock"))),
    ],
)
def test_stored_bytes_in_words(text, torn, found):
    assert stored(text, torn=torn) == found


@pytest.mark.parametrize(
    ("text", "torn", "words"),
    [
        ("cs1", False, "names no stored bytes"),
        ("replica 1 of /a[0], block", False, "'block': expected 'block 1'"),
        ("replica 1 of /a[0], block x", False, "'x' is no number of a block"),
        ("master log, record 0", False, "'0' is no number of a record; they count from 1"),
        ("master log, record 3", True, "corrupt one instead"),
        ("replica 1 of /a[0], checksum of block 1", True, "only a block or a header can be torn"),
    ],
)
def test_mistakes_about_stored_bytes(text, torn, words):
    with pytest.raises(InvalidRequest, match=words):
        stored(text, torn=torn)
