"""Families, garbage rules, locality groups."""

import pytest

from runtime.errors import AlreadyExists, Conflict, IncompatibleFormat, InvalidRequest, NotFound
from runtime.wire import tablet_pb2
from tablet.engine.model.schema import (
    FAMILY_LIMIT,
    Family,
    Intersection,
    LocalityGroup,
    MaxAge,
    MaxVersions,
    Schema,
    Union,
)
from tablet.engine.model.schema_message import schema_from_message, schema_to_message

RULES = [
    None,
    MaxVersions(3),
    MaxAge(1000),
    Union((MaxVersions(1), MaxAge(5))),
    Intersection((MaxVersions(1), Union((MaxAge(5),)))),
]


@pytest.mark.parametrize("rule", RULES)
def test_a_schema_survives_the_manifest(rule):
    schema = (
        Schema()
        .with_group(LocalityGroup("hot", 8192, "zstd", "row", 0.001, True))
        .with_family(Family("f", rule, "hot"))
    )
    assert schema_from_message(schema_to_message(schema)) == schema


def test_a_union_collects_what_either_rule_collects_and_an_intersection_what_both_do():
    rules = (MaxVersions(2), MaxAge(10))
    assert [Union(rules).is_garbage(rank, age) for rank in (0, 2) for age in (5, 15)] == [False, True, True, True]
    assert [Intersection(rules).is_garbage(rank, age) for rank in (0, 2) for age in (5, 15)] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("name", ["", "a b", "ä", "a:b", "x" * 65, "a/b", "\0"])
def test_a_family_needs_a_printable_name(name):
    with pytest.raises(InvalidRequest):
        Schema().with_family(Family(name))


def nested(depth):
    rule = MaxVersions(1)
    for _ in range(depth - 1):
        rule = Union((rule,))
    return rule


UNFIT_RULES = [MaxVersions(0), MaxAge(0), Union(()), Intersection((MaxVersions(-1),)), MaxAge(2**63), nested(21)]


def test_the_deepest_rule_and_the_highest_numbers_survive_the_manifest():
    schema = Schema().with_family(Family("f", nested(20))).with_family(Family("g", MaxAge(2**63 - 1)))
    data = schema_to_message(schema).SerializeToString()
    assert schema_from_message(tablet_pb2.Schema.FromString(data)) == schema


@pytest.mark.parametrize("rule", UNFIT_RULES)
def test_rules_that_keep_nothing_or_fit_no_manifest_are_refused(rule):
    with pytest.raises(InvalidRequest):
        Schema().with_family(Family("f", rule))


def test_a_family_is_created_once_in_a_group_that_exists():
    schema = Schema().with_family(Family("f"))
    with pytest.raises(AlreadyExists):
        schema.with_family(Family("f"))
    with pytest.raises(NotFound, match="no locality group 'cold'"):
        schema.with_family(Family("g", group="cold"))
    with pytest.raises(NotFound, match="there are: f"):
        schema.family("g")


def test_a_dropped_family_may_come_back_only_once_its_cells_are_gone():
    schema = Schema().with_family(Family("f")).without_family("f")
    with pytest.raises(Conflict, match="compact"):
        schema.with_family(Family("f"))
    assert schema.judges_single_cells
    assert schema.without_dropped(1).with_family(Family("f")).dropped == ()


def test_families_are_at_most_hundreds():
    schema = Schema({str(number).encode(): Family(str(number)) for number in range(FAMILY_LIMIT)})
    with pytest.raises(InvalidRequest, match="use qualifiers"):
        schema.with_family(Family("one-more"))


@pytest.mark.parametrize(
    "group",
    [
        LocalityGroup(block_bytes=1),
        LocalityGroup(compression="gzip"),  # type: ignore[arg-type]
        LocalityGroup(bloom_keys="cell"),  # type: ignore[arg-type]
        LocalityGroup(false_positive_rate=0),
        LocalityGroup(name="a b"),
    ],
)
def test_groups_with_senseless_settings_are_refused(group):
    with pytest.raises(InvalidRequest):
        Schema().with_group(group)


def test_only_age_and_absence_judge_a_single_version():
    assert not Schema({b"f": Family("f", MaxVersions(1))}).judges_single_cells
    assert Schema({b"f": Family("f", MaxAge(1))}).judges_single_cells
    assert not Schema({b"f": Family("f", Intersection((MaxAge(1), MaxVersions(1))))}).judges_single_cells


def test_a_rule_of_a_later_version_is_refused():
    with pytest.raises(IncompatibleFormat):
        schema_from_message(tablet_pb2.Schema(families=[tablet_pb2.Family(name="f", rule=tablet_pb2.GarbageRule())]))
