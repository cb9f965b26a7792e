"""Snapshots: whose copy a file is, and what it holds (GFS 3.4).

The problem. A snapshot creates files that no operation wrote, and each of them must hold exactly what was acknowledged
before. The idea: a copy is a file of its own, named by its source and by the operation that took the snapshot. Its
history begins with that of its source up to the *moment* of the snapshot: when the master had ended all writing below
the source, which it records before it logs anything. For the copy,

    acknowledged before the moment       is certain, and covers what was over before it, as in the source
    under way or in doubt at the moment  may be in it or not, and is over at the moment
    asked for after the moment           is never seen in it

So what is read from a snapshot never changes, unless somebody writes to it; and what is written to the source later is
never in it. The same goes for records, lengths and replication goals.
"""

import dataclasses
from collections.abc import Iterable

from cluster.swarm.appends import Append
from cluster.swarm.contents import FileHistory, Write
from cluster.swarm.copies import Copy
from cluster.swarm.history import Answer


def inherit(files: dict[int, FileHistory], copies: Iterable[Copy]) -> None:
    """Give copies what their sources held; the histories of all files hold their own writes already."""
    for copy in sorted(copies, key=lambda one: one.moment):
        source = files.get(copy.source)
        if source is None or copy.file not in files:
            continue
        writes = [_inherited(write, copy.moment) for write in source.writes if write.invoked < copy.moment]
        files[copy.file].writes[:0] = writes
        appends = [_inherited_append(one, copy.moment) for one in source.appends if one.invoked < copy.moment]
        files[copy.file].appends[:0] = appends
        files[copy.file].chunk_bytes = files[copy.file].chunk_bytes or source.chunk_bytes


def _inherited(write: Write, moment: float) -> Write:
    """A write of the source, as the copy has it."""
    if write.answer is Answer.REFUSED:
        return write
    is_certain = write.answer is Answer.VALUE and write.responded < moment
    answer = Answer.VALUE if is_certain else Answer.DOUBTFUL
    return dataclasses.replace(write, answer=answer, over_at=min(write.over, moment), is_inherited=True)


def _inherited_append(append: Append, moment: float) -> Append:
    if append.answer is Answer.VALUE and append.responded >= moment:
        return dataclasses.replace(append, answer=Answer.DOUBTFUL)
    return append
