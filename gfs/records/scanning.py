"""The records in a stream of bytes that holds other things too (GFS 2.7.2, 3.3). Pure.

The idea. Wherever the mark of a record stands, there may be one. If the bytes from there on match its checksum, it is a
record, and the next one is looked for after it; if not, the next mark is looked for. No record crosses the boundary of
a chunk, nor has more than a quarter of one: a header that claims so is none, and nothing is waited for.

>>> from gfs.records.frames import encode_record
>>> one, two = (encode_record(text, writer=7, sequence=n) for n, text in enumerate([b"one", b"two"]))
>>> scanner = Scanner(chunk_bytes=1000)
>>> [record.payload for record in scanner.feed(bytes(10) + one + one[:20] + two[:10])]
[b'one']
>>> [record.payload for record in scanner.feed(two[10:])], scanner.skipped_bytes
([b'two'], 30)

Invariants: (1) a record is handed out once for each time that it stands in the stream, in the order of offsets; (2) how
the stream is cut into pieces makes no difference; (3) no more is held than one record may have, and the last piece.
"""

from gfs.records.frames import HEADER_BYTES, MAGIC, Record, decode_record, payload_length
from runtime.settings import RECORD_SHARE
from runtime.world import Buffer


class Scanner:
    """Finds the records in a file of chunks of this size, from a position on."""

    def __init__(self, *, chunk_bytes: int, position: int = 0) -> None:
        self.skipped_bytes = 0  # Padding, and what failed tries have left.
        self._chunk_bytes = chunk_bytes
        self._begin = position  # Where in the file the first byte that is held stands.
        self._held = bytearray()

    @property
    def position(self) -> int:
        """Everything before this offset has been dealt with."""
        return self._begin

    def feed(self, data: Buffer) -> list[Record]:
        """Take the bytes that follow those before; returns the records that are whole now."""
        self._held += data
        return self._scan(is_end=False)

    def finish(self) -> list[Record]:
        """Nothing follows any more: what is not whole is no record. Returns the records after it."""
        return self._scan(is_end=True)

    def pass_over_remains(self) -> list[Record]:
        """Nothing has followed for long: the whole records after a header that waits for more bytes. If there are some,
        it was none, for records do not overlap; if there are none, it is waited for as before."""
        behind = Scanner(chunk_bytes=self._chunk_bytes, position=self._begin)
        behind._held = bytearray(self._held)
        found = behind.finish()
        if found:
            passed = found[-1].end - self._begin
            self.skipped_bytes += passed - sum(record.end - record.offset for record in found)
            self._drop(passed)
        return found

    def _scan(self, *, is_end: bool) -> list[Record]:
        found: list[Record] = []
        at = 0
        while (candidate := self._held.find(MAGIC, at)) >= 0:
            wanted = self._wanted(candidate)
            if wanted > len(self._held) and not is_end:
                self.skipped_bytes += candidate - at
                self._drop(candidate)
                return found
            decoded = decode_record(self._held, candidate) if wanted else None
            if decoded is None:
                self.skipped_bytes += candidate + 1 - at
                at = candidate + 1
                continue
            self.skipped_bytes += candidate - at
            found.append(Record(self._begin + candidate, *decoded))
            at = wanted
        # The first bytes of a mark may stand at the end.
        rest = 0 if is_end else min(len(MAGIC) - 1, len(self._held) - at)
        self.skipped_bytes += len(self._held) - rest - at
        self._drop(len(self._held) - rest)
        return found

    def _wanted(self, candidate: int) -> int:
        """How many of the bytes that are held a record that begins here would take; 0 if none can be here."""
        begin = self._begin + candidate
        room = self._chunk_bytes - begin % self._chunk_bytes
        if room < HEADER_BYTES:
            return 0
        if candidate + HEADER_BYTES > len(self._held):
            return candidate + HEADER_BYTES
        size = HEADER_BYTES + payload_length(self._held, candidate)
        return candidate + size if size <= min(room, self._chunk_bytes // RECORD_SHARE) else 0

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self._begin += count
