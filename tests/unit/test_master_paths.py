"""Legal path names, and their keys."""

import pytest

from master.namespace import paths
from runtime.errors import InvalidRequest


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "not an absolute path"),
        ("a/b", "not an absolute path"),
        ("/a/../b", "relative parts"),
        ("/./a", "relative parts"),
        ("/a//b", "empty part"),
        ("/a/", "empty part"),
        ("//", "empty part"),
        ("/a\0b", "NUL"),
        ("/" + "x" * 256, "255"),
        ("/" + "é" * 128, "256 bytes"),
        ("/" + "x/" * 2100 + "x", "4096"),
        ("/\udc80", "UTF-8"),
    ],
)
def test_a_malformed_path_is_refused_and_the_rule_is_named(path: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        paths.check_path(path)


@pytest.mark.parametrize("path", ["/", "/a", "/a b/ü/日本", "/" + "x" * 255, "/...", "/a|b"])
def test_ordinary_and_unusual_names_are_accepted(path: str) -> None:
    assert paths.check_path(path) == path
    assert paths.path_of(paths.key_of(path)) == path


def test_an_endless_name_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidRequest) as caught:
        paths.check_path("/" + "x" * 5000)
    assert len(str(caught.value)) < 300 and "5001 characters" in str(caught.value)


def test_nothing_new_may_be_put_at_the_root_or_among_hidden_names() -> None:
    for path in ("/", "/.deleted", "/.deleted/mine"):
        with pytest.raises(InvalidRequest):
            paths.check_may_be_made(path)
    assert paths.check_may_be_made("/.deletedish") == "/.deletedish"
