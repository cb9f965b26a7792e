"""The master's settings as JSON."""

import pytest

from master.settings import MasterSettings
from runtime.errors import InvalidRequest


def test_settings_survive_json() -> None:
    settings = MasterSettings(cluster="lecture", chunk_bytes=65536, lease_seconds=5.0)
    assert MasterSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"chunk_size": 1}, "no field 'chunk_size'"),
        ({"chunk_bytes": "64M"}, "chunk_bytes is '64M' .str., expected int"),
        ({"chunk_bytes": True}, "expected int"),
        ({"chunk_bytes": 0}, "expected between"),
        ({"lease_seconds": 0}, "more than 0"),
        ({"replication_goal": 0}, "between 1 and 100"),
        ({"kept_checkpoints": 0}, "1 or more"),
        ({"suspect_after_seconds": 99.0}, "dead_after_seconds"),
        ({"trash_grace_seconds": -1.0}, "0 or more"),
    ],
)
def test_bad_settings_are_refused_by_name(values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        MasterSettings.from_dict(values)
