"""`tabletop admin masters`: what it shows of masters that act, follow, or say nothing."""

from rich.console import Console

from runtime.wire.masters_pb2 import FollowerStanding, MasterStanding
from tabletop.masters_command import masters_table, out_of_sync, remarks

ACTING = MasterStanding(
    master="master2",
    address="h:2",
    acting=True,
    epoch=4,
    last_sequence=1234,
    applied_sequence=1234,
    followers=[
        FollowerStanding(master="master", problem="connection refused"),
        FollowerStanding(master="master3", in_sync=True),
    ],
)
SHADOW = MasterStanding(
    master="master3",
    address="h:3",
    epoch=4,
    follows="master2",
    last_sequence=1234,
    applied_sequence=1230,
    lag_seconds=0.26,
)


def shown(table: object) -> list[list[str]]:
    console = Console(width=200, record=True)
    console.print(table)
    return [line.split() for line in console.export_text().splitlines()]


def test_each_master_has_a_line_with_what_it_is_and_how_far():
    _, silent, acting, shadow = shown(masters_table({"master": None, "master2": ACTING, "master3": SHADOW}))
    assert silent[:4] == ["master", "silent", "-", "no"]
    assert acting[:6] == ["master2", "acts", "4", "yes", "1,234", "1,234"]
    assert shadow[:9] == ["master3", "shadow", "4", "yes", "1,234", "1,230", "0.3", "s", "h:3"]


def test_it_says_who_is_not_in_sync_and_that_nobody_acts():
    assert out_of_sync({"master": None, "master2": ACTING, "master3": SHADOW}) == ["master is not in sync"]
    assert remarks({"master2": ACTING}) == []
    assert "no master acts" in remarks({"master": None, "master3": SHADOW})[0]


def test_a_master_that_has_no_room_for_its_log_says_so():
    short = MasterStanding()
    short.CopyFrom(SHADOW)
    short.short_of_space = True
    *_, line = shown(masters_table({"master3": short}))
    assert " ".join(line).endswith("its disk has no room for its log")
