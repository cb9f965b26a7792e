"""`scripts/torture`: minutes of faults on real processes, judged byte for byte (`cluster/torture`).

While it runs, one line tells how far it is; without a terminal, a line every few seconds. The last line is the verdict.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from cluster.settings import MOST_MASTERS, ClusterSettings, parse_bytes
from cluster.torture.judging import Counted
from cluster.torture.run import Torture, TortureOptions, TortureVerdict, drawn_seed
from tabletop import wording
from tabletop.console import ExitCode, notes, output, perform, remark

LOOK_SECONDS = 0.25
LINE_SECONDS = 10.0
VIOLATIONS_SHOWN = 20
HEARTBEATS_IN_A_LEASE = 4
TABLET_MASTERS = 2


def torture(
    minutes: Annotated[float, typer.Option(help="How long to break things; comparing comes on top.")] = 3.0,
    durability: Annotated[str, typer.Option(help="When a write is answered: replicated or fsync.")] = "replicated",
    lease_seconds: Annotated[float, typer.Option(help="How long a lease lasts.")] = 10.0,
    chunkservers: Annotated[int, typer.Option(min=2, max=20, help="How many; up to two are out at a time.")] = 5,
    masters: Annotated[
        int, typer.Option(min=1, max=MOST_MASTERS, help="How many; with a lock service, if several.")
    ] = 1,
    tables: Annotated[
        bool,
        typer.Option("--tables", help="Clients work on tables; tablet servers, tablet masters and locks are struck."),
    ] = False,
    tablet_servers: Annotated[int, typer.Option(min=1, max=20, help="How many, with --tables.")] = 3,
    tablet_bytes: Annotated[
        str, typer.Option(metavar="BYTES", help="A tablet with more is split: small, so that there are many.")
    ] = "64K",
    chunk_bytes: Annotated[str, typer.Option(metavar="BYTES", help="Small, so that files have many chunks.")] = "256K",
    seed: Annotated[int | None, typer.Option(help="Draws operations and faults. Default: a random one.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every operation and every fault.")] = False,
) -> None:
    """Kill, pause, restart, cut off and damage real processes for minutes, and compare every acknowledged byte or row.

    Uses a cluster of its own, which is gone at the end. A run that finds something wrong keeps its folder and says
    where. The exit code is 0 only if nothing was found.

    \b
        scripts/torture --minutes 10 --durability fsync
        scripts/torture --masters 3 --seed 7 --verbose
        scripts/torture --tables --minutes 10
    """
    settings = ClusterSettings(
        chunkservers=chunkservers,
        masters=masters,
        replicas=min(3, chunkservers),
        chunk_bytes=parse_bytes(chunk_bytes),
        lease_seconds=lease_seconds,
        heartbeat_seconds=min(1.0, lease_seconds / HEARTBEATS_IN_A_LEASE),
        durability=durability,
        experiments=True,
        tablet_servers=tablet_servers if tables else 0,
        tablet_masters=TABLET_MASTERS,
        tablet_bytes=parse_bytes(tablet_bytes),
    )
    options = TortureOptions(minutes=minutes, seed=drawn_seed() if seed is None else seed)
    good = perform(_torture(settings, options, verbose))
    raise typer.Exit(ExitCode.DONE if good else ExitCode.FAILED)


async def _torture(settings: ClusterSettings, options: TortureOptions, verbose: bool) -> bool:
    run = Torture(settings, options, remark if verbose else None)
    above = f"{wording.count(settings.tablet_servers, 'tablet server')}, " if settings.tablet_servers else ""
    output.print(
        f"Torture with seed {options.seed}: {settings.chunkservers} chunkservers, {above}{settings.replicas} copies, "
        f"durability {settings.durability}, leases of {settings.lease_seconds:g} s, "
        f"for {wording.duration(options.minutes * 60)}.",
        markup=False,
    )
    try:
        async with _shown(run, verbose):
            verdict = await run.run()
    finally:
        if run.home.exists():
            remark(
                f"The files of the run are in {run.home}: history.jsonl, and below torture/nodes each node's records."
            )
    _print_verdict(run, verdict)
    return verdict.good


@asynccontextmanager
async def _shown(run: Torture, verbose: bool) -> AsyncIterator[None]:
    """Tell how far it is for the length of a block."""
    telling = asyncio.get_running_loop().create_task(_tell(run, verbose), name="show progress")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(run: Torture, verbose: bool) -> None:
    if verbose or not notes.is_terminal:
        while True:
            await asyncio.sleep(LINE_SECONDS)
            remark(_line(run))
    with notes.status(_line(run)) as status:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            status.update(_line(run))


def _line(run: Torture) -> str:
    history = run.history
    out = ", ".join(f"{node} {kind}" for node, kind in sorted(run.out.items()))
    left = f", {wording.duration(run.seconds_left)} left" if run.seconds_left else ""
    return (
        f"{run.phase}{left}: {wording.count(history.acknowledged, 'acknowledged change')}, "
        f"{wording.count(history.reads, 'read')} compared, {sum(history.refused.values()):,} refused, "
        f"{wording.count(history.faults.total(), 'fault')}{f' (now: {out})' if out else ''}, "
        f"{wording.count(len(history.violations), 'violation')}"
    )


def _print_verdict(run: Torture, verdict: TortureVerdict) -> None:
    history, counted = run.history, verdict.counted
    for text in history.remarks:
        output.print(text, markup=False)
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(history.faults.items())) or "none"
    output.print(
        f"{wording.count(history.acknowledged, 'acknowledged change')}, "
        f"{wording.count(history.reads, 'read')} compared; "
        f"{history.refused.total():,} failed operations, {history.doubtful:,} of them in doubt; faults: {faults}. "
        f"At the end {_counted(counted)}. {verdict.largest[1]} took the most memory: "
        f"{wording.size(verdict.largest[0])}.",
        markup=False,
    )
    if verdict.good:
        words = f"Nothing acknowledged was lost. It took {wording.duration(history.seconds)}."
        output.print(words, style="bold green", markup=False)
        return
    for text in verdict.violations[:VIOLATIONS_SHOWN]:
        output.print(f"✘ {text}", style="red", markup=False)
    more = len(verdict.violations) - VIOLATIONS_SHOWN
    if more > 0:
        output.print(f"… and {more:,} more in history.jsonl", style="red", markup=False)
    broken = wording.count(len(verdict.violations), "promise was", "promises were")
    output.print(
        f"{broken} broken; what led to it is in {verdict.folder}.",
        style="bold red",
        markup=False,
    )


def _counted(counted: Counted) -> str:
    if counted.tablets:
        return f"{wording.count(counted.rows, 'row')} in {wording.count(counted.tablets, 'tablet')}"
    return (
        f"{wording.count(counted.files, 'file')}, {wording.size(counted.data_bytes)}, "
        f"{wording.count(counted.chunks, 'chunk')}, {wording.count(counted.replicas, 'replica')}"
    )
