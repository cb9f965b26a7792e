"""What the tablet's tests share: an engine on a folder within an event loop, and SSTables made by hand."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.events import MemorySink
from runtime.real.world import RealWorld
from tablet.engine.engine import Engine
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.fragments import Entries, encode_fragment, encode_put, is_single_put
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.reader import SSTable
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage


@asynccontextmanager
async def open_engine(
    folder: Path, options: Options | None = None, *, background: bool = False
) -> AsyncIterator[Engine]:
    """An engine in the real world, closed at the end."""
    world = RealWorld(node="test", root=folder, token="", sink=MemorySink())
    engine = await Engine.open(DiskStorage(world.disk), world, options)
    try:
        if background:
            engine.start()
        yield engine
    finally:
        await engine.close()
        await world.close()


def kinds_of_events(engine: Engine) -> list[str]:
    """The names of the events so far."""
    sink = engine.state.world.events.sink
    assert isinstance(sink, MemorySink)
    return [type(record.event).__name__ for record in sink.records]


def chunk_of(rows: Mapping[bytes, Entries | bytes]) -> Chunk:
    """A chunk from entries, or from the value of one cell f:q at timestamp 1."""
    encoded = {
        row: encode_put(b"f:q", 1, content) if isinstance(content, bytes) else encode_fragment(content)
        for row, content in rows.items()
    }
    ordered = sorted(encoded)
    fragments = [encoded[row] for row in ordered]
    return Chunk(ordered, fragments, all(map(is_single_put, fragments)))


async def make_table(
    storage: DiskStorage, number: int, chunk: Chunk, group: LocalityGroup | None = None, cache: BlockCache | None = None
) -> SSTable:
    """Write one SSTable and open it."""
    name = f"{number:06}.sst"
    writer = await SSTableWriter.create(storage, name, group or LocalityGroup(block_bytes=512))
    writer.add(chunk)
    await writer.finish(first_sequence=number * 10, last_sequence=number * 10 + 9)
    return await SSTable.open(storage, name, number, cache or BlockCache(1 << 20))
