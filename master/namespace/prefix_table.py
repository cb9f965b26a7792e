"""A sorted table of byte strings with prefix compression: the namespace's memory, and its checkpoint, in one form.

The problem. The master keeps the name and the facts of every file in memory (GFS 2.6.1), and a Python object for each
would cost several hundred bytes where the paper says "less than 64". A checkpoint should be "in a compact B-tree like
form that can be directly mapped into memory and used for namespace lookup without extra parsing" (GFS 2.6.3).

The idea. Neighbours in sorted order share long prefixes. So keep runs of neighbours, up to 64 entries, as one *packed
leaf*: an immutable byte string in which each key stores only what differs from the key before it.

    u8 width | u32 entries | u32 length of the common prefix | common prefix |
    a column of shared lengths | a column of suffix lengths | a column of value lengths | suffixes | values

The columns hold 1-byte integers where all lengths fit (width 1), otherwise 4-byte ones (width 4). A list of the
leaves' lower bounds finds the leaf for a key by binary search. The leaves touched last are kept *open* (as plain lists)
so that a burst of work in one directory packs its leaf once. Because packed leaves never change, a snapshot of the
whole table is a copy of the list of leaves, taken between two mutations, however large the table is; and the
checkpoint is those leaves, written one after the other.

The common prefix stands apart, so that giving a whole subtree another name (`move`) touches one prefix a leaf; a second
copy of a subtree under another name (`copy`) takes over the rest of each leaf, too, but for the values that differ.

>>> table = PrefixTable()
>>> for name in (b"apple", b"apricot", b"pear"):
...     table.set(name, b"fruit")
>>> table.get(b"apricot"), table.get(b"plum")
(b'fruit', None)
>>> table.items(b"ap", b"aq", limit=10)
[(b'apple', b'fruit'), (b'apricot', b'fruit')]

A lower bound says where a key belongs. It need not be a key of its leaf: when a leaf's first key is removed, or when
two leaves are joined, the bound stays. Only where leaves are put in between others (`move`) must it be exact, for the
new leaves have bounds of their own; `_cut` sees to it.

Invariants: (1) lower bounds rise strictly, the first is empty; (2) a leaf's keys rise strictly and lie at or above its
bound and below the next one's; (3) no leaf but the first is empty, none has more than 64 entries; (4) the count of
entries is the sum over the leaves; (5) the open leaves are known by their lower bounds.

What we simplify. Leaves lie in one Python list, so an insertion into the middle moves up to 8 bytes a leaf.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from runtime.errors import Corrupted

LEAF_ENTRIES = 64
OPEN_LEAVES = 64
_MERGE_BELOW = LEAF_ENTRIES // 4
_HEADER = struct.Struct("<BII")


Change = Callable[[Sequence[bytes]], Sequence[bytes]]
"""From the values of neighbours to those of their copies, in the same order, each as long as before."""


class _OpenLeaf:
    """A leaf unpacked for work. `packed` is its packed form as long as nothing was changed."""

    __slots__ = ("keys", "low", "packed", "values")

    def __init__(self, low: bytes, keys: list[bytes], values: list[bytes], packed: bytes | None = None) -> None:
        self.low = low
        self.keys = keys
        self.values = values
        self.packed = packed


class PrefixTable:
    """A sorted map from bytes to bytes. All times are O(log leaves) and the work within one leaf."""

    def __init__(self) -> None:
        self._lows: list[bytes] = [b""]
        self._leaves: list[bytes | _OpenLeaf] = [pack([], [])]
        self._open: dict[bytes, _OpenLeaf] = {}  # by lower bound, least recently used first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @classmethod
    def from_leaves(cls, leaves: Iterable[bytes]) -> "PrefixTable":
        """A table from a snapshot's leaves. Raises Corrupted if they are not one."""
        table = cls()
        kept = [(leaf, leaf_size(leaf)) for leaf in leaves]
        kept = [(leaf, size) for leaf, size in kept if size]
        if not kept:
            return table
        table._leaves = [leaf for leaf, _ in kept]
        table._lows = [b"", *(_first_key(leaf) for leaf, _ in kept[1:])]
        table._count = sum(size for _, size in kept)
        if any(low >= high for low, high in pairwise(table._lows)):
            raise Corrupted("the leaves of a prefix table are not in order")
        return table

    def snapshot(self) -> list[bytes]:
        """All leaves, packed, in order. Later changes of the table do not show in it."""
        self._pack_open_leaves(keep=0)
        return [leaf for leaf in self._leaves if isinstance(leaf, bytes)]

    def get(self, key: bytes) -> bytes | None:
        """The key's value, or None."""
        leaf = self._unpacked(self._place(key))
        at = bisect_left(leaf.keys, key)
        return leaf.values[at] if at < len(leaf.keys) and leaf.keys[at] == key else None

    def set(self, key: bytes, value: bytes) -> None:
        """Insert the key, or replace its value."""
        place = self._place(key)
        leaf = self._unpacked(place)
        leaf.packed = None
        at = bisect_left(leaf.keys, key)
        if at < len(leaf.keys) and leaf.keys[at] == key:
            leaf.values[at] = value
            return
        leaf.keys.insert(at, key)
        leaf.values.insert(at, value)
        self._count += 1
        if len(leaf.keys) > LEAF_ENTRIES:
            # Names that arrive in order fill their leaves: cut off only the newcomer.
            self._split(place, at if at == LEAF_ENTRIES else LEAF_ENTRIES // 2)

    def remove(self, key: bytes) -> bytes:
        """Take the key out and return its value; it must be there."""
        place = self._place(key)
        leaf = self._unpacked(place)
        at = bisect_left(leaf.keys, key)
        assert at < len(leaf.keys) and leaf.keys[at] == key, f"{key!r} is not in the table"
        del leaf.keys[at]
        value = leaf.values.pop(at)
        leaf.packed = None
        self._count -= 1
        if len(leaf.keys) < _MERGE_BELOW:
            self._merge(place)
        return value

    def items(self, low: bytes, high: bytes | None, *, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` entries from `low` (inclusive) to `high` (exclusive; None: the end), in order."""
        found: list[tuple[bytes, bytes]] = []
        place = self._place(low)
        while place < len(self._lows) and len(found) < limit:
            if high is not None and self._lows[place] >= high:
                break
            keys, values = self._read(place)
            start = bisect_left(keys, low)
            stop = len(keys) if high is None else bisect_left(keys, high)
            stop = min(stop, start + limit - len(found))
            found.extend(zip(keys[start:stop], values[start:stop], strict=True))
            place += 1
        return found

    def first(self, low: bytes, high: bytes | None) -> tuple[bytes, bytes] | None:
        """The first entry from `low` to below `high`, or None."""
        found = self.items(low, high, limit=1)
        return found[0] if found else None

    def move(self, low: bytes, high: bytes, old: bytes, new: bytes) -> int:
        """Give all keys from `low` to below `high`, which begin with `old`, the beginning `new` instead.

        The new range must be empty and must not overlap the old one. Inner leaves only change their prefix, so moving a
        million names costs milliseconds. A few names are taken out and set again, so that names that are moved one by
        one share leaves as others do. Returns how many entries moved.
        """
        few = self.items(low, high, limit=LEAF_ENTRIES + 1)
        if len(few) > LEAF_ENTRIES:
            return self._move_leaves(low, high, old, new)
        for key, _ in few:
            self.remove(key)
        for key, value in few:
            self.set(new + key[len(old) :], value)
        return len(few)

    def _move_leaves(self, low: bytes, high: bytes, old: bytes, new: bytes) -> int:
        first, last = self._cut(low), self._cut(high)
        moved = self._leaves[first:last]
        del self._leaves[first:last], self._lows[first:last]
        for leaf in moved:
            if isinstance(leaf, _OpenLeaf):
                del self._open[leaf.low]
        if not self._lows or self._lows[0] != b"":
            self._lows.insert(0, b"")
            self._leaves.insert(0, pack([], []))
        renamed = [_with_prefix(leaf if isinstance(leaf, bytes) else _packed(leaf), old, new) for leaf in moved]
        count = self._put_in(renamed)
        self._merge(self._place(low))  # What was cut for the move may be joined again.
        return count

    def copy(self, low: bytes, high: bytes, old: bytes, new: bytes, change: Change) -> int:
        """Set for each key from `low` to below `high`, which begins with `old`, a second one that begins with `new`.

        The new range must be empty and must not overlap the old one. `change` gives the values of the copies. Leaves
        are copied as they are packed, but for their prefixes and values. Returns how many entries were copied.
        """
        few = self.items(low, high, limit=LEAF_ENTRIES + 1)
        if len(few) > LEAF_ENTRIES:
            return self._copy_leaves(low, high, old, new, change)
        values = change([value for _, value in few])
        for (key, _), value in zip(few, values, strict=True):
            self.set(new + key[len(old) :], value)
        return len(few)

    def _copy_leaves(self, low: bytes, high: bytes, old: bytes, new: bytes, change: Change) -> int:
        first, last = self._cut(low), self._cut(high)
        packed = [leaf if isinstance(leaf, bytes) else _packed(leaf) for leaf in self._leaves[first:last]]
        copies = [_with_values(_with_prefix(leaf, old, new), change) for leaf in packed if leaf_size(leaf)]
        count = self._put_in(copies)
        self._count += count
        for key in (high, low):  # What was cut for the copy may be joined again.
            self._merge(max(0, self._place(key) - 1))
        return count

    def _put_in(self, leaves: list[bytes]) -> int:
        """Put packed leaves, none of them empty, where their keys belong; returns how many entries they have. What was
        cut for them before and after them may be joined again."""
        leaves = [leaf for leaf in leaves if leaf_size(leaf)]
        bounds = [_first_key(leaf) for leaf in leaves]
        assert bounds[0], "nothing stands before the empty key, so nothing moves there"
        at = self._cut(bounds[0])
        self._leaves[at:at] = leaves
        self._lows[at:at] = bounds
        self._merge(at + len(leaves) - 1)
        self._merge(at - 1)
        return sum(map(leaf_size, leaves))

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold. Reads the whole table."""
        assert self._lows[0] == b"" and all(a < b for a, b in pairwise(self._lows)), "lower bounds do not rise"
        assert len(self._lows) == len(self._leaves)
        total = 0
        for place, leaf in enumerate(self._leaves):
            keys, values = self._read(place)
            total += len(keys)
            assert len(keys) == len(values) <= LEAF_ENTRIES
            assert keys or place == 0, "an empty leaf was left behind"
            assert all(a < b for a, b in pairwise(keys)), "keys of a leaf do not rise"
            assert not keys or keys[0] >= self._lows[place]
            assert not keys or place + 1 == len(self._lows) or keys[-1] < self._lows[place + 1]
            if isinstance(leaf, _OpenLeaf):
                assert leaf.low == self._lows[place] and self._open.get(leaf.low) is leaf, "an open leaf is not known"
        opened = sum(isinstance(leaf, _OpenLeaf) for leaf in self._leaves)
        assert len(self._open) == opened <= OPEN_LEAVES, f"{opened} leaves are open, {len(self._open)} are known"
        assert total == self._count, f"{total} entries, counted {self._count}"

    def _place(self, key: bytes) -> int:
        return bisect_right(self._lows, key) - 1

    def _read(self, place: int) -> tuple[list[bytes], list[bytes]]:
        """The leaf's contents, without opening it: scans should not push out what is being worked on."""
        leaf = self._leaves[place]
        return unpack(leaf) if isinstance(leaf, bytes) else (leaf.keys, leaf.values)

    def _unpacked(self, place: int) -> _OpenLeaf:
        leaf = self._leaves[place]
        if isinstance(leaf, bytes):
            if len(self._open) >= OPEN_LEAVES:
                self._pack_open_leaves(keep=OPEN_LEAVES - 1)
            leaf = _OpenLeaf(self._lows[place], *unpack(leaf), packed=leaf)
            self._leaves[place] = self._open[leaf.low] = leaf
        elif len(self._open) > 1:
            self._open[leaf.low] = self._open.pop(leaf.low)
        return leaf

    def _pack_open_leaves(self, keep: int) -> None:
        while len(self._open) > keep:
            low = next(iter(self._open))
            self._leaves[self._place(low)] = _packed(self._open.pop(low))

    def _split(self, place: int, at: int) -> None:
        leaf = self._unpacked(place)
        right = _OpenLeaf(leaf.keys[at], leaf.keys[at:], leaf.values[at:])
        del leaf.keys[at:], leaf.values[at:]
        leaf.packed = None
        self._lows.insert(place + 1, right.low)
        self._leaves.insert(place + 1, right)
        self._open[right.low] = right
        self._pack_open_leaves(keep=OPEN_LEAVES)

    def _merge(self, place: int) -> None:
        """Join a small leaf with its right neighbour where both fit, and drop an empty one."""
        leaf = self._unpacked(place)
        if place + 1 < len(self._leaves):
            keys, values = self._read(place + 1)
            if len(leaf.keys) + len(keys) <= LEAF_ENTRIES // 2:
                leaf.keys.extend(keys)
                leaf.values.extend(values)
                leaf.packed = None
                self._open.pop(self._lows[place + 1], None)
                del self._leaves[place + 1], self._lows[place + 1]
                return
        self._drop_if_empty(place)

    def _drop_if_empty(self, place: int) -> None:
        if place > 0 and not self._read(place)[0]:
            self._open.pop(self._lows[place], None)
            del self._leaves[place], self._lows[place]

    def _cut(self, key: bytes) -> int:
        """Part the leaves at `key`: up to the place returned they hold smaller keys only, from there on no smaller one.

        The leaf at that place, if there is one, is bounded by its first key: leaves with smaller keys fit in before it.
        """
        place = self._place(key)
        keys, _ = self._read(place)
        at = bisect_left(keys, key)
        if 0 < at < len(keys):
            self._split(place, at)
        if at > 0 or not keys:
            place += 1
        return place if place == len(self._leaves) else self._tighten(place)

    def _tighten(self, place: int) -> int:
        """Raise a leaf's bound to its first key, and return its place: another leaf may have to stand before it."""
        leaf = self._leaves[place]
        low = _first_key(leaf) if isinstance(leaf, bytes) else leaf.keys[0]
        if low == self._lows[place]:
            return place
        if isinstance(leaf, _OpenLeaf):
            self._open[low] = self._open.pop(leaf.low)
            leaf.low = low
        self._lows[place] = low
        if place > 0:
            return place
        self._lows.insert(0, b"")
        self._leaves.insert(0, pack([], []))
        return 1


def _packed(leaf: _OpenLeaf) -> bytes:
    return leaf.packed if leaf.packed is not None else pack(leaf.keys, leaf.values)


def pack(keys: list[bytes], values: list[bytes]) -> bytes:
    """One packed leaf of sorted keys and their values."""
    common = _shared(keys[0], keys[-1]) if keys else 0
    shared, suffixes = [], []
    before = keys[0][:common] if keys else b""
    for key in keys:
        same = _shared(before, key)
        shared.append(same - common)
        suffixes.append(key[same:])
        before = key
    lengths = (shared, [len(suffix) for suffix in suffixes], [len(value) for value in values])
    width = 1 if all(max(column, default=0) < 256 for column in lengths) else 4
    columns = [array("B" if width == 1 else "I", column).tobytes() for column in lengths]
    prefix = keys[0][:common] if keys else b""
    return b"".join((_HEADER.pack(width, len(keys), common), prefix, *columns, *suffixes, *values))


def unpack(leaf: bytes) -> tuple[list[bytes], list[bytes]]:
    """The keys and values of a packed leaf."""
    width, count, common = _HEADER.unpack_from(leaf)
    at = _HEADER.size
    prefix = leaf[at : at + common]
    at += common
    columns = []
    for _ in range(3):
        column = array("B" if width == 1 else "I")
        column.frombytes(leaf[at : at + width * count])
        columns.append(column)
        at += width * count
    keys: list[bytes] = []
    suffix = b""
    for shared, length in zip(columns[0], columns[1], strict=True):
        suffix = suffix[:shared] + leaf[at : at + length]
        keys.append(prefix + suffix)
        at += length
    values: list[bytes] = []
    for length in columns[2]:
        values.append(leaf[at : at + length])
        at += length
    return keys, values


def leaf_size(leaf: bytes) -> int:
    """How many entries a packed leaf holds. Raises Corrupted if it is none."""
    if len(leaf) < _HEADER.size or leaf[0] not in (1, 4):
        raise Corrupted("found bytes that are not a leaf of a prefix table")
    return int(_HEADER.unpack_from(leaf)[1])


def _first_key(leaf: bytes) -> bytes:
    width, count, common = _HEADER.unpack_from(leaf)
    at = _HEADER.size + common
    length = int.from_bytes(leaf[at + width * count : at + width * (count + 1)], "little")
    start = at + 3 * width * count
    return leaf[_HEADER.size : at] + leaf[start : start + length]


def _with_prefix(leaf: bytes, old: bytes, new: bytes) -> bytes:
    """The same leaf with every key's beginning `old` replaced by `new`."""
    if not leaf_size(leaf):
        return leaf
    width, count, common = _HEADER.unpack_from(leaf)
    assert leaf[_HEADER.size : _HEADER.size + len(old)] == old, "a moved key does not begin with the old prefix"
    header = _HEADER.pack(width, count, common - len(old) + len(new))
    return b"".join((header, new, leaf[_HEADER.size + len(old) :]))


def _with_values(leaf: bytes, change: Change) -> bytes:
    """The same leaf with the values that `change` makes of those in it; each must be as long as before."""
    width, count, common = _HEADER.unpack_from(leaf)
    lengths = array("B" if width == 1 else "I")
    column = _HEADER.size + common + 2 * width * count
    lengths.frombytes(leaf[column : column + width * count])
    at = begin = len(leaf) - sum(lengths)
    values: list[bytes] = []
    for length in lengths:
        values.append(leaf[at : at + length])
        at += length
    changed = change(values)
    assert [len(value) for value in changed] == list(lengths), "a changed value has another length"
    return b"".join((leaf[:begin], *changed))


def _shared(left: bytes, right: bytes) -> int:
    """The length of the longest common prefix."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
