"""What stands for bytes and timestamps wherever people write, and the limits that a tablet keeps (BT 2).

Everything that comes from outside passes here once: a text becomes its UTF-8 bytes, a number of microseconds a 64-bit
timestamp, and what can be neither is refused with what was found and what to write.
"""

from operator import index

from runtime.errors import InvalidRequest
from runtime.world import Buffer

Text = str | Buffer
"""What stands for bytes wherever people write: a text is taken as UTF-8."""
ROW_LIMIT_BYTES = 64 * 1024
"""The longest row key (BT 2)."""
COLUMN_LIMIT_BYTES = 16 * 1024
"""The longest "family:qualifier"."""
MUTATION_LIMIT_BYTES = 15 * 1024 * 1024
"""The largest mutation of one row, and so the largest cell: with its frame it fits into one GFS record append, which
takes a quarter of a 64 MB chunk (GFS 3.3)."""


EARLIEST_TIMESTAMP = -(2**63)
LATEST_TIMESTAMP = 2**63 - 1


def as_bytes(what: str, given: object) -> bytes:
    """A text as UTF-8, or anything that holds bytes, as bytes: items larger than a byte give all of theirs.

    Raises InvalidRequest for anything else; `what` says what it should have been.

    >>> as_bytes("the row", "zeile"), as_bytes("the value", memoryview(b"ab"))
    (b'zeile', b'ab')
    """
    if type(given) is bytes:
        return given
    if isinstance(given, str):
        try:
            return given.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"{what} is the text {given[:80]!r}, which is not valid Unicode ({error.reason}); give bytes"
            ) from error
    try:
        return memoryview(given).tobytes()  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{what} is {_described(given)}; give a text or bytes") from error


def as_timestamp(given: object) -> int:
    """A timestamp in microseconds as an int. Raises InvalidRequest for what is no whole number, and for bools."""
    if type(given) is int:
        return given
    try:
        if isinstance(given, bool):
            raise TypeError
        return index(given)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidRequest(
            f"the timestamp is {_described(given)}; give whole microseconds since the epoch, or None for now"
        ) from None


def _described(given: object) -> str:
    shown = repr(given)
    return f"{shown[:80] + '…' if len(shown) > 80 else shown}, of type {type(given).__name__}"


def check_row(row: bytes) -> None:
    """Raise InvalidRequest unless `row` can be a row key."""
    if not row:
        raise InvalidRequest("the row key is empty; a row key has 1 to 65,536 bytes")
    if len(row) > ROW_LIMIT_BYTES:
        raise InvalidRequest(f"the row key has {len(row):,} bytes; at most {ROW_LIMIT_BYTES:,} are allowed")


def check_column(column: bytes) -> None:
    """Raise InvalidRequest unless `column` reads "family:qualifier" and is not too long."""
    family, colon, _ = column.partition(b":")
    if not colon or not family:
        raise InvalidRequest(f"{column[:80]!r} is not a column; write it as family:qualifier")
    if len(column) > COLUMN_LIMIT_BYTES:
        raise InvalidRequest(
            f"the column of family {family[:80]!r} has {len(column):,} bytes, at most {COLUMN_LIMIT_BYTES:,} are "
            f"allowed; put long data into the value"
        )


def check_timestamp(timestamp: int) -> None:
    """Raise InvalidRequest unless the timestamp is a whole number that fits into 64 bits."""
    if not EARLIEST_TIMESTAMP <= as_timestamp(timestamp) <= LATEST_TIMESTAMP:
        raise InvalidRequest(f"timestamp {timestamp} does not fit into 64 bits; give microseconds since the epoch")


def check_fragment_size(row: bytes, size: int) -> None:
    """Raise InvalidRequest if a mutation of one row is too large for a log record."""
    if size > MUTATION_LIMIT_BYTES:
        raise InvalidRequest(
            f"the mutation of row {row[:80]!r} has {size:,} bytes; at most {MUTATION_LIMIT_BYTES:,} fit into one "
            f"log record: split it, or store the value as a file and a name"
        )
