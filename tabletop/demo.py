"""`tabletop demo`: the stories of `story.py` and `table_story.py`, told with real processes to people who watch.

Each has a cluster of its own, one after the other, with a folder and a name of its own, so that it can run beside any
other; it belongs to this process, so that it ends when this process ends, however that may be.
"""

import asyncio
import platform
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table

from cluster.real import RealCluster
from cluster.settings import MOST_MASTERS, ClusterSettings, parse_bytes
from runtime.errors import InvalidRequest, NotADirectory
from tabletop import webtable, wording
from tabletop.console import ExitCode, notes, output, perform
from tabletop.progress import Meter, shown_progress
from tabletop.sources import LocalTree, SourceFile, Tree, local_source
from tabletop.story import Story
from tabletop.table_story import TableStory

IGNORED = ("__pycache__", "site-packages", "dist-packages")
LONG_FILE_CHUNKS = 6
LINE_WIDTH = 110
LEAST_LONG_FILE_BYTES = 64 * 1024
TABLET_SERVERS = 3
TABLE_CHUNKSERVERS = 4
TABLE_CHUNK_BYTES = 1024 * 1024
TABLE_LEASE_SECONDS = 3.0
TABLE_HEARTBEAT_SECONDS = 0.5
TABLE_PACKAGES = ("json", "html", "http", "urllib")


def demo(
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="What to store. Default: Python's own library.")
    ] = None,
    chunkservers: Annotated[int, typer.Option(min=4, max=20, help="How many; one of them dies.")] = 5,
    masters: Annotated[int, typer.Option(min=1, max=MOST_MASTERS, help="How many; the acting one dies.")] = 3,
    chunk_size: Annotated[str, typer.Option(metavar="BYTES", help="Small, so that there are many chunks.")] = "4M",
    lease_seconds: Annotated[float, typer.Option(help="The paper's are 60 s; short ones make a short show.")] = 10.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster's files behind, and say where.")] = False,
) -> None:
    """Store a folder tree on a cluster, break the cluster on purpose, and watch it heal.

    Starts masters and chunkservers as real processes, kills a primary in the middle of a write, flips bits on a disk,
    kills the acting master in the middle of another write (or restarts the only one), and compares every byte. Then
    starts a cluster with tablet servers, loads the paper's Webtable, kills a tablet server and a chunkserver during a
    scan, and compares again. Takes about two minutes. The exit code is 0 only if every comparison held.

    \b
        tabletop demo
        tabletop demo --from ~/Documents/lectures
    """
    settings = ClusterSettings(
        chunkservers=chunkservers,
        masters=masters,
        replicas=3,
        chunk_bytes=parse_bytes(chunk_size),
        lease_seconds=lease_seconds,
    )
    held = perform(_demo(source, settings, keep))
    raise typer.Exit(ExitCode.DONE if held else ExitCode.FAILED)


class TerminalNarrator:
    """Tells the story in the terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._chapters = 0

    def chapter(self, title: str) -> None:
        """A rule across the screen, with the time since the start."""
        self._chapters += 1
        output.print()
        rule = Rule(f"[bold cyan]{self._chapters}. {title}[/]  [dim]{self.clock()}[/]", align="left")
        output.print(rule, width=min(output.width, LINE_WIDTH))

    def say(self, text: str) -> None:
        """A paragraph."""
        output.print(text, markup=False, soft_wrap=False, width=min(output.width, LINE_WIDTH))

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """A table, with the handles in colour."""
        table = Table(*columns, border_style="dim", header_style="bold")
        for row in rows:
            table.add_row(*map(escape, row))
        output.print(table)

    def check(self, claim: str, held: bool) -> None:
        """A green or a red line."""
        mark = "[bold green]✔ yes[/]" if held else "[bold red]✘ NO[/]"
        output.print(f"{mark}  {escape(claim)}")

    def progress(self, verb: str, total_bytes: int, files: int) -> AbstractContextManager[Meter]:
        """A bar, or lines."""
        return shown_progress(verb, total_bytes, files)

    def clock(self) -> str:
        """The time since the start."""
        return f"{time.monotonic() - self._started:.1f} s"


class LongFile:
    """A file of several chunks, made by writing the files of a folder one after the other, as often as it takes."""

    directories: list[str]

    def __init__(self, tree: LocalTree, size: int) -> None:
        self._tree = tree
        self.directories = []
        self.files = [SourceFile("", size)]

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        """The bytes."""
        left = self.files[0].size
        while left:
            for file in self._tree.files:
                async for piece in self._tree.pieces(file.path):
                    piece = piece[:left]
                    left -= len(piece)
                    if piece:
                        yield piece
                if not left:
                    return


async def _demo(source: Path | None, settings: ClusterSettings, keep: bool) -> bool:
    settings.check()
    tree, description = _source(source)
    long_file = LongFile(tree, settings.chunk_bytes * LONG_FILE_CHUNKS - settings.chunk_bytes // 3)
    narrator = TerminalNarrator()
    home = Path(tempfile.mkdtemp(prefix="tabletop-demo-"))
    with_tables = ClusterSettings(
        chunkservers=TABLE_CHUNKSERVERS,
        replicas=3,
        chunk_bytes=min(settings.chunk_bytes, TABLE_CHUNK_BYTES),
        lease_seconds=min(settings.lease_seconds, TABLE_LEASE_SECONDS),
        heartbeat_seconds=TABLE_HEARTBEAT_SECONDS,
        tablet_servers=TABLET_SERVERS,
    )
    try:
        async with _cluster("demo", home, keep) as cluster:
            held = await _tell(cluster, settings, tree, long_file, description, narrator)
        async with _cluster("demo-tables", home, keep) as cluster:
            held += await _tell_of_tables(cluster, with_tables, narrator)
    finally:
        _say_what_is_left(home, keep, narrator)
    _print_verdict(held, narrator)
    return all(result for _, result in held)


@asynccontextmanager
async def _cluster(name: str, home: Path, keep: bool) -> AsyncIterator[RealCluster]:
    """A cluster that is taken down in the end."""
    cluster = RealCluster(name, home=home, owned=True)
    try:
        yield cluster
    finally:
        await cluster.stop(purge=not keep)


async def _tell(
    cluster: RealCluster,
    settings: ClusterSettings,
    tree: LocalTree,
    long_file: Tree,
    description: str,
    narrator: TerminalNarrator,
) -> list[tuple[str, bool]]:
    output.print(Panel("[bold]Tabletop[/]: a file system after GFS, on one desk", expand=False, border_style="cyan"))
    narrator.chapter("A cluster starts")
    with notes.status("starting processes …"):
        await cluster.start(settings)
    narrator.say(
        f"{_masters_in_words(settings)} and {settings.chunkservers} chunkservers, each a process of its own, on "
        f"{platform.system()} with Python {platform.python_version()}. Every chunk is to have {settings.replicas} "
        f"copies; chunks have up to "
        f"{wording.size(settings.chunk_bytes)} (the paper: 64 MB), and leases last {settings.lease_seconds:g} s (the "
        "paper: 60 s), so that the show is short. A write is answered when every replica has it in memory."
    )
    narrator.table(
        ["node", "process", "memory", "control", "bulk data"],
        [
            [
                report.node,
                str(report.process_id),
                wording.size(report.resident_bytes),
                report.control_address,
                report.bulk_address or "-",
            ]
            for report in await cluster.nodes()
        ],
    )
    narrator.say(f"What goes in: {description}.")
    story = Story(cluster, tree, long_file, narrator)
    await story.tell()
    return story.checks


def _masters_in_words(settings: ClusterSettings) -> str:
    if settings.masters == 1:
        return "One master"
    return f"{settings.masters} masters, of which one acts, a lock service that says which,"


async def _tell_of_tables(
    cluster: RealCluster, settings: ClusterSettings, narrator: TerminalNarrator
) -> list[tuple[str, bool]]:
    narrator.chapter("A second cluster starts, with tablet servers")
    with notes.status("starting processes, and having Python write pages …"):
        writing = asyncio.to_thread(list, webtable.python_pages(TABLE_PACKAGES))
        pages, _ = await asyncio.gather(writing, cluster.start(settings))
    narrator.say(
        f"A master, {settings.chunkservers} chunkservers, a lock service, a tablet master and "
        f"{settings.tablet_servers} tablet servers: Bigtable on GFS. No tablet server keeps anything on its own disk "
        "(BT 4, 5)."
    )
    narrator.say(
        f"What goes in: the pages that pydoc writes about Python's packages {', '.join(TABLE_PACKAGES)}, "
        f"as {webtable.PYTHON_HOST}, with their links."
    )
    tables = cluster.table_client()
    try:
        story = TableStory(cluster, tables, pages, narrator)
        await story.tell()
    finally:
        await tables.close()
    return story.checks


def _say_what_is_left(home: Path, keep: bool, narrator: TerminalNarrator) -> None:
    narrator.chapter("Everything is taken down")
    if keep:
        narrator.say(f"No process is left; the files are in {home}.")
    else:
        home.rmdir()
        narrator.say("No process and no file is left.")


def _print_verdict(checks: list[tuple[str, bool]], narrator: TerminalNarrator) -> None:
    output.print()
    failed = [claim for claim, held in checks if not held]
    if failed:
        text = f"[bold red]{len(failed)} of {len(checks)} claims did not hold:[/]\n" + "\n".join(failed)
        output.print(Panel(text, expand=False, border_style="red"))
    else:
        text = f"[bold green]All {len(checks)} claims held.[/] It took {narrator.clock()}."
        output.print(Panel(text, expand=False, border_style="green"))


def _source(folder: Path | None) -> tuple[LocalTree, str]:
    chosen = folder or Path(sysconfig.get_path("stdlib"))
    tree = local_source(chosen, ignore=IGNORED)
    if [file.path for file in tree.files] == [""]:
        raise NotADirectory(f"{chosen} is a file; expected a folder with some files in it")
    total = sum(file.size for file in tree.files)
    if total < LEAST_LONG_FILE_BYTES:
        raise InvalidRequest(
            f"{chosen} holds {total} bytes; expected at least {LEAST_LONG_FILE_BYTES}, to make a file of several chunks"
        )
    words = "this machine's Python library" if folder is None else "the folder"
    return tree, (
        f"{words} {chosen}, {wording.count(len(tree.files), 'file')} in "
        f"{wording.count(len(tree.directories) + 1, 'folder')}, {wording.size(total)}; and one long file made of them"
    )
