"""Which files of a server's tablets are needed: whoever owns all references sweeps (BT 6).

A file lies in the folder of the tablet that wrote it, and may be referred to by others, when that one is long gone. The
engine of a live tablet sweeps its own folder, and asks here what others hold of it. The folders of tablets that are no
more, and those that a split has prepared in vain, are swept here.

Invariant: a file that a live tablet, one of its readers or snapshots, or a split under way refers to is not removed.
Whatever is not known, because a tablet cannot be opened, counts as referred to.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from runtime.errors import NotFound
from tablet.engine.world.names import LOCK_NAME, home_of, sorted_out
from tablet.server.catalogue import CatalogueFile, is_leftover, tablet_number
from tablet.server.folders import Folders


def held_in(folder: str, references: Mapping[str, Iterable[str]], *, by_others: bool = True) -> set[str]:
    """The files of one folder to which tablets refer; `references`: for each tablet the names, as it sees them.

    >>> held_in("a", {"a": ["000001.sst"], "b": ["../a/000002.sst", "000003.sst"]})
    {'000002.sst'}
    """
    found = set()
    for tablet, names in references.items():
        if tablet == folder and by_others:
            continue
        for name in names:
            home, file_name = home_of(name, tablet)
            if home == folder:
                found.add(file_name)
    return found


async def sweep_folders(
    folders: Folders, catalogue: CatalogueFile, references: Mapping[str, Iterable[str]], busy: Collection[str]
) -> tuple[int, int]:
    """Remove what nobody refers to in the folders of tablets that are not alive; returns how many files and folders.
    `busy`: folders that are being prepared. Raises Superseded, DiskFailure."""
    names = await folders.list()
    # Who has superseded us may have made folders since. What is in a listing without his catalogue is ours to judge.
    catalogue.check_listing(names)
    root, current = folders.storage(), catalogue.current
    for name in names:
        if is_leftover(name, current.number):
            with suppress(NotFound):
                await root.remove(name)
    files = gone = 0
    for folder in names:
        if not tablet_number(folder) or folder in busy or folder in current.names():
            continue
        held = held_in(folder, references)
        storage = folders.storage(folder)
        present = [name for name in await storage.list() if name != LOCK_NAME]
        needless = {*present} - held - {*sorted_out(present).others}
        for name in sorted(needless):
            with suppress(NotFound):
                await storage.remove(name)
            files += 1
        if len(needless) == len(present):
            await folders.remove(folder)
            gone += 1
    return files, gone
