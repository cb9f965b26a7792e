"""`tabletop paper`: measurements of the papers, made again on simulated machines. See cluster/paper."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cluster.paper.comparing import Row, compare
from cluster.paper.drawing import picture
from cluster.paper.drawing_recovery import recovery_picture
from cluster.paper.metadata import Metadata, measure_metadata
from cluster.paper.printed import (
    BARS,
    KINDS,
    MIB,
    MOST_BYTES_A_ENTRY,
    MOST_CLIENTS,
    RECOVERY_BAR_SECONDS,
    RECOVERY_CLONES,
    RECOVERY_SERVERS,
    TABLE_2,
    TABLE_2_FACTOR,
    Cluster,
    Recovery,
)
from cluster.paper.recovery import Recovered, RecoveryPlan, measure_recovery
from cluster.paper.throughput import Curve, Plan, measure
from master.balance.placement_policies import HASHING, POLICIES
from runtime.errors import InvalidRequest, shown
from tabletop.console import endings, output, remark
from tabletop.tables import plain_table, print_table

app = typer.Typer(
    help="""Measurements of the papers, made again: the servers' own code on simulated machines like the papers'.

    No cluster is needed, and nothing of one is touched. The same seed gives the same numbers.

    \b
    tabletop paper gfs-figure-3 --quick
    tabletop paper gfs-table-2
    tabletop paper gfs-recovery --quick
    """,
    no_args_is_help=True,
)

SeedOption = Annotated[int, typer.Option("--seed", help="Decides everything that is drawn.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="Less of everything: half a minute, rougher numbers.")]
JsonFileOption = Annotated[str, typer.Option("--json", metavar="FILE", help="Also write all numbers to a file.")]
QUICK_SHARE, QUICK_PART = 0.1, 0.1
QUICK_CLIENTS, QUICK_OPERATIONS = "1,4,16", 16
ALL_CLIENTS = ",".join(str(clients) for clients in range(1, MOST_CLIENTS + 1))


@app.command("gfs-figure-3")
def gfs_figure_3(
    clients: Annotated[
        str, typer.Option("--clients", metavar="N,N", help="How many clients; default: 1 to 16.")
    ] = ALL_CLIENTS,
    operations: Annotated[int, typer.Option("--operations", help="Reads, writes or appends of each client.")] = 32,
    kinds: Annotated[str, typer.Option("--kinds", metavar="KIND,KIND", help=f"Which of {', '.join(KINDS)}.")] = (
        ",".join(KINDS)
    ),
    placement: Annotated[
        str, typer.Option("--placement", help=f"How the master chooses servers: {' or '.join(POLICIES)}.")
    ] = HASHING,
    seed: SeedOption = 1,
    drawing: Annotated[str, typer.Option("--picture", metavar="FILE", help="Also draw it, as SVG.")] = "",
    json_file: JsonFileOption = "",
    quick: QuickOption = False,
) -> None:
    """Reads, writes and record appends by 1 to 16 clients, beside Figure 3 of the GFS paper.

    16 chunkservers, links of 100 Mbps, 1 Gbps between the two switches. One number of each curve is taken from the
    paper: how much longer than ours its single client took for an operation. Takes some minutes.

    \b
        tabletop paper gfs-figure-3 --picture figure-3.svg
    """
    with endings():
        if quick:
            clients, operations = QUICK_CLIENTS if clients == ALL_CLIENTS else clients, QUICK_OPERATIONS
        plan = Plan(_kinds(kinds), _numbers(clients), operations, seed, _policy(placement))
        curves = measure(plan, lambda kind, count, rate: remark(f"{kind}, {count} clients: {rate:.2f} MB/s"))
        rows = [row for curve in curves for row in compare(curve)]
        _print_figure_3(curves, rows)
        if drawing:
            Path(drawing).write_text(picture(curves), encoding="utf-8")
            output.print(f"drawn to {drawing}")
        if json_file:
            _write_json(json_file, {"pauses": {one.kind: one.pause_seconds for one in curves}, "rows": _plain(rows)})


@app.command("gfs-table-2")
def gfs_table_2(
    column: Annotated[str, typer.Option("--of", metavar="A|B", help="Which of the paper's two clusters.")] = "A",
    share: Annotated[float, typer.Option("--share", help="The part of all files and chunks that is filled in.")] = 0.1,
    seed: SeedOption = 1,
    json_file: JsonFileOption = "",
) -> None:
    """Metadata of a cluster of hundreds of servers at the master and at chunkservers, beside Table 2 of the GFS paper.

    A master's state is filled by the master's own code. Without `--share 1` with a tenth of the files and chunks, and
    the result is multiplied: each file and each chunk takes the same.

    \b
        tabletop paper gfs-table-2
    """
    with endings():
        if column not in TABLE_2:
            raise InvalidRequest(f"--of {shown(column)}: expected {' or '.join(TABLE_2)}")
        cluster = TABLE_2[column]
        found = measure_metadata(cluster, share=share, seed=seed)
        _print_table_2(cluster, found)
        if json_file:
            _write_json(json_file, asdict(found) | {"tables": found.tables})


@app.command("gfs-recovery")
def gfs_recovery(
    victims: Annotated[int, typer.Option("--kill", metavar="1|2", help="How many chunkservers die at once.")] = 1,
    share: Annotated[
        float, typer.Option("--share", help="The part of the paper's cluster: of servers, clones and chunks alike.")
    ] = 1.0,
    part: Annotated[
        float, typer.Option("--part", help="The part of the victims' chunks; the recovery is as much shorter.")
    ] = 1.0,
    seed: SeedOption = 1,
    drawing: Annotated[str, typer.Option("--picture", metavar="FILE", help="Also draw it, as SVG.")] = "",
    json_file: JsonFileOption = "",
    quick: QuickOption = False,
) -> None:
    """A chunkserver with 15,000 chunks dies in a cluster of 227, beside section 6.2.5 of the GFS paper.

    91 clones at a time, 6.25 MB/s each, as in the paper. Nothing is calibrated. Takes a quarter of an hour; with
    `--share 0.1` a tenth of the servers have a tenth of the chunks, and it is over as much sooner.

    \b
        tabletop paper gfs-recovery --picture recovery.svg
        tabletop paper gfs-recovery --kill 2
    """
    with endings():
        if quick:
            share, part = QUICK_SHARE, QUICK_PART
        plan = RecoveryPlan(victims, share, part, seed)
        found = measure_recovery(plan, lambda what, seconds, chunks: remark(f"{seconds:6.0f} s: {chunks} {what}"))
        _print_recovery(plan, found)
        if drawing:
            papers = plan.papers.whole_seconds if part == 1.0 else 0.0
            text = recovery_picture(found.course, floor=found.floor(plan), papers=papers)
            Path(drawing).write_text(text, encoding="utf-8")
            output.print(f"drawn to {drawing}")
        if json_file:
            _write_json(json_file, asdict(found) | {"floor": found.floor(plan)})


def _print_recovery(plan: RecoveryPlan, found: Recovered) -> None:
    papers = plan.papers
    table = plain_table("WHAT", "OURS", "PAPER")
    table.add_row("chunks that lost a replica", f"{found.chunks:,}", f"{_all_chunks(papers):,}")
    if plan.victims > 1:
        table.add_row("chunks left with one replica", f"{found.single:,}", f"{papers.single:,}")
        table.add_row("until all had two, minutes", f"{found.two_each / 60:.1f}", f"{papers.two_each_seconds / 60:.0f}")
    whole = f"{papers.whole_seconds / 60:.1f}" if papers.whole_seconds else "-"
    table.add_row("until all had three, minutes", f"{found.whole / 60:.1f}", whole)
    table.add_row("no quicker than, minutes", f"{found.floor(plan) / 60:.1f}", f"{papers.floor / 60:.1f}")
    rate = f"{papers.bytes_per_second / MIB:.0f}" if papers.bytes_per_second else "-"
    table.add_row("effective rate, MB/s", f"{found.bytes_per_second / MIB:.0f}", rate)
    table.add_row("until the death was noticed, seconds", f"{found.noticed:.0f}", "-")
    print_table(table)
    if (plan.victims, plan.share, plan.part) == (1, 1.0, 1.0):
        within = "yes" if found.floor(plan) <= found.whole <= RECOVERY_BAR_SECONDS else "NO"
        output.print(f"between the floor and {RECOVERY_BAR_SECONDS / 60:.0f} minutes: {within}")
    else:
        output.print(
            f"{plan.servers} servers, {plan.clones} clones at a time, {plan.chunks:,} chunks on each victim; the "
            f"paper's: {RECOVERY_SERVERS}, {RECOVERY_CLONES}, {papers.chunks:,}"
        )


def _all_chunks(papers: Recovery) -> int:
    return papers.victims * papers.chunks - papers.single


def _print_table_2(cluster: Cluster, found: Metadata) -> None:
    entries = cluster.files + cluster.dead_files
    table = plain_table("WHAT", "OURS", "PAPER", "OURS / PAPER", "WITHIN A FACTOR OF 2")
    for what, ours, papers in (
        ("at the master: tables", found.tables, cluster.master_bytes),
        ("at chunkservers", found.chunkservers, cluster.chunkserver_bytes),
        ("at the master: memory of Python", found.memory, cluster.master_bytes),
    ):
        within = "yes" if 1 / TABLE_2_FACTOR <= ours / papers <= TABLE_2_FACTOR else "NO"
        table.add_row(what, f"{ours / 1e6:,.0f} MB", f"{papers / 1e6:,.0f} MB", f"{ours / papers:.2f}", within)
    print_table(table)
    chunk = (found.chunks + found.locations) / cluster.chunks
    output.print(f"{entries:,} files, {cluster.dead_files:,} of them deleted; {cluster.chunks:,} chunks of 3 replicas")
    output.print(
        f"a file: {found.names / entries:.1f} bytes; a chunk: {chunk:.1f} bytes "
        f"(paper: less than {MOST_BYTES_A_ENTRY} each)"
    )
    output.print(f"a replica at its chunkserver: {found.replica:,} bytes; checkpoint: {found.checkpoint / 1e6:.0f} MB")


def _print_figure_3(curves: Sequence[Curve], rows: Sequence[Row]) -> None:
    table = plain_table("WHAT", "CLIENTS", "OURS MB/s", "PAPER MB/s", "DIFFERENCE", "LIMIT MB/s", "WITHIN ITS BAR")
    for row in rows:
        within = {True: "yes", False: "NO", None: "-"}[row.is_within]
        numbers = (f"{row.ours:.2f}", f"{row.papers:.2f}", f"{row.deviation:+.1%}", f"{row.limit:.1f}")
        table.add_row(row.kind, str(row.clients), *numbers, within)
    print_table(table)
    for curve in curves:
        bar = BARS[curve.kind]
        judged = "only the shape is compared" if bar is None else f"bar: {bar:.0%}"
        pause = f"a pause of {curve.pause_seconds * 1000:.0f} ms before each, from the paper's single client"
        output.print(f"{curve.kind}: {pause}; {judged}")


def _kinds(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    for kind in found:
        if kind not in KINDS:
            raise InvalidRequest(f"--kinds {shown(text)}: expected some of {', '.join(KINDS)}, with commas between")
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequest(f"--clients {shown(text)}: expected numbers with commas between, such as 1,4,16") from None


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise InvalidRequest(f"--placement {shown(name)}: expected {' or '.join(POLICIES)}")
    return name


def _plain(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [asdict(row) | {"deviation": row.deviation} for row in rows]


def _write_json(path: str, value: object) -> None:
    Path(path).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    output.print(f"written to {path}")
