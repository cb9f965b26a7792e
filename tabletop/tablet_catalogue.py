"""`tabletop tablet list`: the tablets of a server's folder, and which files they share. Nothing is changed.

The idea. The catalogue says which tablets are alive, the manifest of each which files it refers to, perhaps in the
folder of another one, or of one that is no more.
"""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import NotFound, shown
from runtime.real.disk import RealDisk
from tablet.engine.tree.manifest import Manifest, load_current
from tablet.engine.world.names import home_of
from tablet.engine.world.storage import DiskStorage
from tablet.server.catalogue import TabletEntry, load_catalogue
from tablet.tools.dumping import readable
from tabletop import wording
from tabletop.console import output, perform
from tabletop.options import JsonOption
from tabletop.tables import plain_table, print_table


@dataclass(frozen=True, slots=True)
class TabletLine:
    """One tablet. `elsewhere`: files that lie in the folder of another one. `shared`: files to which another live
    tablet refers too. `charged_bytes`: about how much of its files is its own."""

    name: str
    table: str
    start_row: str
    end_row: str
    files: int
    elsewhere: int
    shared: int
    charged_bytes: int


def list_tablets(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a server's tablets.")],
    as_json: JsonOption = False,
) -> None:
    """List the tablets of a server's folder, with their rows, and the files that they share after splits.

    \\b
        tabletop tablet list data/tablets
        tabletop tablet inspect data/tablets/users-000003
    """
    lines = perform(_lines(path))
    if as_json:
        output.print_json(json.dumps([dataclasses.asdict(line) for line in lines]))
        return
    keys = ("FIRST ROW", "END ROW")
    table = plain_table("TABLET", "TABLE", *keys, "FILES", "ELSEWHERE", "SHARED", "BYTES", folding=keys)
    for line in lines:
        counts = (f"{line.files:,}", f"{line.elsewhere:,}", f"{line.shared:,}", wording.size(line.charged_bytes))
        bounds = [text.replace("[", "\\\\[") for text in (line.start_row, line.end_row)]
        table.add_row(line.name, line.table, *bounds, *counts)
    output.print(f"{wording.count(len(lines), 'tablet')} in {path}", markup=False)
    print_table(table)


async def _lines(path: Path) -> list[TabletLine]:
    if not path.is_dir():
        raise NotFound(f"there is no folder {shown(str(path))}")
    disk = RealDisk(path)
    catalogue = await load_catalogue(DiskStorage(disk))
    if catalogue is None:
        raise NotFound(
            f"{shown(str(path))} holds no catalogue of tablets; for a tablet's own folder see `tabletop tablet inspect`"
        )
    found: list[tuple[TabletEntry, Manifest]] = []
    for entry in catalogue.tablets:
        storage = DiskStorage(disk, entry.name)
        manifest = await load_current(storage, await storage.list())
        if manifest is None:
            raise NotFound(f"the catalogue names tablet {entry.name}, but its folder is empty; restore it from a copy")
        found.append((entry, manifest))
    homes = [[home_of(reference.name, entry.name) for reference in manifest.references()] for entry, manifest in found]
    users = Counter(home for own in homes for home in own)
    return [
        TabletLine(
            entry.name,
            entry.table,
            readable(entry.start_row),
            readable(entry.end_row),
            files=len(own),
            elsewhere=sum(folder != entry.name for folder, _ in own),
            shared=sum(users[home] > 1 for home in own),
            charged_bytes=sum(reference.charged_bytes for reference in manifest.references()),
        )
        for (entry, manifest), own in zip(found, homes, strict=True)
    ]
