"""`tabletop timeline`: what a cluster did, as one page for a browser, or for other tools. See cluster/timeline."""

import datetime
import re
from pathlib import Path
from typing import Annotated

import typer

from cluster.fault_log import read_faults
from cluster.looking import Recorded
from cluster.real import RealCluster
from cluster.timeline.building import timeline_of_records
from cluster.timeline.formats import ENDINGS, Format, write_timeline
from cluster.timeline.model import Timeline
from runtime.errors import IncompatibleFormat, NotFound
from runtime.events import Record
from tabletop import wording
from tabletop.console import endings, output, remark
from tabletop.options import DESK, ClusterOption

_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def timeline(
    cluster: ClusterOption = DESK,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Only what happened since: 90s, 10m, 2h, 14:30, 2026-01-31.")
    ] = "",
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Where to write it; default: timeline-CLUSTER.html here.")
    ] = "",
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="html: a page for any browser; perfetto: for ui.perfetto.dev; shiviz: for ShiViz.",
        ),
    ] = Format.HTML,
) -> None:
    """Draw what a cluster did: a lane for each node, leases and down-times as bars, causes as arrows, faults marked.

    The page is one file and needs no network: send it to others, open it in years. It is made of what the nodes have
    recorded, also of a cluster that is down. In the page, click a chunk or a file to see only its story, step with the
    arrow keys, press ? for the others. Each node keeps the last 32 MB of its records.

    \b
        tabletop timeline                       the whole cluster
        tabletop timeline --since 10m           the last ten minutes
        tabletop timeline --format perfetto --out run.json
    """
    with endings():
        real = RealCluster(cluster)
        nodes = real.settings.node_names()
        found = real.recorded(nodes)
        _say_what_is_damaged(real, found)
        records = _since(_with_faults(real, found.records), since)
        drawn = timeline_of_records(f"Cluster {cluster}", records, _facts(records, found))
        path = Path(out or f"timeline-{cluster}{ENDINGS[form]}")
        size = write_timeline(drawn, path, form)
        _tell(path, drawn, size)


def _say_what_is_damaged(real: RealCluster, found: Recorded) -> None:
    """Remark on lines that are no events. Raises IncompatibleFormat if there is nothing else, NotFound for nothing."""
    damaged = found.damaged_lines
    if not found.records and damaged:
        node = next(iter(damaged))
        raise IncompatibleFormat(
            f"the nodes of cluster {real.name!r} have recorded {sum(damaged.values())} lines, and this version of "
            f"Tabletop can read none, for example in {real.event_path(node)}; use the version that made the cluster"
        )
    if not found.records:
        raise NotFound(f"the nodes of cluster {real.name!r} have recorded nothing yet; start them with `tabletop up`")
    for node, count in damaged.items():
        remark(f"left out {count} damaged lines of {node}: its disk was full, or it was killed")


def _with_faults(real: RealCluster, records: list[Record]) -> list[Record]:
    """With what people did to the cluster. Their clock is the one on the wall, so that each stands after all that the
    nodes had recorded by then; nobody answers them."""
    faults = read_faults(real.folder.path)
    if faults.damaged_lines:
        remark(f"left out {faults.damaged_lines} damaged lines of the faults")
    merged, rest = [], list(faults.records)
    for record in records:
        while rest and rest[0].wall_microseconds <= record.wall_microseconds:
            merged.append(rest.pop(0))
        merged.append(record)
    return merged + rest


def _since(records: list[Record], when: str) -> list[Record]:
    """Those that are not older. Raises BadParameter, and NotFound if there is none."""
    if not when:
        return records
    begin = moment_of(when, datetime.datetime.now()).timestamp() * 1e6
    kept = [record for record in records if record.wall_microseconds >= begin]
    if not kept:
        last = max(record.wall_microseconds for record in records)
        raise NotFound(f"nothing was recorded since {when}; the last event is of {_time(last)}")
    return kept


def moment_of(text: str, now: datetime.datetime) -> datetime.datetime:
    """A moment as people write it: a span before now, a time of today, a date, or both. Raises BadParameter.

    >>> now = datetime.datetime(2026, 1, 31, 12, 0)
    >>> str(moment_of("90s", now)), str(moment_of("08:30", now)), str(moment_of("2026-01-30", now))
    ('2026-01-31 11:58:30', '2026-01-31 08:30:00', '2026-01-30 00:00:00')
    """
    if span := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return now - datetime.timedelta(seconds=int(span[1]) * _SPANS[span[2]])
    for read in (datetime.datetime.fromisoformat, lambda text: _today(text, now)):
        try:
            return read(text).replace(tzinfo=None)
        except ValueError:
            continue
    raise typer.BadParameter(f"{text!r} is no moment; write 90s, 10m, 2h, 14:30, or 2026-01-31T14:30")


def _today(text: str, now: datetime.datetime) -> datetime.datetime:
    return datetime.datetime.combine(now.date(), datetime.time.fromisoformat(text))


def _facts(records: list[Record], found: Recorded) -> list[str]:
    times = [record.wall_microseconds for record in records]
    facts = [f"{wording.count(len(records), 'event')} from {_time(min(times))} to {_time(max(times))}"]
    if damaged := sum(found.damaged_lines.values()):
        facts.append(f"{wording.count(damaged, 'damaged line')} left out")
    return facts


def _tell(path: Path, drawn: Timeline, size: int) -> None:
    arrows = wording.count(len(drawn.arrows), "arrow")
    events = wording.count(len(drawn.moments), "event")
    output.print(f"{path}: {events} on {len(drawn.lanes)} lanes, {arrows}, {wording.size(size)}", markup=False)


def _time(microseconds: int) -> str:
    return f"{datetime.datetime.fromtimestamp(microseconds / 1e6):%Y-%m-%d %H:%M:%S}"
