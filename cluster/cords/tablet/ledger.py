"""What was acknowledged of a tablet, and what was answered: kept beside it while work is done on it."""

from collections.abc import Mapping

from cluster.cords.tablet.image import COLUMN
from runtime.errors import TabletopError
from tablet.engine.engine import Engine
from tablet.engine.model.rows import Row


class TabletLedger:
    """`rows` are acknowledged; None: deleted. The lists are those of `cluster/cords/ledger.py`. `unread_rows`: those
    that were asked for by themselves and refused."""

    def __init__(self, rows: Mapping[bytes, bytes | None]) -> None:
        self.rows: dict[bytes, bytes | None] = dict(rows)
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self.failed: list[str] = []
        self.unread: list[str] = []
        self.unread_rows: dict[bytes, None] = {}
        self._doubtful: dict[bytes, list[bytes]] = {}

    def acknowledged(self, row: bytes, value: bytes) -> None:
        """A write was answered: nothing else may be there."""
        self.rows[row] = value
        self._doubtful.pop(row, None)

    def doubt(self, row: bytes, value: bytes) -> None:
        """A write failed, and may have happened."""
        self.rows.setdefault(row, None)
        self._doubtful.setdefault(row, []).append(value)

    def compare(self, row: bytes, found: bytes | None, how: str) -> None:
        """What `how` has answered for a row."""
        expected = self.rows.get(row)
        if found == expected or (found is not None and found in self._doubtful.get(row, [])):
            return
        told = f"{how} of {row.decode()}"
        if found is None:
            self.lost.append(f"{told}: it is not there, though {_short(expected)} was acknowledged")
        else:
            self.wrong.append(f"{told}: {_short(found)}, expected {_short(expected)}")

    async def check_gets(self, engine: Engine) -> None:
        """Read each row by itself."""
        for row in sorted(self.rows):
            try:
                found = await engine.get(row, COLUMN)
            except TabletopError as error:
                self.refused(row, "get", error)
            else:
                self.compare(row, found, "get")

    async def check_scans(self, engine: Engine) -> None:
        """Scan everything, from both ends, and then each row by itself."""
        await self._check_scan(engine, reverse=False)
        await self._check_scan(engine, reverse=True)
        for row in sorted(self.rows):
            try:
                found = [one async for one in engine.scan(row, row + b"\0")]
            except TabletopError as error:
                self.refused(row, "scan", error)
            else:
                self.compare(row, _value_of(found[0]) if found else None, "scan")

    async def _check_scan(self, engine: Engine, *, reverse: bool) -> None:
        """A scan that meets damage ends with an error; it must not have left out anything before that."""
        found: dict[bytes, bytes | None] = {}
        expected = sorted(self.rows, reverse=reverse)
        try:
            async for one in engine.scan(reverse=reverse):
                found[one.key] = _value_of(one)
        except TabletopError as error:
            self.unread.append(f"scan: {type(error).__name__}: {error.message}")
            expected = expected[: expected.index(next(reversed(found))) + 1] if found else []
        for row in (*expected, *(row for row in found if row not in self.rows)):
            self.compare(row, found.get(row), "scan")

    def refused(self, row: bytes, how: str, error: TabletopError) -> None:
        """A row could not be read."""
        self.unread.append(f"{how} of {row.decode()}: {type(error).__name__}: {error.message}")
        self.unread_rows[row] = None


def _value_of(row: Row) -> bytes | None:
    return row.value(COLUMN)


def _short(value: bytes | None) -> str:
    return "nothing" if value is None else repr(value[:8])
