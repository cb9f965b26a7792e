r"""A timeline as a log for ShiViz (https://bestchai.bitbucket.io/shiviz/): a space-time diagram by vector clocks.

ShiViz reads a text with a regular expression that names `event`, `host` and `clock`. We write two lines for each
moment, as its default expression wants them; a file begins with the expression, and an empty line where several runs
would be told apart:

    (?<event>.*)\n(?<host>\S*) (?<clock>{.*})

    +0.113 s FileCreated: created /a with replication goal 3
    master {"master":4,"cs1":2}

Its rules: a host's own clock counts its lines from 1 without a gap, and every entry of a clock names a line that
exists. Messages have no lines here; what they told shows in the clocks. In a real cluster clocks follow what was
inferred (arrows.py): ShiViz then draws what certainly came before, and the course of each piece of work.
"""

import json
from collections.abc import Iterator

from cluster.timeline.clocks import vector_clocks
from cluster.timeline.model import Timeline

EXPRESSION = r"(?<event>.*)\n(?<host>\S*) (?<clock>{.*})"


def shiviz_of(timeline: Timeline) -> Iterator[str]:
    """The parts of the file, to be written one after the other."""
    yield f"{EXPRESSION}\n\n"
    hosts = [lane.replace(" ", "_") for lane in timeline.lanes]
    for place, clock in vector_clocks(timeline.steps, len(hosts)):
        moment = timeline.moments[place]
        known = {hosts[lane]: count for lane, count in enumerate(clock) if count}
        since = (moment.time - timeline.begin) / 1e6
        text = " ".join(f"+{since:.6f} s {moment.kind}: {moment.text}".split())
        yield f"{text}\n{hosts[moment.lane]} {json.dumps(known, separators=(',', ':'))}\n"
