"""What a timeline can be written as."""

import enum
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.timeline.model import Timeline
from cluster.timeline.page import page_of
from cluster.timeline.perfetto import perfetto_of
from cluster.timeline.shiviz import shiviz_of
from cluster.timeline.writing import write_whole


class Format(enum.Enum):
    """By the words that people type."""

    HTML = "html"
    PERFETTO = "perfetto"
    SHIVIZ = "shiviz"


_WRITERS: dict[Format, Callable[[Timeline], Iterator[str]]] = {
    Format.HTML: page_of,
    Format.PERFETTO: perfetto_of,
    Format.SHIVIZ: shiviz_of,
}
ENDINGS = {Format.HTML: ".html", Format.PERFETTO: ".json", Format.SHIVIZ: ".log"}


def write_timeline(timeline: Timeline, path: Path, form: Format) -> int:
    """Write the file; returns its bytes. Raises as `write_whole`: then nothing was written."""
    return write_whole(path, _WRITERS[form](timeline))
