"""The hex dumps in docs/formats are what the code writes."""

import re
from pathlib import Path

from runtime.record_log import encode_frame

PAGES = Path(__file__).resolve().parents[2] / "docs" / "formats"


def dumped_bytes(page: str, number: int = 0) -> bytes:
    """The bytes of the page's hex dump with this number, from 0."""
    dumps = re.findall(r"```hex\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split(maxsplit=1) for line in dumps[number].splitlines()]
    data = b""
    for offset, values in lines:
        assert int(offset, 16) == len(data)
        data += bytes.fromhex(values.split("|")[0])
    return data


def test_the_record_log_page_shows_the_frames_that_are_written():
    first = encode_frame(b"hello", 1, 0)
    assert dumped_bytes("record-log.md") == first + encode_frame(b"world!", 2, len(first))
