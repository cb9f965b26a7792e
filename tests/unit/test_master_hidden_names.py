"""Hidden names: nothing about an old place is lost."""

import pytest

from master.namespace import paths
from master.namespace.hidden_names import Deletion, deleted_at, deletion_of, hidden_name, origin_of, root_of

LONG = "/" + "/".join(["é" * 100] * 15)
LONGEST = "/" + "/".join(["x" * 255] * 16)


@pytest.mark.parametrize("origin", ["/a", "/" + "x" * 255, LONG, LONGEST, "/a-b+7/c|d", "/12-3"])
@pytest.mark.parametrize("kept", [None, 0, 3600])
def test_a_hidden_name_keeps_its_time_and_the_whole_path(origin: str, kept: int | None) -> None:
    hidden = hidden_name(origin, 123_456, kept)
    assert paths.check_path(hidden) == hidden and paths.is_hidden(hidden)
    assert deletion_of(hidden) == Deletion(123_456, kept) and deleted_at(hidden) == 123_456
    assert origin_of(hidden) == origin
    assert hidden == root_of(hidden) + origin


def test_the_longest_path_can_be_deleted_for_the_longest_time() -> None:
    assert len(LONGEST) == 4096
    paths.check_path(hidden_name(LONGEST, 9_999_999_999_999_999, 10**12))


def test_hidden_names_sort_by_the_time_of_deletion() -> None:
    names = [hidden_name(origin, time) for time, origin in ((5, "/z"), (70, "/a"), (800, "/m"))]
    assert names == sorted(names)


def test_names_of_older_logs_are_read_as_far_as_they_go() -> None:
    assert deletion_of("/.deleted/0000000000000005-a+3|b-c") == Deletion(5, None)
    assert origin_of("/.deleted/0000000000000005-a+3|b-c/inside") == "/a+3/b-c/inside"
    assert origin_of("/.deleted/0000000000000005-...|b") == ""
    assert root_of("/.deleted/0000000000000005-a|b/inside") == "/.deleted/0000000000000005-a|b"
