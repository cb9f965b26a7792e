"""The prefix-compressed table against a plain dictionary, under random work (GFS 2.6.1).

The alphabet is small and leaves hold four entries, so that a few steps already split, empty and merge leaves, and so
that a key often comes back exactly where a leaf still begins.
"""

from collections.abc import Collection, Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from master.namespace import prefix_table
from master.namespace.prefix_table import PrefixTable

Model = dict[bytes, bytes]

# Paths as the namespace makes them: names joined by zero bytes, with names that are prefixes of one another.
NAMES = st.sampled_from([b"a", b"aa", b"ab", b"b", b"c", b"z"])
KEYS = st.lists(NAMES, min_size=0, max_size=3).map(b"\0".join)
BOUNDS = KEYS | st.binary(max_size=2)
VALUES = st.binary(max_size=3)


class TableAndDictionary(RuleBasedStateMachine):
    """Each rule does the same to both and compares the answers."""

    snapshots: Bundle[tuple[list[bytes], Model]] = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.table = PrefixTable()
        self.model: Model = {}
        self.removed: set[bytes] = set()

    def one_of(self, keys: Collection[bytes]) -> st.SearchStrategy[bytes]:
        return st.sampled_from(sorted(keys)) | KEYS if keys else KEYS

    def below(self, low: bytes, high: bytes | None) -> list[tuple[bytes, bytes]]:
        return sorted((k, v) for k, v in self.model.items() if k >= low and (high is None or k < high))

    def take_out(self, key: bytes) -> None:
        assert self.table.remove(key) == self.model.pop(key)
        self.removed.add(key)

    @rule(key=KEYS, value=VALUES)
    def set(self, key: bytes, value: bytes) -> None:
        self.table.set(key, value)
        self.model[key] = value

    @rule(keys=st.lists(KEYS, min_size=5, max_size=20, unique=True))
    def set_many(self, keys: list[bytes]) -> None:
        for key in keys:
            self.set(key, b"many")

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            self.take_out(key)

    @rule(low=BOUNDS, high=BOUNDS)
    def remove_a_range(self, low: bytes, high: bytes) -> None:
        for key, _ in self.below(low, high):
            self.take_out(key)

    @rule(data=st.data())
    def move_a_subtree(self, data: st.DataObject) -> None:
        """From a name, mostly one that is there, to another with nothing below it, mostly one that was removed."""
        old = data.draw(self.one_of(self.model))
        new = data.draw(self.one_of(self.removed))
        inside = self.below(old, old + b"\1")
        overlap = old.startswith(new) or new.startswith(old)
        if overlap or self.below(new, new + b"\1"):
            return
        assert self.table.move(old, old + b"\1", old, new) == len(inside)
        for key, _ in inside:
            del self.model[key]
            self.removed.add(key)
        self.model.update((new + key[len(old) :], value) for key, value in inside)

    @rule(data=st.data())
    def copy_a_subtree(self, data: st.DataObject) -> None:
        """To another name with nothing below it, with other values of the same lengths."""
        old = data.draw(self.one_of(self.model))
        new = data.draw(self.one_of(self.removed))
        inside = self.below(old, old + b"\1")
        if not inside or old.startswith(new) or new.startswith(old) or self.below(new, new + b"\1"):
            return
        changed = {new + key[len(old) :]: value[::-1] for key, value in inside}
        count = self.table.copy(old, old + b"\1", old, new, lambda values: [value[::-1] for value in values])
        assert count == len(inside)
        self.model.update(changed)

    @rule(key=KEYS)
    def remove_a_subtree(self, key: bytes) -> None:
        for inner, _ in self.below(key, key + b"\1"):
            self.take_out(inner)

    @rule(key=BOUNDS)
    def get(self, key: bytes) -> None:
        assert self.table.get(key) == self.model.get(key)

    @rule(low=BOUNDS, high=st.none() | BOUNDS, limit=st.integers(0, 12))
    def items(self, low: bytes, high: bytes | None, limit: int) -> None:
        expected = self.below(low, high)
        assert self.table.items(low, high, limit=limit) == expected[:limit]
        assert self.table.first(low, high) == (expected[0] if expected else None)

    @rule(target=snapshots)
    def snapshot(self) -> tuple[list[bytes], Model]:
        return self.table.snapshot(), dict(self.model)

    @rule(taken=snapshots)
    def read_a_snapshot(self, taken: tuple[list[bytes], Model]) -> None:
        leaves, model = taken
        copy = PrefixTable.from_leaves(leaves)
        copy.check_invariants()
        assert copy.items(b"", None, limit=1000) == sorted(model.items())

    @rule(taken=snapshots)
    def go_back_to_a_snapshot(self, taken: tuple[list[bytes], Model]) -> None:
        leaves, model = taken
        self.table, self.model = PrefixTable.from_leaves(leaves), dict(model)

    @invariant()
    def is_sound_and_equal(self) -> None:
        self.table.check_invariants()
        assert len(self.table) == len(self.model)
        assert self.table.items(b"", None, limit=1000) == sorted(self.model.items())


@pytest.fixture(autouse=True, scope="module")
def tiny_leaves() -> Iterator[None]:
    """Leaves of four entries, two of them open at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_table, "LEAF_ENTRIES", 4)
        patch.setattr(prefix_table, "OPEN_LEAVES", 2)
        patch.setattr(prefix_table, "_MERGE_BELOW", 2)
        yield


TestTableAndDictionary = TableAndDictionary.TestCase
TestTableAndDictionary.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
