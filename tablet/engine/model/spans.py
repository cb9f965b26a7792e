"""Row ranges, and sets of them: which rows of an SSTable count for a tablet.

An SSTable is immutable, and may be shared (BT 6). So a tablet that has lost rows of it, to a neighbour by a split or by
the deletion of a range, does not change the file: it remembers which *spans* of rows still count. A span is (start,
end), with start <= row < end, and an empty text for no bound. A set of spans is a tuple of them, sorted, not empty
themselves, without overlap and without contact.

>>> upper = within(EVERYWHERE, b"m", b"")
>>> upper, without(upper, b"p", b"q"), within(upper, b"a", b"c")
(((b'm', b''),), ((b'm', b'p'), (b'q', b'')), ())
>>> united(within(EVERYWHERE, b"", b"m"), upper) == EVERYWHERE
True
"""

from bisect import bisect_right
from collections.abc import Iterable

Span = tuple[bytes, bytes]
"""(start, end): start <= row < end; empty: no bound."""
Spans = tuple[Span, ...]

EVERYWHERE: Spans = ((b"", b""),)


def contains(spans: Spans, row: bytes) -> bool:
    """Whether a row lies in one of the spans.

    >>> [contains(((b"b", b"c"), (b"m", b"")), row) for row in (b"a", b"b", b"c", b"z")]
    [False, True, False, True]
    """
    place = bisect_right(spans, row, key=_start) - 1
    return place >= 0 and (not spans[place][1] or row < spans[place][1])


def within(spans: Spans, start: bytes, end: bytes) -> Spans:
    """What of the spans lies in one range."""
    cut = ((max(low, start), _smaller_end(high, end)) for low, high in spans)
    return tuple((low, high) for low, high in cut if not high or low < high)


def without(spans: Spans, start: bytes, end: bytes) -> Spans:
    """What of the spans lies outside one range."""
    below = within(spans, b"", start) if start else ()
    above = within(spans, end, b"") if end else ()
    return below + above


def united(first: Spans, second: Spans) -> Spans:
    """All that lies in either.

    >>> united(((b"a", b"c"), (b"x", b"")), ((b"b", b"d"), (b"d", b"e")))
    ((b'a', b'e'), (b'x', b''))
    """
    found: list[Span] = []
    for start, end in sorted((*first, *second)):
        if found and (not found[-1][1] or start <= found[-1][1]):
            found[-1] = (found[-1][0], _larger_end(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def overlap(first: Spans, second: Spans) -> bool:
    """Whether any row lies in both."""
    return any(within(first, start, end) for start, end in second)


def refuse_disorder(spans: Iterable[Span]) -> Spans:
    """The spans, as they were read from a file. Raises ValueError if they are no set of spans."""
    found = tuple(spans)
    if united(found, ()) != found or any(end and start >= end for start, end in found):
        raise ValueError(f"{found!r} are not row ranges in order")
    return found


def _start(span: Span) -> bytes:
    return span[0]


def _smaller_end(first: bytes, second: bytes) -> bytes:
    return min(first, second) if first and second else first or second


def _larger_end(first: bytes, second: bytes) -> bytes:
    return max(first, second) if first and second else b""
