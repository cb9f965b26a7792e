"""Which structures lie on a node's disk, and which blocks they have.

Nobody writes down a list of files: the disk of a node that has worked is walked, and each file is claimed by a row of
the table below. One that no row claims is an error, so that a new kind of file cannot be forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from chunkserver.storage.chunk_format import SLOT_BYTES, SLOTS, TABLE_OFFSET
from cluster.cords.terms import BLOCK_BYTES, Block
from cluster.roles import CHUNKSERVER_ROLE, LOCK_ROLE, MASTER_ROLE
from master.log.reserve import RESERVE_BYTES
from runtime.errors import InvalidRequest

Places = tuple[tuple[int, int], ...]
"""(offset, bytes)"""

PARTS_OF_TABLES = ("data block", "filter", "index", "properties", "footer")

TABLET_ROLE = "tablet"
"""A tablet in a folder has no server; its files lie in the folder `t` of a node's disk."""

_SLOT_PLACES = tuple((slot * SLOT_BYTES, SLOT_BYTES) for slot in range(SLOTS))
# Zeros that take space, and that nobody ever reads: the first block and the last one stand for the others.
_ENDS_OF_RESERVE = ((0, BLOCK_BYTES), (RESERVE_BYTES - BLOCK_BYTES, BLOCK_BYTES))


@dataclass(frozen=True, slots=True)
class Structure:
    """A kind of file, or with `places` (offset, bytes) certain parts of it. `is_part`: parts that lie elsewhere in each
    such file. `is_passing`: such a file is there for a moment only, so that nothing but its writing can be struck.
    `is_first`: and of those that come, only the first one. `has_no_content`: there is nothing to strike."""

    role: str
    name: str
    pattern: str
    places: Places = ()
    is_part: bool = False
    is_passing: bool = False
    is_first: bool = False
    has_no_content: bool = False


STRUCTURES = (
    Structure(CHUNKSERVER_ROLE, "chunk data", "chunks/*/*.data"),
    Structure(CHUNKSERVER_ROLE, "chunk metadata, whole", "chunks/*/*.meta"),
    Structure(CHUNKSERVER_ROLE, "chunk header", "chunks/*/*.meta", places=_SLOT_PLACES),
    Structure(CHUNKSERVER_ROLE, "checksum table", "chunks/*/*.meta", places=((TABLE_OFFSET, SLOT_BYTES),)),
    Structure(CHUNKSERVER_ROLE, "new chunk", "chunks/*/*.new", is_passing=True),
    Structure(CHUNKSERVER_ROLE, "copy that arrives", "incoming/*", is_passing=True),
    Structure(CHUNKSERVER_ROLE, "chunk that leaves", "removing/*", is_passing=True),
    Structure(CHUNKSERVER_ROLE, "put aside", "aside/*", has_no_content=True),
    Structure(CHUNKSERVER_ROLE, "format", "format"),
    Structure(CHUNKSERVER_ROLE, "identity", "identity"),
    Structure(CHUNKSERVER_ROLE, "new identity", "identity.new", is_passing=True),
    Structure(MASTER_ROLE, "operation log", "log/*.log"),
    Structure(MASTER_ROLE, "checkpoint", "log/*.checkpoint"),
    Structure(MASTER_ROLE, "new checkpoint", "log/*.checkpoint.part", is_passing=True),
    Structure(MASTER_ROLE, "reserve", "reserve", places=_ENDS_OF_RESERVE),
    Structure(LOCK_ROLE, "lock service's log", "log/*.log"),
    Structure(LOCK_ROLE, "lock service's new log", "log/*.log.part", is_passing=True),
    *(Structure(role, "mark of what is durable", "durable") for role in (MASTER_ROLE, LOCK_ROLE)),
    Structure(TABLET_ROLE, "commit log", "t/*.log"),
    Structure(TABLET_ROLE, "new commit log", "t/*.log", is_passing=True, is_first=True),
    Structure(TABLET_ROLE, "SSTable, whole", "t/*.sst"),
    *(Structure(TABLET_ROLE, f"SSTable {part}", "t/*.sst", is_part=True) for part in PARTS_OF_TABLES),
    Structure(TABLET_ROLE, "new SSTable", "t/*.sst.new", is_passing=True, is_first=True),
    Structure(TABLET_ROLE, "manifest", "t/manifest-*[0-9]"),
    Structure(TABLET_ROLE, "new manifest", "t/manifest-*.new", is_passing=True, is_first=True),
    Structure(TABLET_ROLE, "snapshot", "t/snapshot-*"),
    Structure(TABLET_ROLE, "mark of what is durable", "t/durable"),
    Structure(TABLET_ROLE, "lock file", "t/LOCK", has_no_content=True),
    *(Structure(role, "lock file", "LOCK", has_no_content=True) for role in (CHUNKSERVER_ROLE, MASTER_ROLE, LOCK_ROLE)),
)


def structures_of(role: str) -> list[Structure]:
    """All kinds of files that a node of this role has."""
    return [structure for structure in STRUCTURES if structure.role == role]


def claimed_by(role: str, path: str) -> list[Structure]:
    """The structures that a file belongs to. Raises InvalidRequest if there is none.

    >>> [found.name for found in claimed_by("chunkserver", "chunks/2a/000000000000002a.data")]
    ['chunk data']
    >>> claimed_by("master", "notes.txt")
    Traceback (most recent call last):
    ...
    runtime.errors.InvalidRequest: no row of the matrix claims the file notes.txt of a master: add one to STRUCTURES
    """
    found = [structure for structure in structures_of(role) if fnmatchcase(path, structure.pattern)]
    if not found:
        raise InvalidRequest(f"no row of the matrix claims the file {path} of a {role}: add one to STRUCTURES")
    return found


def blocks_of(
    role: str, files: Mapping[str, bytes], parts: Mapping[tuple[str, str], Places] | None = None
) -> list[Block]:
    """Every block of every structure of a node with these files, in the order of the table. `parts`: by structure and
    path, where those lie that lie elsewhere in each file. Raises InvalidRequest for a file that no structure claims.

    >>> [str(block) for block in blocks_of("master", {"LOCK": b"", "log/00000000000000000001.log": bytes(5000)})][:2]
    ['log/00000000000000000001.log[0:4096]', 'log/00000000000000000001.log[4096:8192]']
    """
    claims = {path: claimed_by(role, path) for path in sorted(files)}
    found: list[Block] = []
    for structure in structures_of(role):
        if structure.is_passing:
            known = tuple(claims) if structure.is_first else ()
            found.append(Block(structure.name, structure.pattern, 0, BLOCK_BYTES, is_passing=True, known=known))
            continue
        for path in claims:
            if structure in claims[path] and not structure.has_no_content:
                places = structure.places or _whole_blocks(len(files[path]))
                if structure.is_part:
                    places = (parts or {}).get((structure.name, path), ())
                found += [
                    Block(structure.name, path, offset, count) for offset, count in places if offset < len(files[path])
                ]
    return found


def _whole_blocks(size: int) -> tuple[tuple[int, int], ...]:
    return tuple((offset, BLOCK_BYTES) for offset in range(0, size, BLOCK_BYTES))
