"""`tabletop fs append` and `tabletop fs tail --records`: a file of records to which many append at once (GFS 3.3).

Records are framed as `gfs.records` has it, so that what reads them passes over padding and what failed tries have left,
and prints each record once.
"""

import asyncio
import contextlib
import os
import shlex
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Annotated

import typer

from cluster.real import RealCluster
from gfs.client import Client
from gfs.records import Record, RecordReader, RecordWriter
from gfs.records.frames import HEADER_BYTES
from gfs.records.reader import POLL_SECONDS
from runtime.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    NotFound,
    TabletopError,
    TimedOut,
    Unavailable,
    shown,
)
from runtime.settings import RECORD_SHARE
from tabletop import copying, wording
from tabletop.console import flush_bytes, output, perform, print_bytes
from tabletop.file_commands import PathArgument, require_file, with_client
from tabletop.options import DESK, ClusterOption

PIECE_BYTES = 64 * 1024


def append(
    path: PathArgument,
    source: Annotated[str, typer.Argument(metavar="FILE", help="Where they come from; - (the default) for input.")] = (
        copying.STANDARD
    ),
    whole: Annotated[bool, typer.Option("--whole", help="All of FILE is one record.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Append records to a file: each line is one, or with --whole all of FILE.

    Many may append to one file at once, from many machines: the cluster chooses where each record goes. A file that
    does not exist is made. A record has at most a quarter of a chunk. `tabletop fs tail --records` prints records.

    \b
        tabletop fs append /log measurements.csv
        date | tabletop fs append /log
        tabletop fs tail --records -f /log
    """
    perform(with_client(cluster, lambda client: _append(client, path, source, whole)), changes=True)


async def _append(client: Client, path: str, source: str, whole: bool) -> None:
    descriptor = sys.stdin.fileno() if source == copying.STANDARD else os.open(Path(source), os.O_RDONLY)
    records = size = end = 0
    try:
        await _make(client, path)
        most = (await require_file(client, path)).chunk_bytes // RECORD_SHARE - HEADER_BYTES
        writer = RecordWriter(client, path)
        async for payload in _whole(descriptor, most) if whole else _lines(descriptor, most):
            appended = await writer.append(payload)
            records, size, end = records + 1, size + len(payload), appended.offset
    except TabletopError as error:
        if records:
            error.message += f" ({wording.count(records, 'record')} before this one had been appended)"
        raise
    finally:
        if source != copying.STANDARD:
            os.close(descriptor)
    where = f", the last one at {end}" if records else ""
    output.print(f"appended {wording.count(records, 'record')} to {wording.printable(path)}{where}", markup=False)


async def _make(client: Client, path: str) -> None:
    with contextlib.suppress(AlreadyExists):
        await client.create(path)


async def _lines(descriptor: int, most: int) -> AsyncIterator[bytes]:
    """Each line without its end. Raises InvalidRequest for one that is too long for a record."""
    rest = bytearray()
    async for piece in _pieces(descriptor):
        rest += piece
        *lines, last = rest.split(b"\n")
        for line in lines:
            _check_size(len(line), most)
            yield bytes(line)
        rest = last
        _check_size(len(rest), most)
    if rest:
        yield bytes(rest)


async def _whole(descriptor: int, most: int) -> AsyncIterator[bytes]:
    content = bytearray()
    async for piece in _pieces(descriptor):
        content += piece
        _check_size(len(content), most)
    yield bytes(content)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise InvalidRequest(
            f"a record of {size} bytes or more: expected {most} at most, a quarter of a chunk of this cluster; "
            "`tabletop fs put` stores a file of any size"
        )


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    """What comes from a file, a pipe or a terminal. No thread is left waiting for input when Ctrl-C ends it."""
    while True:
        await _readable(descriptor)
        piece = os.read(descriptor, PIECE_BYTES)
        if not piece:
            return
        yield piece


async def _readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except OSError:
        return  # It is a file on a disk: always readable.
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def print_records(client: Client, path: str, count: int) -> None:
    """Print the last records of a file, one a line."""
    reader, last = await _last_records(client, path, count)
    for record in reader.rest():
        last.append(record)
    await reader.close()
    _print(last)


async def follow_records(cluster: RealCluster, path: str, count: int) -> None:
    """Print the last records of a file, and those that are appended, without an end. Raises NotFound and Conflict when
    the path names the file no more, Unavailable if the cluster is down."""
    reader, last = await _last_records(cluster.client(), path, count)
    _print(last)
    while True:
        try:
            batch = await reader.batch()
            if batch is not None:
                _print(batch)
                continue
        except NotFound:
            raise NotFound(f"{shown(path)} is there no more: it was deleted or renamed while it was followed") from None
        except Conflict:
            raise Conflict(
                f"{shown(path)} is another file now: it was replaced while it was followed; "
                f"`{shlex.join(['tabletop', 'fs', 'tail', '--records', '-f', path])}` follows the new one"
            ) from None
        except (Unavailable, TimedOut):
            if cluster.is_down():
                raise Unavailable(cluster.down_message(), definite=True) from None
        await asyncio.sleep(POLL_SECONDS)


async def _last_records(client: Client, path: str, count: int) -> tuple[RecordReader, deque[Record]]:
    """The last records, and a reader that has come to the end. As no record crosses chunks, it is enough to begin at
    the last chunk; at an earlier one, if too few records are there."""
    found = await require_file(client, path)
    chunks = 1
    while True:
        begin = max(0, found.chunk_count - chunks) * found.chunk_bytes
        reader = RecordReader(client, path, position=begin)
        last: deque[Record] = deque(maxlen=count)
        while (batch := await reader.batch()) is not None:
            last.extend(batch)
        if len(last) == count or begin == 0:
            return reader, last
        await reader.close()
        chunks *= 2


def _print(records: Iterable[Record]) -> None:
    for record in records:
        print_bytes(record.payload + b"\n")
    flush_bytes()
