"""Wide rows: what one cell, or a slice of a few, costs in a row of few columns and in one of very many.

A store has a row of one width, in the memtable first, then in one SSTable, without a scan cache. Columns are drawn at
random, and cells are overwritten, so the row keeps its width. Each figure is the best of a few passes. Filters are made
outside the clock and used once each, so reading a slice includes making its program.
"""

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tablet.engine
from bench.report import Row, table
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filter_tree import CellsPerRow, Chain, QualifierRange
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options

WIDTHS = (10, 1_000, 100_000)
_VALUE = b"v" * 20
_SLICE = 10
_CALLS = 500
_PASSES = 3
_BATCH = 10_000
_ROW = b"row"


def wide_rows(widths: Sequence[int] = WIDTHS, calls: int = _CALLS) -> str:
    """A Markdown table of rates, a column for each width, with the ratio of the widest to the narrowest."""
    rows: dict[str, Row] = {}
    labels = [f"{width:,} columns" for width in widths]
    for width, label in zip(widths, labels, strict=True):
        with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
            for what, rate in _measured(Path(folder), width, calls).items():
                rows.setdefault(what, Row(what, "/s")).add(label, rate)
    return table(list(rows.values()), labels, [(labels[-1], labels[0])])


def _measured(folder: Path, width: int, calls: int) -> dict[str, float]:
    draw = random.Random(width)
    with tablet.engine.open(folder, Options(scan_cache_bytes=0)) as store:
        store.create_family("f")
        for start in range(0, width, _BATCH):
            numbers = range(start, min(width, start + _BATCH))
            store.write(_ROW, *(SetCell(_column(number), _VALUE, 1) for number in numbers))
        found = {"cell writes": _rate(calls, lambda: store.put(_ROW, _column(draw.randrange(width)), _VALUE, 1))}
        found |= _reads(store, "memtable", width, calls, draw)
        store.flush()
        return found | _reads(store, "SSTable", width, calls, draw)


def _reads(store: EmbeddedTablet, where: str, width: int, calls: int, draw: random.Random) -> dict[str, float]:
    def drawn() -> bytes:
        return _column(draw.randrange(width))

    def slices(make: Callable[[bytes], Any]) -> Callable[[], object]:
        filters = iter([make(drawn().partition(b":")[2]) for _ in range(calls * _PASSES)])
        return lambda: store.read(_ROW, next(filters))

    between = slices(lambda first: QualifierRange("f", first, b"%08d" % (int(first) + _SLICE)))
    onwards = slices(lambda first: Chain(QualifierRange("f", first), CellsPerRow(_SLICE)))
    return {
        f"cell reads, {where}": _rate(calls, lambda: store.get(_ROW, drawn())),
        f"absent cells, {where}": _rate(calls, lambda: store.get(_ROW, drawn() + b"x")),
        f"slices of {_SLICE} columns, {where}": _rate(calls, between),
        f"{_SLICE} cells from a column on, {where}": _rate(calls, onwards),
    }


def _column(number: int) -> bytes:
    return b"f:%08d" % number


def _rate(calls: int, act: Callable[[], object]) -> float:
    """Calls a second, in the best pass."""
    best = float("inf")
    for _ in range(_PASSES):
        begin = time.perf_counter()
        for _ in range(calls):
            act()
        best = min(best, time.perf_counter() - begin)
    return calls / best
