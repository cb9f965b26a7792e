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
from typing import Any, Literal

from runtime.errors import AlreadyExists, Conflict, IncompatibleFormat, InvalidRequest, NotFound

DAY_MICROSECONDS = 24 * 60 * 60 * 1_000_000
DEFAULT_GROUP = "default"
FAMILY_LIMIT = 500
"""Families per table: "at most hundreds" (BT 2)."""

_NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_NAME_LIMIT_BYTES = 64
_BLOCK_BYTES_RANGE = (256, 16 * 1024 * 1024)

Compression = Literal["none", "snappy", "lz4", "zstd"]
BloomKeys = Literal["none", "row", "row+column"]
BloomPolicy = Literal["pybloom-live", "blocked"]
_COMPRESSIONS = ("none", "snappy", "lz4", "zstd")
_BLOOM_KEYS = ("none", "row", "row+column")
_LEAST_RATES: dict[BloomPolicy, float] = {"pybloom-live": 1e-9, "blocked": 0.001}
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
    bloom_policy: BloomPolicy = "pybloom-live"

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

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "families": [
                {"name": family.name, "group": family.group, "rule": rule_to_json(family.rule)}
                for family in self.families.values()
            ],
            "groups": [
                {
                    "name": group.name,
                    "block_bytes": group.block_bytes,
                    "compression": group.compression,
                    "bloom_keys": group.bloom_keys,
                    "false_positive_rate": group.false_positive_rate,
                    "in_memory": group.in_memory,
                    "bloom_policy": group.bloom_policy,
                }
                for group in self.groups.values()
            ],
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Schema":
        """The reverse. Raises KeyError, TypeError or InvalidRequest for what no schema can be, IncompatibleFormat for
        a rule or a Bloom filter policy of another version."""
        groups = {entry["name"]: LocalityGroup(**entry) for entry in fields["groups"]}
        for group in groups.values():
            if group.bloom_policy not in _LEAST_RATES:
                raise IncompatibleFormat(
                    f"the locality group {group.name!r} has the Bloom filter policy {group.bloom_policy!r}; known are "
                    f"{', '.join(_LEAST_RATES)}; use a version that knows it"
                )
        families = {
            entry["name"].encode(): Family(entry["name"], rule_from_json(entry["rule"]), entry["group"])
            for entry in fields["families"]
        }
        return cls(families, groups, tuple(fields["dropped"]))


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


def rule_to_json(rule: GarbageRule | None) -> Any:
    """A garbage rule as JSON: {"max_versions": 3}, {"max_age": microseconds}, {"union": […]}, {"intersection": […]}.

    Raises InvalidRequest for anything else."""
    match rule:
        case None:
            return None
        case MaxVersions(versions):
            return {"max_versions": versions}
        case MaxAge(microseconds):
            return {"max_age": microseconds}
        case Union(rules):
            return {"union": [rule_to_json(inner) for inner in rules]}
        case Intersection(rules):
            return {"intersection": [rule_to_json(inner) for inner in rules]}
    raise _no_rule(rule)


def rule_from_json(fields: Any) -> GarbageRule | None:
    """The reverse. Raises IncompatibleFormat for a rule of another version."""
    match fields:
        case None:
            return None
        case {"max_versions": int(versions)}:
            return MaxVersions(versions)
        case {"max_age": int(microseconds)}:
            return MaxAge(microseconds)
        case {"union": [*rules]}:
            return Union(_rules_from_json(rules))
        case {"intersection": [*rules]}:
            return Intersection(_rules_from_json(rules))
    raise IncompatibleFormat(f"{fields!r} is not a garbage rule that this version knows")


def _rules_from_json(rules: list[Any]) -> tuple[GarbageRule, ...]:
    return tuple(rule for inner in rules if (rule := rule_from_json(inner)) is not None)


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str):
        raise InvalidRequest(f"{name!r} cannot be the name of a {kind}; give a text")
    encoded = name.encode("utf-8", "replace")
    if not 0 < len(encoded) <= _NAME_LIMIT_BYTES or not _NAME_BYTES.issuperset(encoded):
        raise InvalidRequest(
            f"{name[:80]!r} cannot be the name of a {kind}; use 1 to {_NAME_LIMIT_BYTES} letters, digits, '_', '-', '.'"
        )


def _check_rule(rule: GarbageRule | None) -> None:
    """Raise InvalidRequest for a rule that keeps nothing, or that no manifest could hold."""
    match rule:
        case None:
            return
        case MaxVersions(versions):
            if not _is_whole(versions) or versions < 1:
                raise InvalidRequest(f"max versions is {versions!r}; give a whole number, at least 1")
        case MaxAge(microseconds):
            if not _is_whole(microseconds) or microseconds < 1:
                raise InvalidRequest(
                    f"max age is {microseconds!r} microseconds; give a whole number, at least 1: round with int(...)"
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
                _check_rule(inner)
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
