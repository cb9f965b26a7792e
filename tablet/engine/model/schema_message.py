"""A schema as a message, and back: the part of a manifest that says which families there are (`proto/tablet.proto`)."""

from collections.abc import Iterable
from typing import cast

from runtime.errors import IncompatibleFormat
from runtime.wire import tablet_pb2
from tablet.engine.model.schema import (
    BLOOM_POLICIES,
    BloomKeys,
    Compression,
    Family,
    GarbageRule,
    Intersection,
    LocalityGroup,
    MaxAge,
    MaxVersions,
    Schema,
    Union,
)


def schema_to_message(schema: Schema) -> tablet_pb2.Schema:
    """The message of a schema whose parts were checked when they came into it."""
    return tablet_pb2.Schema(
        families=[
            tablet_pb2.Family(
                name=family.name,
                group=family.group,
                rule=None if family.rule is None else _rule_to_message(family.rule),
            )
            for family in schema.families.values()
        ],
        groups=[
            tablet_pb2.LocalityGroup(**{name: getattr(group, name) for name in LocalityGroup.__slots__})
            for group in schema.groups.values()
        ],
        dropped=schema.dropped,
    )


def schema_from_message(message: tablet_pb2.Schema) -> Schema:
    """The reverse. Raises IncompatibleFormat for a rule or a Bloom filter policy, InvalidRequest for another setting,
    that this version does not know."""
    groups = {group.name: _group_from_message(group) for group in message.groups}
    families = {
        family.name.encode(): Family(
            family.name, _rule_from_message(family.rule) if family.HasField("rule") else None, family.group
        )
        for family in message.families
    }
    return Schema(families, groups, tuple(message.dropped))


def _group_from_message(message: tablet_pb2.LocalityGroup) -> LocalityGroup:
    if message.bloom_policy not in BLOOM_POLICIES:
        raise IncompatibleFormat(
            f"the locality group {message.name!r} has the Bloom filter policy {message.bloom_policy!r}; known are "
            f"{', '.join(BLOOM_POLICIES)}; use a version that knows it"
        )
    group = LocalityGroup(
        name=message.name,
        block_bytes=message.block_bytes,
        compression=cast(Compression, message.compression),
        bloom_keys=cast(BloomKeys, message.bloom_keys),
        false_positive_rate=message.false_positive_rate,
        in_memory=message.in_memory,
        bloom_policy=message.bloom_policy,
    )
    group.check()
    return group


def _rule_to_message(rule: GarbageRule) -> tablet_pb2.GarbageRule:
    match rule:
        case MaxVersions(versions):
            return tablet_pb2.GarbageRule(max_versions=versions)
        case MaxAge(microseconds):
            return tablet_pb2.GarbageRule(max_age=microseconds)
        case Union(rules):
            return tablet_pb2.GarbageRule(union=_rules_to_message(rules))
        case Intersection(rules):
            return tablet_pb2.GarbageRule(intersection=_rules_to_message(rules))


def _rules_to_message(rules: Iterable[GarbageRule]) -> tablet_pb2.GarbageRules:
    return tablet_pb2.GarbageRules(rules=map(_rule_to_message, rules))


def _rule_from_message(message: tablet_pb2.GarbageRule) -> GarbageRule:
    match message.WhichOneof("rule"):
        case "max_versions":
            return MaxVersions(message.max_versions)
        case "max_age":
            return MaxAge(message.max_age)
        case "union":
            return Union(tuple(map(_rule_from_message, message.union.rules)))
        case "intersection":
            return Intersection(tuple(map(_rule_from_message, message.intersection.rules)))
    raise IncompatibleFormat("there is a garbage rule that this version does not know; use the version that wrote it")
