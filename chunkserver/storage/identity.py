"""Who this server is, and whom it obeys: the file `identity` in its folder.

The problem. A chunkserver that was started on a wrong folder, or a master that came up empty, would have each other's
chunks deleted; a master that was replaced, but does not know it yet, could give orders that undo those of its
successor; and nobody could tell a server that was restarted from one whose disk was exchanged. The idea: a few numbers,
on stable storage before anybody is told of them.

    namespace    the namespace that the folder belongs to; 0 until a master has answered the first registration
    disk         drawn when the folder was claimed
    life         counts the starts of a server on this folder
    epoch        the highest master epoch that was obeyed
    boot         the run of the machine in which this life began
    ended        whether that life has ended in good order, with everything synced

The file is text, and is replaced as a whole. `format` is written once, says which version of the program may use the
folder, and is the last file that a new folder gets.
"""

from dataclasses import dataclass, replace
from hashlib import blake2b

import crc32c

from runtime.errors import Corrupted, IncompatibleFormat, shown
from runtime.world import Disk, World

FORMAT = "format"
FORMAT_LINE = b"tabletop chunkserver 4\n"
IDENTITY = "identity"
_OURS = ("LOCK", f"{FORMAT}.new", IDENTITY, f"{IDENTITY}.new")
_LIMIT_BYTES = 4096
_ADVICE = (
    "without it nobody knows to which namespace these chunks belong: restore it, or start on an empty folder and let "
    "the chunks be copied there"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What the file says."""

    disk: int
    namespace: int = 0
    life: int = 0
    epoch: int = 0
    boot: int = 0
    ended: bool = False


def boot_number(boot_id: str) -> int:
    """64 bits that name a run of the machine; never 0.

    >>> boot_number("a") == boot_number("a") != boot_number("b")
    True
    """
    return int.from_bytes(blake2b(boot_id.encode(), digest_size=8).digest(), "little") or 1


def encode_identity(identity: Identity) -> bytes:
    """The file's content.

    >>> print(encode_identity(Identity(disk=10, namespace=11, life=2, epoch=3, boot=12)).decode(), end="")
    namespace 000000000000000b
    disk      000000000000000a
    life      2
    epoch     3
    boot      000000000000000c
    ended     0
    crc32c    4059285a
    """
    lines = (
        f"namespace {identity.namespace:016x}\n"
        f"disk      {identity.disk:016x}\n"
        f"life      {identity.life}\n"
        f"epoch     {identity.epoch}\n"
        f"boot      {identity.boot:016x}\n"
        f"ended     {int(identity.ended)}\n"
    ).encode()
    return lines + f"crc32c    {crc32c.crc32c(lines):08x}\n".encode()


def decode_identity(content: bytes) -> Identity:
    """What `encode_identity` wrote. Raises Corrupted."""
    body, separator, checksum = content.rpartition(b"crc32c    ")
    if not separator or checksum != f"{crc32c.crc32c(body):08x}\n".encode():
        raise Corrupted(
            f"the chunkserver's file {IDENTITY!r} is damaged ({len(content)} bytes, its checksum does not match); "
            f"{_ADVICE}"
        )
    values = dict(line.split() for line in body.decode().splitlines())
    return Identity(
        disk=int(values["disk"], 16),
        namespace=int(values["namespace"], 16),
        life=int(values["life"]),
        epoch=int(values["epoch"]),
        boot=int(values["boot"], 16),
        ended=values["ended"] == "1",
    )


class IdentityFile:
    """The identity in memory and on disk. Each change is durable when its method returns."""

    def __init__(self, disk: Disk, identity: Identity) -> None:
        self._disk = disk
        self.now = identity
        self.before = identity  # as the life before has left it

    async def write(self, identity: Identity) -> None:
        """Replace the file. Raises NoSpace, DiskFailure; then the old one is valid."""
        await _replace_file(self._disk, IDENTITY, encode_identity(identity))
        self.now = identity

    async def begin_life(self, boot: int) -> None:
        """Another start."""
        await self.write(replace(self.now, life=self.now.life + 1, boot=boot, ended=False))

    async def end_life(self) -> None:
        """Everything is synced, and nothing will be written any more."""
        await self.write(replace(self.now, ended=True))

    @property
    def may_have_unsynced_files(self) -> bool:
        """Whether the page cache may hold what the life before has written and not synced."""
        return self.before.boot == self.now.boot and not self.before.ended

    @property
    def has_lost_power(self) -> bool:
        """Whether the machine was started anew since the life before began."""
        return self.before.life > 0 and self.before.boot != self.now.boot


async def open_identity(world: World) -> IdentityFile:
    """Claim an empty folder, or read whose it is; either way a new life begins.

    Raises IncompatibleFormat for a folder of another program or version, Corrupted, DiskFailure.
    """
    disk = world.disk
    await _check_format(disk)
    if await disk.exists(IDENTITY):
        content = await _content(disk, IDENTITY)
        file = IdentityFile(disk, decode_identity(content))
    else:
        file = IdentityFile(disk, Identity(disk=world.random.getrandbits(64)))
    is_new = not await disk.exists(FORMAT)
    if not is_new and not file.now.life:
        raise Corrupted(f"the chunkserver's folder has no file {IDENTITY!r}; {_ADVICE}")
    await file.begin_life(boot_number(world.boot_id()))
    if is_new:
        await _replace_file(disk, FORMAT, FORMAT_LINE)
    return file


async def _check_format(disk: Disk) -> None:
    if not await disk.exists(FORMAT):
        strangers = [name for name in await disk.list() if name not in _OURS]
        if strangers:
            raise IncompatibleFormat(
                f"the chunkserver's folder holds {shown(strangers[0])} but no file {FORMAT!r}; it belongs to another "
                "program: choose an empty folder"
            )
        return
    found = await _content(disk, FORMAT)
    if found != FORMAT_LINE:
        raise IncompatibleFormat(
            f"the chunkserver's folder has format {shown(found.decode(errors='replace'))}, this program writes "
            f"{FORMAT_LINE.decode()!r}; use the program version that wrote it, or choose another folder"
        )


async def _content(disk: Disk, path: str) -> bytes:
    file = await disk.open(path, "read")
    try:
        return await file.read_at(0, _LIMIT_BYTES)
    finally:
        await file.close()


async def _replace_file(disk: Disk, path: str, content: bytes) -> None:
    file = await disk.open(f"{path}.new", "replace")
    try:
        await file.write_at(0, content)
        await file.sync()
    finally:
        await file.close()
    await disk.rename(f"{path}.new", path)
    await disk.sync_directory()
