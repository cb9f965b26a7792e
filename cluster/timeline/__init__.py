"""A run as a picture: one HTML page that works offline, or a file for Perfetto or ShiViz.

The problem. What a distributed system did is in many logs, each of which tells one side. A student who reads them one
after the other does not see that the lease ran out *while* the message was under way. The idea is the space-time
diagram of Lamport ("Time, Clocks, and the Ordering of Events", 1978): a lane for each node, time from left to right,
messages as arrows. To it we add what a GFS is about: who held which lease when (GFS 3.1), which node was down, which
fault struck.

From the events of either world a pure model is made, and from the model what people look at:

    model.py      what is drawn: lanes, moments, arrows, bars, findings
    subjects.py   which chunks, files and tablets an event is about: the story of one of them
    tones.py      which events tell of trouble
    bars.py       leases, down-times and pauses, from pairs of events
    tablets.py    who served which tablet, and the lives of tablet servers        timed.py   a record at its place
    arrows.py     who caused what, where no message was seen: from cause ids and Lamport clocks
    messages.py   the messages of a simulation, which sees all of them
    building.py   the model of a real cluster, or the common part of a simulated one
    clocks.py     vector clocks
    page.py       the page: what is in web/, with the model as JSON
    perfetto.py   Chrome's trace-event format           shiviz.py   ShiViz's log format
    writing.py    a file that is whole or not there

What arrows mean. In a simulation all messages are known, with their fates. In a real cluster nobody sees the messages:
an arrow joins two records of which one certainly answers the other (a lease received and a lease granted, of one
version), or two records of one piece of work, in the order of their Lamport clocks; the page draws these dashed.

What we simplify. Real nodes stand at the times of their own clocks: on one machine that is one clock. A node that was
killed by something that nobody recorded is down from its last record on, or from when its master last heard of it.
"""
