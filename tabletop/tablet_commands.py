"""`tabletop tablet`: look into a tablet's folder, and compare compaction policies. No cluster is needed.

All commands but `simulate` read a folder or a file of it and never change a byte. They take no lock, so they also show
the folder of a running engine, as it is at that moment. The reports are made by `tablet/tools/inspection.py`,
`dumping.py` and `verification.py`; here they are printed.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.errors import (
    DiskFailure,
    IncompatibleFormat,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TabletopError,
    shown,
)
from runtime.events import Record, sentence
from runtime.real.disk import RealDisk, translated
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.maintenance.policies import POLICIES
from tablet.engine.model.schema_message import schema_to_message
from tablet.engine.model.spans import EVERYWHERE
from tablet.engine.world.names import LOCK_NAME
from tablet.engine.world.options import PolicySettings
from tablet.engine.world.storage import DiskStorage
from tablet.server.catalogue import tablet_number
from tablet.tools import dumping, inspection, verification
from tablet.tools.dumping import readable
from tablet.tools.read_only import opened_for_reading
from tablet.tools.values import plain_values
from tabletop import compaction_simulator, wording
from tabletop.compaction_simulator import Outcome, Workload
from tabletop.console import ExitCode, endings, fail, output, perform, remark
from tabletop.options import JsonOption
from tabletop.tables import plain_table, print_table

app = typer.Typer(
    help="""Look into a tablet's folder. Nothing is changed, and no cluster is needed.

    \b
    tabletop tablet inspect data/               the tree: files, key ranges, sizes, Bloom filters
    tabletop tablet dump data/000007.log        a log, an SSTable or a manifest, part by part
    tabletop tablet verify data/                every byte of every file
    tabletop tablet replay data/                what opening it would find, log by log
    tabletop tablet get data/ ROW COLUMN        one value
    tabletop tablet scan data/ --prefix KEY     rows, in order, or from the last with --reverse
    tabletop tablet list tablets/               the tablets of a server, and which files they share
    tabletop tablet simulate --plot out.svg     compaction policies, side by side
    """,
    no_args_is_help=True,
)

FolderArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The tablet's folder.")]


@app.command()
def inspect(path: FolderArgument, as_json: JsonOption = False) -> None:
    """Show the tree: SSTables with key ranges and sizes, Bloom filters (measured), amplification, other files.

    \b
        tabletop tablet inspect data/
        tabletop tablet inspect data/ --json | jq '.groups[].tables[].name'
    """
    report = perform(_inspect(path))
    if as_json:
        output.print_json(json.dumps(_tree_values(report)))
    else:
        _print_tree(report, path)
    if report.problems:
        fail(f"{report.problems[0]}; see `tabletop tablet verify {path}`", ExitCode.FAILED)


@app.command()
def dump(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .log, a .sst, a manifest or a snapshot.")],
    cells: Annotated[bool, typer.Option("--cells", help="Also what is in each part, cell by cell.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Stop after so many parts; 0: show all.")] = 0,
) -> None:
    """Print a file part by part: offset, stored bytes, what it is.

    \b
        tabletop tablet dump data/000007.log --cells
        tabletop tablet dump data/000004.sst --limit 20
    """
    damaged = perform(_dump(file, cells, limit))
    if damaged:
        fail(f"{file}: {wording.count(damaged, 'part')} damaged; restore the file from a copy", ExitCode.FAILED)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The tablet's folder, or one of its files.")],
    as_json: JsonOption = False,
) -> None:
    """Read every byte: checksums, order, index, Bloom filters, counts, the manifest, the logs.

    Ends with exit code 1 and a list if anything is wrong.

    \b
        tabletop tablet verify data/
        tabletop tablet verify backup/000004.sst
    """
    verdicts = perform(_verify(path, as_json))
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    if as_json:
        output.print_json(json.dumps([dataclasses.asdict(verdict) for verdict in verdicts]))
    else:
        size = sum(verdict.file_bytes for verdict in verdicts)
        read = f"{wording.size(size)} read" if size else "nothing could be read"
        output.print(f"{read}: {wording.count(len(problems), 'problem')}")
    if problems:
        fail("\n  ".join([f"{path} has {wording.count(len(problems), 'problem')}:", *problems]), ExitCode.FAILED)


@app.command()
def replay(path: FolderArgument) -> None:
    """Open the tablet for reading only, and show the events of its recovery. Nothing is changed.

    \b
        tabletop tablet replay data/
    """
    perform(_replay(path))


@app.command()
def simulate(
    policies: Annotated[
        list[str] | None, typer.Option("--policy", metavar="POLICY", help="size_tiered, leveling, everything; repeat.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows that are inserted first.")] = 100_000,
    updates: Annotated[int, typer.Option("--updates", min=0, help="Writes to these rows afterwards.")] = 400_000,
    row_bytes: Annotated[int, typer.Option("--row-bytes", min=1, help="Size of a row.")] = 1_000,
    memtable_rows: Annotated[int, typer.Option("--memtable-rows", min=1, help="Rows that make a flush.")] = 4_000,
    pattern: Annotated[str, typer.Option("--pattern", help="Updates: uniform, skewed or sequential.")] = "uniform",
    deletions: Annotated[float, typer.Option("--deletions", help="Share of the updates that delete.")] = 0.0,
    fan_in: Annotated[int, typer.Option("--fan-in", help="Files that are merged at a time.")] = 4,
    max_tables: Annotated[int, typer.Option("--max-tables", help="Files before any merge will do.")] = 12,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other rows.")] = 1,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg", help="Also draw the course.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare compaction policies: read, write and space amplification of a workload, without a disk.

    \b
        tabletop tablet simulate
        tabletop tablet simulate --policy size_tiered --policy leveling --updates 1000000 --plot policies.svg
        tabletop tablet simulate --pattern skewed --deletions 0.2
    """
    if plot is not None and plot.suffix.lower() != ".svg" and not plot.is_dir():
        raise typer.BadParameter(f"--plot {str(plot)!r}: the picture is an SVG, name it so: {plot.with_suffix('.svg')}")
    workload = Workload(rows, updates, row_bytes, memtable_rows, pattern, deletions, seed=seed)
    settings, chosen = PolicySettings(fan_in, max_tables), policies or list(POLICIES)
    try:
        compaction_simulator.check(workload, chosen, settings)
    except InvalidRequest as error:
        fail(error.message, ExitCode.USAGE)
    with endings():  # Without an event loop, in which a Ctrl-C would wait for the end of the computation.
        _simulate(workload, settings, chosen, plot, as_json)


def storage_of(path: Path) -> DiskStorage:
    """The storage of a tablet's folder. Raises NotFound, NotADirectory."""
    with translated("look at", str(path)):
        if not path.exists():
            raise NotFound(f"there is no folder {shown(str(path))}")
        if path.is_file():
            raise NotADirectory(
                f"{shown(str(path))} is a file; give the folder it lies in, or see `tabletop tablet dump`"
            )
        if not path.is_dir():
            raise NotADirectory(f"{shown(str(path))} is neither a file nor a folder; give a tablet's folder")
    beside = path.resolve()
    if tablet_number(beside.name) and any(beside.parent.glob("catalogue-*")):  # Its files may lie in other folders.
        return DiskStorage(RealDisk(beside.parent), beside.name)
    return DiskStorage(RealDisk(path))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the folder in an error that does not: a storage does not know where it lies."""
    try:
        yield
    except TabletopError as error:
        if re.search(rf"(^|[\s'/]){re.escape(str(path))}([\s'/:,]|$)", error.message):
            raise
        raise type(error)(f"{path}: {error.message}", definite=error.definite) from error


def _file(path: Path) -> tuple[DiskStorage, str]:
    """The storage that a file lies in, and its name there. Raises NotFound, IsADirectory, NotADirectory."""
    with translated("look at", str(path)):
        if path.is_dir():
            raise IsADirectory(
                f"{shown(str(path))} is a folder; see `tabletop tablet inspect {path}`, or name a file in it"
            )
        if not path.exists():
            raise NotFound(f"there is no file {shown(str(path))}")
        if not path.is_file():
            raise NotADirectory(f"{shown(str(path))} is neither a file nor a folder; give a file of a tablet")
        if path.name == LOCK_NAME:
            raise IncompatibleFormat(
                f"{shown(str(path))} is the lock of a tablet's folder: it is always empty, and tells nothing; "
                f"give a .log, a .sst, a manifest or a snapshot"
            )
    return DiskStorage(RealDisk(path.parent)), path.name


async def _inspect(path: Path) -> inspection.TreeReport:
    with naming(path):
        return await inspection.inspect(storage_of(path))


async def _dump(path: Path, cells: bool, limit: int) -> int:
    storage, name = _file(path)
    shown_parts = damaged = 0
    async for part in dumping.dump(storage, name, cells=cells):
        if limit and shown_parts == limit:
            remark(f"(stopped after {wording.count(limit, 'part')})")
            break
        shown_parts += 1
        damaged += part.damaged
        style = "red" if part.damaged else None
        output.print(f"{part.offset:>10}  {part.stored_bytes:>9}  {part.headline}", style=style, markup=False)
        for line in part.details:
            output.print(f"{'':>23}{line}", markup=False)
    return damaged


async def _verify(path: Path, quietly: bool) -> list[verification.Verdict]:
    with translated("look at", str(path)):
        exists, is_file = path.exists(), path.is_file()
    if not exists:
        raise NotFound(f"there is no file or folder {shown(str(path))}")
    if is_file:
        storage, name = _file(path)
        kind = await dumping.kind_of(storage, name)
        verdicts = [await verification.verify_file(storage, name, kind)]
        if not quietly:
            _print_verdict(verdicts[0])
        return verdicts
    verdicts = []
    with naming(path):
        async for verdict in verification.verify_folder(storage_of(path)):
            verdicts.append(verdict)
            if not quietly:
                _print_verdict(verdict)
    return verdicts


def _print_verdict(verdict: verification.Verdict) -> None:
    mark = "[red]BAD[/]" if verdict.problems else "ok "
    output.print(f"{mark} ", end="")
    checked = verdict.checked or "nothing"
    size = wording.size(verdict.file_bytes) if verdict.kind != "tablet" else ""
    output.print(f" {verdict.name:<20} {verdict.kind:<10} {size:>9}  {checked}", markup=False)
    for text in verdict.remarks:
        output.print(f"       {text}", markup=False)


async def _replay(path: Path) -> None:
    records: deque[Record] = deque()
    with naming(path):
        async with opened_for_reading(storage_of(path), InlineWorld(RecentEvents(records))):
            pass
    for record in records:
        output.print(sentence(record.event), markup=False)


def _print_tree(report: inspection.TreeReport, path: Path) -> None:
    manifest = report.manifest
    bounds = f"rows {readable(manifest.start_row)} to {readable(manifest.end_row)}"
    everything = not manifest.start_row and not manifest.end_row
    called = f" {manifest.tablet!r}" if manifest.tablet else ""
    output.print(f"tablet{called} in {path}: {wording.size(report.file_bytes)}, ", end="", markup=False)
    output.print(f"manifest {manifest.number}, {'all rows' if everything else bounds}", markup=False)
    for group in report.groups:
        _print_group(group)
    if report.files:
        output.print("\nOther files", style="bold")
        table = plain_table("FILE", "KIND", "SIZE", "NEEDED TO OPEN")
        for file in report.files:
            table.add_row(file.name, file.kind, wording.size(file.file_bytes), "yes" if file.needed else "no")
        print_table(table)


def _print_group(group: inspection.GroupReport) -> None:
    settings = group.settings
    kind = f"blocks of {wording.size(settings.block_bytes)}, {settings.compression}"
    kind += ", in memory" if settings.in_memory else ""
    families = ", ".join(group.families) or "none"
    tables = wording.count(len(group.tables), "SSTable")
    output.print(f"\nLocality group {settings.name}", style="bold", markup=False)
    output.print(f"{tables}, {wording.size(group.file_bytes)}; families: {families}; {kind}", markup=False)
    if not group.tables:
        return
    figures = ("FILE", "TIER", "SIZE", "BLOCKS", "ROWS", "DELETIONS", "RECORDS")
    keys = ("FIRST ROW", "LAST ROW")
    table = plain_table(*figures, *keys, folding=keys)
    for found in group.tables:
        said = found.properties
        table.add_row(
            found.name + (" [red]damaged[/]" if found.problem else ""),
            str(found.tier),
            wording.size(found.file_bytes),
            f"{said.blocks:,}",
            f"{said.rows:,}",
            f"{said.markers:,}",
            f"{said.first_sequence}-{said.last_sequence}",
            _cell(said.first_row),
            _cell(said.last_row),
        )
    print_table(table)
    _print_spans(group)
    _print_filters(group)
    shape = group.amplification
    output.print("\nAmplification, from the shape of the tree")
    output.print(f"  read    a scan merges {wording.count(shape.scan_tables, 'file')}; ", end="")
    output.print(f"a read of an absent row touches {shape.absent_blocks:.3f} blocks")
    output.print(f"  space   up to about {shape.space:.2f}: all files over the largest one")
    output.print(f"  write   each byte about {shape.rewrites:.1f} times into SSTables, once into the log")
    output.print(f"Next compaction: {group.next_compaction}", markup=False)


def _print_spans(group: inspection.GroupReport) -> None:
    clipped = [found for found in group.tables if found.reference.spans != EVERYWHERE]
    if not clipped:
        return
    output.print("\nOf these files only some rows count", style="bold")
    table = plain_table("FILE", "SHARE", "FROM", "UP TO", folding=("FROM", "UP TO"))
    for found in clipped:
        for start, end in found.reference.spans:
            share = found.reference.charged_bytes / max(1, found.file_bytes)
            table.add_row(found.name, f"{share:.0%}", _cell(start), _cell(end))
    print_table(table)


def _print_filters(group: inspection.GroupReport) -> None:
    filters = [(found.name, found.filters) for found in group.tables if found.filters is not None]
    if not filters:
        output.print("\nNo Bloom filters")
        return
    output.print("\nBloom filters", style="bold")
    table = plain_table(
        "FILE", "POLICY", "FILTERS", "KEYS", "SIZE", "BITS/KEY", "BITS SET", "WANTED RATE", "MEASURED RATE"
    )
    for name, found in filters:
        table.add_row(
            name,
            found.policy,
            f"{found.partitions:,}",
            f"{found.entries:,}",
            wording.size(found.stored_bytes),
            f"{found.bits_per_entry:.1f}",
            f"{found.fill:.0%}",
            f"{found.wanted_rate:.2%}",
            f"{found.measured_rate:.2%}",
        )
    print_table(table)


def _cell(row: bytes) -> str:
    return readable(row).replace("[", "\\[")


def _tree_values(report: inspection.TreeReport) -> dict[str, Any]:
    manifest = report.manifest
    return {
        "tablet": manifest.tablet,
        "manifest": manifest.number,
        "start_row": manifest.start_row.decode("latin-1"),
        "end_row": manifest.end_row.decode("latin-1"),
        "flushed_sequence": manifest.flushed_sequence,
        "logs": list(manifest.log_numbers),
        "file_bytes": report.file_bytes,
        "schema": plain_values(schema_to_message(manifest.schema)),
        "groups": [
            {
                "name": group.settings.name,
                "families": group.families,
                "file_bytes": group.file_bytes,
                "rows": group.rows,
                "amplification": dataclasses.asdict(group.amplification),
                "next_compaction": group.next_compaction,
                "tables": [
                    {
                        **{field: getattr(found, field) for field in ("name", "age", "tier", "file_bytes", "problem")},
                        "charged_bytes": found.reference.charged_bytes,
                        "spans": [[row.decode("latin-1") for row in span] for span in found.reference.spans],
                        "properties": plain_values(found.properties.to_message()),
                        "filters": dataclasses.asdict(found.filters) if found.filters is not None else None,
                    }
                    for found in group.tables
                ],
            }
            for group in report.groups
        ],
        "files": [dataclasses.asdict(file) for file in report.files],
    }


def _simulate(
    workload: Workload, settings: PolicySettings, policies: list[str], picture: Path | None, as_json: bool
) -> None:
    if picture is not None:
        _check_picture(picture)
    outcomes = [compaction_simulator.simulate(workload, policy, settings) for policy in policies]
    title = f"{workload.rows:,} rows, {workload.updates:,} updates ({workload.pattern}), fan-in {settings.fan_in}"
    if picture is not None:
        picture.write_text(compaction_simulator.plot(outcomes, title), encoding="utf-8")
    if as_json:
        output.print_json(json.dumps([_outcome_values(outcome) for outcome in outcomes]))
    else:
        output.print(title)
        _print_outcomes(outcomes)
    if picture is not None:
        remark(f"drawn to {picture}")


def _check_picture(path: Path) -> None:
    """Before the work: can the picture be written? Raises NotFound, IsADirectory, DiskFailure."""
    with translated("draw to", str(path)):
        if not path.parent.is_dir():
            raise NotFound(
                f"cannot draw to {shown(str(path))}: there is no folder {shown(str(path.parent))}; make it first"
            )
        if path.is_dir():
            raise IsADirectory(f"cannot draw to {shown(str(path))}: it is a folder; name a file, such as policies.svg")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DiskFailure(f"cannot draw to {shown(str(path))}: Permission denied; choose another place")


_FIGURES: tuple[tuple[str, str, Callable[[Outcome], float], str], ...] = (
    ("write_amplification", "WRITE", lambda outcome: outcome.write_amplification, ".2f"),
    ("mean_tables", "FILES/SCAN", lambda outcome: outcome.mean(lambda sample: sample.tables), ".1f"),
    ("most_tables", "MOST", lambda outcome: outcome.peak(lambda sample: sample.tables), ".0f"),
    ("blocks_read", "BLOCKS/READ", lambda outcome: outcome.mean(lambda sample: sample.blocks_read), ".3f"),
    ("mean_space", "SPACE", lambda outcome: outcome.mean(lambda sample: sample.space_amplification), ".2f"),
    ("peak_space", "PEAK", lambda outcome: outcome.peak(lambda sample: sample.peak_space_amplification), ".2f"),
)


def _outcome_values(outcome: Outcome) -> dict[str, Any]:
    figures = {name: value(outcome) for name, _, value, _ in _FIGURES}
    counts = {"flushes": outcome.flushes, "compactions": outcome.compactions}
    return {"policy": outcome.policy, **counts, "written_bytes": outcome.written_bytes, **figures}


def _print_outcomes(outcomes: list[Outcome]) -> None:
    table = plain_table("POLICY", "FLUSHES", "COMPACTIONS", "WRITTEN", *(label for _, label, _, _ in _FIGURES))
    for outcome in outcomes:
        figures = [format(value(outcome), shape) for _, _, value, shape in _FIGURES]
        counts = (f"{outcome.flushes:,}", f"{outcome.compactions:,}", wording.size(outcome.written_bytes))
        table.add_row(outcome.policy, *counts, *figures)
    print_table(table)
