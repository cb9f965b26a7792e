"""The swarm of the tablet engine: several tablets on one log, random work under random faults, and a judge of each row.

It is a sibling of the file system's swarm, and shares with it whatever does not depend on what is stored: plans and
faults as data, the search for an order, shrinking, sweeps, stories, the command (`./scripts/swarm --engine`).

The cluster is one node: a tablet server without a network, with a log and some tablets. Callers write, read, scan,
delete, count, compare and set; some give up in the middle of a call. The node is killed, loses power, is stopped in
good order; its disk is full, slow, fails, rots; its clock jumps. After a death the same log is opened again, or, as if
another server took the tablets over, the log is sorted and the tablets are opened with a new one (BT 6). In some seeds
each of the tablets is a table, which callers split into tablets and merge again (BT 5.2).

    plan.py      a run as data                       history.py   what was asked and answered
    workload.py  drawing the work of a seed          mischief.py  drawing its faults
    host.py      the node: its log, its tablets      player.py    one caller
    rows.py      a row as a model                    judging.py   is there an order that explains every answer?
    table.py     a table that is split and merged
    run.py       one seed from begin to verdict      marks.py     rare states that were reached
    bugs.py      planted bugs

What is promised, and so judged: each row is linearizable (BT 3: operations on one row are atomic); what was
acknowledged survives kills always, and power cuts with `sync="fsync"`; with "os" a power cut takes at most what came
after the last explicit sync; a definite error means that nothing happened; a damaged file is told of, and never
believed; once everything is healed, everything can be read, and nothing lies about that nobody needs.

What we simplify. Columns have one version each, written at the server's time: what old versions and timestamps of one's
own mean is the business of the model test.
"""
