"""The tablet engine against a model: a dictionary with the same rules, under random operations, flushes, compactions,
crashes and reopenings. Everything is made tiny, so that a few operations already fill memtables and cut blocks.
"""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.fragments import family_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.schema import LocalityGroup, MaxVersions
from tablet.engine.world.options import Options, PolicySettings, SyncMode

Cells = dict[tuple[bytes, int], bytes]

ROWS = st.sampled_from([b"a", b"ab", b"b", b"row/1", b"row/2", b"row/2\x00", b"r\xff", b"z" * 40])
FREE_COLUMNS = [b"all:x", b"all:", b"all:long-qualifier", b"far:y", b"far:\x00"]
COLUMNS = st.sampled_from([*FREE_COLUMNS, b"two:x", b"two:y"])
TIMES = st.integers(0, 6) | st.sampled_from([-5, 2**63 - 1, -(2**63)])
VALUES = st.binary(max_size=12) | st.integers(60, 900).map(lambda size: b"v" * size)
KEPT_VERSIONS = 2

set_cells = st.builds(SetCell, COLUMNS, VALUES, TIMES)
# Deleting single versions of a family with a limit may bring older ones back, or not: the paper leaves that open.
delete_cells = st.builds(DeleteCells, st.sampled_from(FREE_COLUMNS), st.none() | TIMES, st.none() | TIMES)
delete_columns = st.builds(DeleteCells, COLUMNS)
delete_families = st.builds(DeleteFamily, st.sampled_from([b"all", b"far", b"two"]))
operations = st.lists(
    set_cells | delete_cells | delete_columns | delete_families | st.just(DeleteRow()), min_size=1, max_size=5
)


class Model:
    """What the tablet should hold."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Cells] = {}

    def apply(self, row: bytes, operation: Operation) -> None:
        cells = self.rows.setdefault(row, {})
        if isinstance(operation, SetCell):
            assert operation.timestamp is not None
            cells[operation.column, operation.timestamp] = operation.value
            return
        for column, timestamp in list(cells):
            if _deleted(operation, column, timestamp):
                del cells[column, timestamp]

    def seen(self, row: bytes) -> list[tuple[bytes, int, bytes]]:
        """The row's cells in reading order, without garbage."""
        cells = self.rows.get(row, {})
        found = []
        for column, timestamp in sorted(cells, key=lambda key: (key[0], -key[1])):
            rank = sum(1 for other, newer in cells if other == column and newer > timestamp)
            if family_of(column) != b"two" or rank < KEPT_VERSIONS:
                found.append((column, timestamp, cells[column, timestamp]))
        return found


def _deleted(operation: Operation, column: bytes, timestamp: int) -> bool:
    if isinstance(operation, DeleteRow):
        return True
    if isinstance(operation, DeleteFamily):
        return family_of(column) == operation.family
    assert isinstance(operation, DeleteCells)
    after_start = operation.start is None or timestamp >= operation.start
    return operation.column == column and after_start and (operation.end is None or timestamp < operation.end)


class TabletAgainstModel(RuleBasedStateMachine):
    snapshots = Bundle("snapshots")

    sync: SyncMode = "os"

    @initialize(
        policy=st.sampled_from(["size_tiered", "leveling", "everything"]),
        compression=st.sampled_from(["none", "snappy", "lz4", "zstd"]),
        bloom=st.sampled_from(["none", "row", "row+column"]),
        filters=st.sampled_from(["pybloom-live", "blocked"]),
        caches=st.sampled_from([0, 3000, 1 << 20]),
    )
    def begin(self, policy, compression, bloom, filters, caches):
        self.make_home()
        self.options = Options(
            sync=self.sync,
            memtable_bytes=2500,
            block_cache_bytes=caches,
            scan_cache_bytes=caches,
            policy=policy,
            policy_settings=PolicySettings(fan_in=3, max_tables=5),
            stall_tables=7,
            flush_on_close_bytes=1500,
        )
        self.model = Model()
        self.held: dict[str, Model] = {}
        self.crashed: list[EmbeddedTablet] = []
        self.tablet = self.opened()
        self.tablet.set_locality_group(LocalityGroup("default", 256, compression, bloom, 0.05, bloom_policy=filters))
        self.tablet.set_locality_group(LocalityGroup("distant", 300, "none", "row", 0.01, in_memory=True))
        self.tablet.create_family("all")
        self.tablet.create_family("two", MaxVersions(KEPT_VERSIONS))
        self.tablet.create_family("far", group="distant")

    def make_home(self):
        """Where the tablet will be."""
        self.parent = Path(tempfile.mkdtemp(prefix="tabletop-model-"))
        self.folder = self.parent / "0"

    def opened(self) -> EmbeddedTablet:
        """The tablet, opened by its next owner."""
        return tablet.engine.open(self.folder, self.options)

    def leave_behind(self):
        """Its files as they are now are the next owner's."""
        self.folder = shutil.copytree(self.folder, self.parent / str(len(self.crashed)))

    def teardown(self):
        for opened in [*getattr(self, "crashed", []), *([self.tablet] if hasattr(self, "tablet") else [])]:
            opened.close()
        if hasattr(self, "parent"):
            shutil.rmtree(self.parent)

    @rule(row=ROWS, column=COLUMNS, value=VALUES, timestamp=TIMES)
    def put(self, row, column, value, timestamp):
        self.tablet.put(row, column, value, timestamp)
        self.model.apply(row, SetCell(column, value, timestamp))

    @rule(row=ROWS, wanted=operations)
    def write(self, row, wanted):
        self.tablet.write(row, *wanted)
        for operation in wanted:
            self.model.apply(row, operation)

    @rule(mutations=st.lists(st.tuples(ROWS, operations), max_size=6))
    def write_many(self, mutations):
        self.tablet.write_many(mutations)
        for row, wanted in mutations:
            for operation in wanted:
                self.model.apply(row, operation)

    @rule(row=ROWS, column=COLUMNS, wanted=operations)
    def mutate_if_present(self, row, column, wanted):
        found = any(cell[0] == column for cell in self.model.seen(row))
        assert self.tablet.check_and_mutate(row, ReadFilter(columns=frozenset([column])), wanted) == found
        if found:
            for operation in wanted:
                self.model.apply(row, operation)

    @rule()
    def flush(self):
        self.tablet.flush()

    @rule()
    def settle(self):
        self.tablet.settle()

    @rule()
    def compact(self):
        self.tablet.compact()
        markers = [table.properties.markers for table in self.tablet.engine.state.view.all_tables()]
        assert markers == [0] * len(markers)
        assert len(markers) <= 2

    @rule()
    def reopen(self):
        self.tablet.close()
        self.tablet = self.opened()

    @rule()
    def crash(self):
        """The process dies: what the operating system has is all there is."""
        self.crashed.append(self.tablet)
        self.leave_behind()
        self.tablet = self.opened()

    @rule(target=snapshots, name=st.sampled_from(["one", "two"]))
    def save(self, name):
        if name in self.held:
            self.tablet.delete_snapshot(name)
        self.tablet.save_snapshot(name)
        copy = Model()
        copy.rows = {row: dict(cells) for row, cells in self.model.rows.items()}
        self.held[name] = copy
        return name

    @rule(name=snapshots)
    def restore(self, name):
        self.tablet.restore_snapshot(name)
        self.model.rows = {row: dict(cells) for row, cells in self.held[name].rows.items()}

    @rule(row=ROWS, column=COLUMNS)
    def get(self, row, column):
        expected = self.newest(row, column)
        assert [self.tablet.get(row, column) for _ in range(3)] == [expected] * 3

    @rule(row=ROWS, columns=st.frozensets(COLUMNS, max_size=3), versions=st.none() | st.integers(1, 2))
    def read(self, row, columns, versions):
        found = self.tablet.read(row, ReadFilter(columns=columns or None, versions=versions))
        expected: list[tuple[bytes, int, bytes]] = []
        for cell in self.model.seen(row):
            taken = sum(1 for other in expected if other[0] == cell[0])
            if (not columns or cell[0] in columns) and (versions is None or taken < versions):
                expected.append(cell)
        assert [tuple(cell) for cell in found or ()] == expected

    @rule(start=ROWS, end=ROWS)
    def scan_range(self, start, end):
        found = [row.key for row in self.tablet.scan(start, end)]
        assert found == [row for row in sorted(self.model.rows) if start <= row < end and self.model.seen(row)]

    @rule(column=COLUMNS, start=ROWS | st.just(b""), limit=st.none() | st.integers(0, 3))
    def items(self, column, start, limit):
        newest = ((row, self.newest(row, column)) for row in sorted(self.model.rows) if start <= row)
        expected = [item for item in newest if item[1] is not None][:limit]
        assert list(self.tablet.items(column, start, limit=limit)) == expected

    def newest(self, row: bytes, column: bytes) -> bytes | None:
        return next((cell[2] for cell in self.model.seen(row) if cell[0] == column), None)

    @invariant()
    def holds_what_the_model_holds(self):
        if not hasattr(self, "tablet"):
            return
        found = {row.key: [tuple(cell) for cell in row] for row in self.tablet.scan()}
        expected = {row: seen for row in sorted(self.model.rows) if (seen := self.model.seen(row))}
        assert found == expected
        assert list(found) == list(expected)
        self.tablet.engine.check_invariants()


TestTabletAgainstModel = TabletAgainstModel.TestCase
TestTabletAgainstModel.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
