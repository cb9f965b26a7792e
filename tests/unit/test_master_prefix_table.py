"""The prefix-compressed table under the namespace (GFS 2.6.1, 2.6.3)."""

import random

import pytest

from master.namespace.prefix_table import LEAF_ENTRIES, PrefixTable, pack, unpack
from runtime.errors import Corrupted


def table_of(keys: list[bytes]) -> PrefixTable:
    table = PrefixTable()
    for key in keys:
        table.set(key, b"value of " + key)
    return table


def everything(table: PrefixTable) -> list[bytes]:
    return [key for key, _ in table.items(b"", None, limit=10**9)]


def test_a_packed_leaf_gives_back_keys_and_values() -> None:
    keys = [b"", b"home", b"home\0ann", b"home\0ann\0thesis", b"x" * 300]
    values = [b"", b"1", b"2" * 1000, b"3", b"4"]
    assert unpack(pack(keys, values)) == (keys, values)
    assert unpack(pack([], [])) == ([], [])


def test_neighbours_share_their_prefix_so_a_long_path_costs_few_bytes() -> None:
    keys = [b"a-very-long-directory-name/that-is-deep/file-%04d" % number for number in range(LEAF_ENTRIES)]
    assert len(pack(keys, [b""] * len(keys))) < 6 * len(keys) + 60


def test_the_table_agrees_with_a_sorted_dict_under_random_work() -> None:
    chance = random.Random(7)
    table, model = PrefixTable(), dict[bytes, bytes]()
    for step in range(12_000):
        key = b"\0".join(b"%d" % chance.randrange(12) for _ in range(chance.randrange(1, 5)))
        if chance.random() < (0.7 if step < 6_000 else 0.3):
            model[key] = b"%d" % step
            table.set(key, model[key])
        elif key in model:
            assert table.remove(key) == model.pop(key)
        assert table.get(key) == model.get(key)
        if step % 1500 == 0:
            table.check_invariants()
    table.check_invariants()
    assert table.items(b"", None, limit=10**9) == sorted(model.items())
    assert len(table) == len(model)
    assert table.items(b"3", b"5", limit=10**9) == sorted((k, v) for k, v in model.items() if b"3" <= k < b"5")


def test_names_that_arrive_in_order_fill_their_leaves() -> None:
    table = table_of([b"%06d" % number for number in range(640)])
    table.check_invariants()
    assert len(table.snapshot()) <= 11


def test_a_snapshot_does_not_see_later_changes() -> None:
    table = table_of([b"%04d" % number for number in range(500)])
    leaves = table.snapshot()
    table.set(b"0100", b"changed")
    table.remove(b"0200")
    copy = PrefixTable.from_leaves(leaves)
    copy.check_invariants()
    assert copy.get(b"0100") == b"value of 0100" and copy.get(b"0200") == b"value of 0200"
    assert len(copy) == 500 and len(table) == 499


@pytest.mark.parametrize("target", [b"a", b"k-moved", b"zz"])
def test_moving_a_range_renames_every_key_and_nothing_else(target: bytes) -> None:
    inside = [b"k"] + [b"k\0%04d" % number for number in range(300)]
    outside = [b"", b"b"] + [b"j%03d" % number for number in range(100)] + [b"k0", b"l", b"z"]
    table = table_of(sorted(inside + outside))
    assert table.move(b"k", b"k\1", b"k", target) == len(inside)
    table.check_invariants()
    assert everything(table) == sorted(outside + [target + key[1:] for key in inside])
    assert table.get(target + b"\0" + b"0123") == b"value of k\0" + b"0123"
    again = PrefixTable.from_leaves(table.snapshot())
    again.check_invariants()
    assert everything(again) == everything(table)


def test_random_moves_agree_with_a_dict() -> None:
    chance = random.Random(11)
    model = {b"": b""} | {b"%03d\0%03d" % (chance.randrange(40), n): b"%d" % n for n in range(900)}
    table = PrefixTable()
    for key, value in model.items():
        table.set(key, value)
    for step in range(200):
        old, new = b"%03d" % chance.randrange(40), b"%03d-%d" % (chance.randrange(40), step)
        moved = {key: value for key, value in model.items() if key.startswith(old + b"\0")}
        assert table.move(old, old + b"\1", old, new) == len(moved)
        model = {k: v for k, v in model.items() if k not in moved} | {new + k[len(old) :]: v for k, v in moved.items()}
        back, _ = (new, old)
        table.move(back, back + b"\1", back, old)
        model = {(old + k[len(new) :] if k.startswith(new + b"\0") else k): v for k, v in model.items()}
    table.check_invariants()
    assert table.items(b"", None, limit=10**9) == sorted(model.items())


def test_foreign_bytes_are_refused_as_a_leaf() -> None:
    with pytest.raises(Corrupted, match="not a leaf"):
        PrefixTable.from_leaves([b"not a leaf at all"])


def test_a_range_moves_to_a_name_that_was_removed_and_where_a_leaf_still_begins() -> None:
    table = table_of([b"%03d" % number for number in range(2 * LEAF_ENTRIES)])
    first_of_a_leaf = b"%03d" % LEAF_ENTRIES
    table.remove(first_of_a_leaf)
    assert table.move(b"000", b"000\1", b"000", first_of_a_leaf) == 1
    table.check_invariants()
    assert table.get(first_of_a_leaf) == b"value of 000"
    assert everything(table) == [b"%03d" % number for number in range(1, 2 * LEAF_ENTRIES)]


@pytest.mark.parametrize("size", [3, 3 * LEAF_ENTRIES])
def test_a_subtree_moves_to_where_another_was_removed_and_left_a_leaf_that_begins_inside_it(size: int) -> None:
    removed = [b"d\0%03d" % number for number in range(LEAF_ENTRIES + 6)]
    neighbours = [b"e%02d" % number for number in range(20)]
    moved = [b"m\0%03d" % number for number in range(size)]
    table = table_of(sorted([*removed, *neighbours, *moved]))
    for name in removed:
        table.remove(name)
    assert table.move(b"m", b"m\1", b"m", b"d") == len(moved)
    table.check_invariants()
    assert everything(table) == [*(b"d" + name[1:] for name in moved), *neighbours]
    assert table.get(b"d\0" + b"002") == b"value of m\0" + b"002"


def test_files_that_are_renamed_one_by_one_fill_their_leaves() -> None:
    table = table_of([b".writing-%04d" % number for number in range(4000)])
    for number in range(4000):
        old, new = b".writing-%04d" % number, b"name-%04d" % (number * 7 % 4000)
        table.move(old, old + b"\1", old, new)
    table.check_invariants()
    assert len(table.snapshot()) < 4000 / LEAF_ENTRIES * 4
