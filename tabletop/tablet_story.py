"""`tabletop story tablet`: the life of one tablet, from the records of all nodes and from METADATA (BT 5.1)."""

import asyncio
import datetime
from collections.abc import Sequence

from cluster.real import RealCluster
from runtime.errors import NotFound, TabletopError, shown
from runtime.events import Record
from runtime.wire.tables_pb2 import TabletEvent
from tablet.client.metadata import MetadataRows
from tablet.client.settings import TableClientSettings
from tablet.location.places import ROOT_TABLET
from tablet.location.tablet_log import in_words
from tabletop.console import output, remark
from tabletop.lives import told
from tabletop.tablet_lives import life_of_tablet

_PATIENCE = TableClientSettings(call_seconds=1.0, patience_seconds=3.0)


def tell_tablet(cluster: RealCluster, records: Sequence[Record], tablet: str) -> None:
    """Print what the nodes have recorded of a tablet, and what METADATA remembers. Raises NotFound."""
    life = life_of_tablet(records, tablet)
    events = asyncio.run(_remembered(cluster, tablet))
    if not life.records and not events:
        raise NotFound(f"nobody has recorded anything of tablet {shown(tablet)}; see `tabletop table tablets`")
    for line in [*told(life.records), life.summary()]:
        output.print(line, markup=False)
    if events:
        output.print("\nWhat METADATA remembers of its row:", markup=False)
    for microseconds, event in events:
        time = datetime.datetime.fromtimestamp(microseconds / 1e6)
        output.print(f"{time:%Y-%m-%d %H:%M:%S}.{microseconds // 1000 % 1000:03d}  {in_words(event)}", markup=False)


async def _remembered(cluster: RealCluster, tablet: str) -> list[tuple[int, TabletEvent]]:
    """The log of the tablet's METADATA row; empty if there is none, or nobody serves it now."""
    if tablet == ROOT_TABLET or cluster.is_down() or not cluster.settings.tablet_servers:
        return []
    tables = cluster.table_client(_PATIENCE)
    try:
        places = await tables.tablets(tablet.rpartition("-")[0])
        place = next((found for found in places if found.tablet == tablet), None)
        return [] if place is None else await MetadataRows(tables).events(place)
    except NotFound:
        return []
    except TabletopError as error:
        remark(f"METADATA does not tell what it remembers: {error.message}")
        return []
    finally:
        await tables.close()
        await cluster.close()
