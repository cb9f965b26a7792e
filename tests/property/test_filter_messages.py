"""Filters go over the wire and come back as they were."""

import pytest
from hypothesis import given, settings

from runtime.errors import InvalidRequest
from runtime.wire import tables_pb2 as wire
from tablet.engine.model.filter_tree import BlockAll, Chain, walk
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter
from tablet.location.filter_messages import filter_from_message, filter_to_message
from tests.property.test_tablet_filters import has_no_label, trees


def sent(wanted: RowFilter) -> RowFilter:
    return filter_from_message(wire.CellFilter.FromString(filter_to_message(wanted).SerializeToString()))


def is_plain(wanted: RowFilter) -> bool:
    """Whether it has no label, and no part that wants none of its names, which becomes a BlockAll."""
    empty = [
        part for part in walk(wanted) if isinstance(part, ReadFilter) and frozenset() in (part.families, part.columns)
    ]
    return has_no_label(wanted) and not empty


@settings(max_examples=200, deadline=None)
@given(trees.filter(is_plain))
def test_a_filter_comes_back_as_it_was(tree):
    assert sent(tree) == tree


def test_a_filter_that_wants_no_names_wants_no_cells():
    assert sent(ReadFilter(columns=[])) == BlockAll()
    assert sent(Chain(ReadFilter(families=[]), EVERYTHING)) == Chain(BlockAll(), EVERYTHING)
    assert sent(EVERYTHING) is EVERYTHING


def test_a_filter_that_is_not_known_is_refused():
    with pytest.raises(InvalidRequest):
        filter_from_message(wire.CellFilter(tree=wire.FilterTree()))
