"""What a tablet is told before data comes: column families with their version policies, and locality groups (BT 2, 6).

A family must be created before a cell can be written to it. Its *garbage rule* says which versions need not be kept:

>>> rule = Union((MaxVersions(3), MaxAge(7 * DAY_MICROSECONDS)))
>>> rule.is_garbage(rank=0, age=8 * DAY_MICROSECONDS), rule.is_garbage(rank=3, age=0), rule.is_garbage(rank=2, age=0)
(True, True, False)

`rank` counts the versions of one column from the newest, which has rank 0; `age` is in microseconds. Reads hide
garbage at once, compactions remove it some day. So if the newest versions are then deleted one by one, an older one
that was already garbage may come back or may not: the paper leaves that open, and so do we.

A *locality group* is a set of families that are stored in SSTables of their own, with their own block size,
compression and Bloom filter, and perhaps in memory (BT 6). Families that belong to no other are in the group "default".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotFound

DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000
DEFAULT_GROUP = "default"
FAMILY_LIMIT = 500
"""Families per table: "at most hundreds" (BT 2)."""

RULE_DEPTH_LIMIT = 20
"""How deep rules may stand within rules: protobuf reads messages within messages up to 100 deep."""

_HIGHEST = 2**63 - 1
_NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_NAME_LIMIT_BYTES = 64
_BLOCK_BYTES_RANGE = (256, 16 * 1024 * 1024)

Compression = Literal["none", "snappy", "lz4", "zstd"]
BloomKeys = Literal["none", "row", "row+column"]
BloomPolicy = Literal["pybloom-live", "blocked"]
_COMPRESSIONS = ("none", "snappy", "lz4", "zstd")
_BLOOM_KEYS = ("none", "row", "row+column")
_LEAST_RATES: dict[BloomPolicy, float] = {"pybloom-live": 1e-9, "blocked": 0.001}
BLOOM_POLICIES = tuple(_LEAST_RATES)
"""The Bloom filter policies, and the lowest false-positive rate that each can be asked for."""


@dataclass(frozen=True, slots=True)
class MaxVersions:
    """Keep the newest `versions` of each column."""

    versions: int

    def is_garbage(self, rank: int, age: int) -> bool:
        """Whether so many newer versions make this one garbage."""
        return rank >= self.versions


@dataclass(frozen=True, slots=True)
class MaxAge:
    """Keep what is at most `microseconds` old."""

    microseconds: int

    def is_garbage(self, rank: int, age: int) -> bool:
        """Whether it is too old."""
        return age > self.microseconds


@dataclass(frozen=True, slots=True)
class Union:
    """Garbage if any of the rules says so."""

    rules: tuple["GarbageRule", ...]

    def is_garbage(self, rank: int, age: int) -> bool:
        """Any of the rules."""
        return any(rule.is_garbage(rank, age) for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Intersection:
    """Garbage if all of the rules say so."""

    rules: tuple["GarbageRule", ...]

    def is_garbage(self, rank: int, age: int) -> bool:
        """All of the rules."""
        return bool(self.rules) and all(rule.is_garbage(rank, age) for rule in self.rules)


GarbageRule = MaxVersions | MaxAge | Union | Intersection


@dataclass(frozen=True, slots=True)
class Family:
    """One column family. Without a rule all versions are kept."""

    name: str
    rule: GarbageRule | None = None
    group: str = DEFAULT_GROUP

    def is_garbage(self, rank: int, age: int) -> bool:
        """Whether the version of this rank and age (microseconds) need not be kept."""
        return self.rule is not None and self.rule.is_garbage(rank, age)


@dataclass(frozen=True, slots=True)
class LocalityGroup:
    """How a group's SSTables are made. `false_positive_rate` is what the Bloom filters are sized for; `bloom_policy`
    says how their bits are arranged."""

    name: str = DEFAULT_GROUP
    block_bytes: int = 64 * 1024
    compression: Compression = "snappy"
    bloom_keys: BloomKeys = "row+column"
    false_positive_rate: float = 0.004
    in_memory: bool = False
    bloom_policy: BloomPolicy = "blocked"

    def check(self) -> None:
        """Raise InvalidRequest for settings that make no sense."""
        _check_name("locality group", self.name)
        low, high = _BLOCK_BYTES_RANGE
        if not _is_whole(self.block_bytes):
            raise InvalidRequest(f"block_bytes is {self.block_bytes!r}; give a whole number, for example 65536")
        if type(self.false_positive_rate) not in (int, float):
            raise InvalidRequest(f"false_positive_rate is {self.false_positive_rate!r}; give a number, such as 0.004")
        if type(self.in_memory) is not bool:
            raise InvalidRequest(f"in_memory is {self.in_memory!r}; choose True or False")
        if not low <= self.block_bytes <= high:
            raise InvalidRequest(f"block_bytes is {self.block_bytes:,}; choose {low:,} to {high:,}, for example 65,536")
        if self.compression not in _COMPRESSIONS:
            raise InvalidRequest(f"compression is {self.compression!r}; choose one of {', '.join(_COMPRESSIONS)}")
        if self.bloom_keys not in _BLOOM_KEYS:
            raise InvalidRequest(f"bloom_keys is {self.bloom_keys!r}; choose one of {', '.join(_BLOOM_KEYS)}")
        if self.bloom_policy not in _LEAST_RATES:
            raise InvalidRequest(f"bloom_policy is {self.bloom_policy!r}; choose one of {', '.join(_LEAST_RATES)}")
        least = _LEAST_RATES[self.bloom_policy]
        if not least <= self.false_positive_rate <= 0.5:
            raise InvalidRequest(
                f"false_positive_rate is {self.false_positive_rate}; choose {f'{least:.9f}'.rstrip('0')} to 0.5 for "
                f"the Bloom filter policy {self.bloom_policy!r}"
            )


@dataclass(frozen=True, slots=True)
class Schema:
    """Families and groups by name (a family's as bytes, for the sake of the hot paths). Never changed, only replaced.

    `dropped` names the families that are gone, while SSTables may still hold cells of theirs.
    """

    families: Mapping[bytes, Family] = field(default_factory=dict)
    groups: Mapping[str, LocalityGroup] = field(default_factory=lambda: {DEFAULT_GROUP: LocalityGroup()})
    dropped: tuple[str, ...] = ()

    @property
    def judges_single_cells(self) -> bool:
        """Whether a column's only version can be garbage: by its age, or with its family."""
        return bool(self.dropped) or any(
            family.rule is not None and family.rule.is_garbage(0, 2**64) for family in self.families.values()
        )

    def shortest_age(self, group: str) -> int | None:
        """The smallest `MaxAge` of a group's families, in microseconds; None if there is none."""
        ages = [age for family in self.families.values() if family.group == group for age in ages_in(family.rule)]
        return min(ages, default=None)

    def group_of(self, family: bytes) -> str | None:
        """The group that a family's cells are stored in; None for an unknown family."""
        found = self.families.get(family)
        return found.group if found is not None else None

    def with_group(self, group: LocalityGroup) -> "Schema":
        """The schema with a new group, or with new settings for one. They apply to SSTables written from now on."""
        if not isinstance(group, LocalityGroup):
            raise InvalidRequest(f"{group!r} is no locality group; write LocalityGroup({group!r}, ...)")
        group.check()
        return replace(self, groups={**self.groups, group.name: group})

    def with_family(self, family: Family) -> "Schema":
        """The schema with a new family. Raises AlreadyExists, Conflict, NotFound for its group, InvalidRequest."""
        _check_name("family", family.name)
        _check_name("locality group", family.group)
        _check_rule(family.rule)
        if family.name.encode() in self.families:
            raise AlreadyExists(f"the family {family.name!r} exists; change its rule with set_garbage_rule")
        if family.name in self.dropped:
            raise Conflict(f"cells of the dropped family {family.name!r} are still stored; call compact() first")
        if family.group not in self.groups:
            raise NotFound(f"there is no locality group {family.group!r}; create it first, or choose {DEFAULT_GROUP!r}")
        if len(self.families) >= FAMILY_LIMIT:
            raise InvalidRequest(f"there are {FAMILY_LIMIT} families already; use qualifiers, which cost nothing")
        return replace(self, families={**self.families, family.name.encode(): family})

    def with_rule(self, name: str, rule: GarbageRule | None) -> "Schema":
        """The schema with another garbage rule for a family. Raises NotFound, InvalidRequest."""
        _check_rule(rule)
        family = self.family(name)
        return replace(self, families={**self.families, name.encode(): replace(family, rule=rule)})

    def without_family(self, name: str) -> "Schema":
        """The schema without a family. Raises NotFound."""
        self.family(name)
        rest = {key: family for key, family in self.families.items() if family.name != name}
        return replace(self, families=rest, dropped=(*self.dropped, name))

    def without_dropped(self, count: int) -> "Schema":
        """The schema once no SSTable holds cells of the first `count` dropped families any more."""
        return replace(self, dropped=self.dropped[count:])

    def family(self, name: str) -> Family:
        """One family. Raises NotFound, with the names there are, and InvalidRequest for what is no text."""
        if not isinstance(name, str):
            raise InvalidRequest(f"{name!r} cannot be a family's name; give a text")
        found = self.families.get(name.encode("utf-8", "replace"))
        if found is None:
            known = ", ".join(sorted(family.name for family in self.families.values())) or "none"
            raise NotFound(f"there is no column family {name!r}; there are: {known}. Create it with create_family")
        return found


def ages_in(rule: GarbageRule | None) -> list[int]:
    """The microseconds of every `MaxAge` in a rule.

    >>> ages_in(Union((MaxVersions(3), MaxAge(7))))
    [7]
    """
    match rule:
        case MaxAge(microseconds):
            return [microseconds]
        case Union(rules) | Intersection(rules):
            return [age for inner in rules for age in ages_in(inner)]
    return []


def counts_versions(rule: GarbageRule | None) -> bool:
    """Whether newer versions of a column, wherever they are, can make older ones garbage."""
    match rule:
        case MaxVersions():
            return True
        case Union(rules) | Intersection(rules):
            return any(map(counts_versions, rules))
    return False


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str):
        raise InvalidRequest(f"{name!r} cannot be the name of a {kind}; give a text")
    encoded = name.encode("utf-8", "replace")
    if not 0 < len(encoded) <= _NAME_LIMIT_BYTES or not _NAME_BYTES.issuperset(encoded):
        raise InvalidRequest(
            f"{name[:80]!r} cannot be the name of a {kind}; use 1 to {_NAME_LIMIT_BYTES} letters, digits, '_', '-', '.'"
        )


def _check_rule(rule: GarbageRule | None, depth: int = 1) -> None:
    """Raise InvalidRequest for a rule that keeps nothing, or that no manifest could hold."""
    if depth > RULE_DEPTH_LIMIT:
        raise InvalidRequest(f"the garbage rule has rules within rules, more than {RULE_DEPTH_LIMIT} deep; flatten it")
    match rule:
        case None:
            return
        case MaxVersions(versions):
            if not _is_whole(versions) or not 1 <= versions <= _HIGHEST:
                raise InvalidRequest(f"max versions is {versions!r}; give a whole number, 1 to {_HIGHEST:,}")
        case MaxAge(microseconds):
            if not _is_whole(microseconds) or not 1 <= microseconds <= _HIGHEST:
                raise InvalidRequest(
                    f"max age is {microseconds!r} microseconds; give a whole number, 1 to {_HIGHEST:,}: round with "
                    f"int(...)"
                )
        case Union(rules) | Intersection(rules):
            if not isinstance(rules, tuple | list) or not rules:
                raise InvalidRequest(
                    f"{rule!r}: give a tuple of at least one rule, such as {type(rule).__name__}((MaxVersions(3), "
                    f"MaxAge(7 * DAY_MICROSECONDS))), or None to keep all"
                )
            for inner in rules:
                if inner is None:
                    raise _no_rule(inner)
                _check_rule(inner, depth + 1)
        case _:
            raise _no_rule(rule)


def _no_rule(given: object) -> InvalidRequest:
    return InvalidRequest(
        f"{given!r} is no garbage rule; write MaxVersions(3), MaxAge(7 * DAY_MICROSECONDS), or a Union or Intersection "
        f"of such rules"
    )


def _is_whole(number: object) -> bool:
    """Whether it is an int, as the manifest holds it; bools and floats are not."""
    return type(number) is int
