"""Settings of every kind of node are read and refused in one way."""

import dataclasses
from typing import Any

import pytest

from chunkserver.settings import ChunkserverSettings
from cluster.settings import ClusterSettings
from gfs.settings import ClientSettings
from master.settings import MasterSettings
from runtime.errors import InvalidRequest
from runtime.settings import SettingsCheck, settings_from

KINDS = (MasterSettings, ChunkserverSettings, ClusterSettings, ClientSettings)


@dataclasses.dataclass(frozen=True)
class Example:
    name: str = "desk"
    count: int = 3
    seconds: float = 1.5
    kept: bool = False

    def __post_init__(self) -> None:
        check = SettingsCheck(self, "an example's")
        check.more_than_0("seconds")
        check.at_least(1, "count")
        check.one_of(("desk", "lecture"), "name")


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_every_kind_survive_a_json_object(kind: type[Any]):
    assert settings_from(kind, dataclasses.asdict(kind()), "some") == kind()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"secons": 1.0}, "an example's settings have no field 'secons'; did you mean 'seconds'?"),
        ({"q": 1}, "an example's settings have no field 'q'; known are name, count, seconds, kept"),
        ({"count": "3"}, "an example's setting count is '3' (str), expected int"),
        ({"count": 3.0}, "an example's setting count is 3.0 (float), expected int"),
        ({"count": True}, "an example's setting count is True (bool), expected int"),
        ({"seconds": False}, "an example's setting seconds is False (bool), expected float"),
        ({"kept": 1}, "an example's setting kept is 1 (int), expected bool"),
        ({"name": None}, "an example's setting name is None (NoneType), expected str"),
        ({"seconds": 0}, "an example's setting seconds is 0.0, expected more than 0"),
        ({"count": 0}, "an example's setting count is 0, expected 1 or more"),
        ({"name": "table"}, "an example's setting name is 'table', expected 'desk' or 'lecture'"),
    ],
)
def test_a_refusal_names_the_setting_what_was_found_and_what_was_expected(values: dict[str, object], said: str):
    with pytest.raises(InvalidRequest) as caught:
        settings_from(Example, values, "an example's")
    assert caught.value.message == said


def test_a_whole_number_of_seconds_is_a_float():
    found = settings_from(Example, {"seconds": 2, "kept": True}, "an example's")
    assert found == Example(seconds=2.0, kept=True) and type(found.seconds) is float


@pytest.mark.parametrize("change", [{"read_piece_bytes": 1 << 30}, {"write_tries": 0}, {"read_window": 0}])
def test_a_client_that_could_never_read_or_write_is_refused_by_the_settings_name(change: dict[str, int]):
    with pytest.raises(InvalidRequest, match=f"a client's setting {next(iter(change))} is"):
        ClientSettings(**change)
