"""The commit log: what was promised, before it is anywhere else (BT 5.3).

    records.py        the header of a log, and mutations that were logged together
    commit_log.py     one segment of a log being written
    replay.py         reading logs back: a tail is dropped, damage is refused
    segment_list.py   where a server's segments are named, and an owner finds out that it is one no more
    sorted_log.py     a log sorted by tablet, for those who take over a server's tablets (BT 6)
    server_log.py     the line of segments: begun, named, dropped when no tablet needs them

The frames are those of `runtime/record_log.py`, which also tells the first half of how a tail is told from damage.
"""
