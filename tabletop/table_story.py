"""The last part of the demonstration: a Webtable, and what becomes of a scan when servers die under it (BT 2, 5.2, 6).

Pages are loaded into a table of several tablets. While they are scanned, the tablet server that has most of what is
still to come is killed, and so is the chunkserver that holds most chunks. The scan goes on by itself: other servers
take the tablets over, with what the dead one had only in memory and in its log. In the end everything is compared with
the pages. It is told in either world, as `tabletop/story.py` is.
"""

import asyncio
from collections.abc import Sequence

from cluster.interface import Cluster
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.client import TableClient
from tablet.engine.model.filters import ReadFilter
from tabletop import webtable, wording
from tabletop.story import Narrator
from tabletop.webtable import Page

TABLETS = 6


class TableStory:
    """One telling, on a cluster that serves tables."""

    def __init__(self, cluster: Cluster, tables: TableClient, pages: Sequence[Page], narrator: Narrator) -> None:
        self.checks: list[tuple[str, bool]] = []
        self._cluster = cluster
        self._tables = tables
        self._pages = {webtable.row_key(page.url): page for page in pages}
        self._narrator = narrator
        self._killed: tuple[str, str] = ("", "")

    async def tell(self) -> bool:
        """All of it; returns whether every check held."""
        await self.load()
        await self.scan_while_servers_die()
        await self.compare_links()
        return all(held for _, held in self.checks)

    async def load(self) -> None:
        """Make a table of several tablets, and load the pages."""
        self._narrator.chapter("The Webtable is loaded")
        rows = sorted(self._pages)
        bounds = sorted({rows[len(rows) * number // TABLETS] for number in range(1, TABLETS)})
        await self._tables.create_table(webtable.TABLE, webtable.SCHEMA, bounds)
        pages = list(self._pages.values())
        size, started = sum(len(page.html) for page in pages), _now()
        with self._narrator.progress("loaded", size, len(pages)) as meter:
            loaded = await webtable.load(self._tables, pages, meter)
        self._narrator.say(
            f"{wording.count(loaded.pages, 'page')}, {wording.size(size)}, and the texts of "
            f"{wording.count(loaded.anchors, 'link')}, each in the row of the page that it leads to (BT 2), in "
            f"{wording.duration(_now() - started)}."
        )
        self._narrator.table(
            ["tablet", "from row", "served by"],
            [
                [place.tablet, place.start_row.decode() or "-", _node(place)]
                for place in await self._tables.tablets(webtable.TABLE)
            ],
        )

    async def scan_while_servers_die(self) -> None:
        """Scan all pages, and kill two servers when the first page has come."""
        self._narrator.chapter("Servers die during a scan")
        wanted = ReadFilter(columns=[webtable.CONTENTS], versions=1)
        found: list[tuple[bytes, bytes]] = []
        longest_pause, before = 0.0, _now()
        async for row, cells in self._tables.scan(webtable.TABLE, wanted=wanted):
            longest_pause = max(longest_pause, _now() - before)
            found.append((row, cells[0].value))
            if len(found) == 1:
                await self._kill_two(row)
            before = _now()
        server, chunkserver = self._killed
        self._claim(
            f"the scan gave all {len(self._pages):,} pages once, in order and as they were, though {server} and "
            f"{chunkserver} died",
            found == [(row, page.html) for row, page in sorted(self._pages.items())],
        )
        takers = sorted({_node(place) for place in await self._tables.tablets(webtable.TABLE)})
        self._narrator.say(
            f"The scan's longest pause was {wording.duration(longest_pause)}: until the lock of {server} was free, its "
            f"log was sorted by row, and {' and '.join(takers)} had read what was theirs (BT 5.2, 6)."
        )

    async def _kill_two(self, row: bytes) -> None:
        """The tablet server with most of the tablets that are still to be scanned, and the fullest chunkserver."""
        places = await self._tables.tablets(webtable.TABLE)
        to_come = [_node(place) for place in places if place.start_row > row]
        server = max(sorted(set(to_come)), key=to_come.count)
        status = await self._cluster.status()
        fullest = max((found for found in status.servers if found.alive), key=lambda found: found.chunk_count)
        self._killed = server, fullest.location.server
        for node in self._killed:
            await self._cluster.kill(node)
        self._narrator.say(
            f"The first page had come when {server} was killed, which serves {to_come.count(server)} of the "
            f"{len(to_come)} tablets that were still to come, and with it {fullest.location.server}, which holds "
            f"{wording.count(fullest.chunk_count, 'chunk')} of their logs and files."
        )

    async def compare_links(self) -> None:
        """Compare the anchors of all rows with the links of the pages."""
        self._narrator.chapter("Who links where")
        expected: dict[bytes, dict[bytes, bytes]] = {}
        for page in self._pages.values():
            for target, text in webtable.anchors_of(page).items():
                expected.setdefault(target, {})[webtable.ANCHOR + page.url.encode()] = text
        found = {
            row: {cell.column: cell.value for cell in cells}
            async for row, cells in self._tables.scan(webtable.TABLE, wanted=ReadFilter(families=["anchor"]))
        }
        self._claim(
            f"the links to {len(expected):,} pages are in their rows, {sum(map(len, expected.values())):,} in all, and "
            f"equal the source's",
            found == expected,
        )
        most = max(expected, key=lambda row: (len(expected[row]), row))
        self._narrator.say(
            f"Most links, {len(found.get(most, {})):,}, lead to {webtable.url_of(most)}: one row says from where. The "
            f"page itself {'is in the table.' if most in self._pages else 'was never fetched.'}"
        )

    def _claim(self, claim: str, held: bool) -> None:
        self.checks.append((claim, held))
        self._narrator.check(claim, held)


def _node(place: TabletPlace) -> str:
    """The node of the server that a tablet was given to."""
    return place.server.rpartition("-")[0] or "nobody"


def _now() -> float:
    return asyncio.get_running_loop().time()
