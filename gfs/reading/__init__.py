"""Reading: from an offset to bytes (GFS 2.4).

pieces.py             which parts of which chunks a range of a file is
bulk_links.py         connections on which bytes flow
replicas.py           which replica to ask first, and next
lengths.py            how long a chunk is, by those who hold it
reading.py            one range, from replicas that have it
piece_stream.py       a long range, several pieces at a time
turns.py              one call at a time on one open file
read_ahead.py         what a reader asks for next, before it asks
"""
