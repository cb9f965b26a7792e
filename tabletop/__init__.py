"""What people run: the command `tabletop`.

    main.py, __main__.py  where the command begins             application.py    all commands, put together
    cluster_commands.py   up, down, ps, status, log            timeline_command.py    timeline, over cluster/timeline
    file_commands.py      fs …                                 copying.py        what goes where in put and get
    file_reading.py       fs cat, head, tail, count, …         setrep_command.py    fs setrep
    record_commands.py    fs append, fs tail --records
    admin_commands.py     admin scrub, admin compare           waiting.py        what a command waits for, and how long
    fault_commands.py     fault …                              transfer.py       moving trees, many files at once
    tablet_commands.py    tablet …                             tablet_rows.py       tablet get, tablet scan
    tablet_catalogue.py   tablet list
    table_commands.py     table …                              table_row_commands.py    table get, scan, count
    table_line_commands.py    table import, table export       table_lines.py    how rows are written as lines
    webtable_commands.py  table webtable …                     webtable.py       the paper's example, on real pages
    compaction_simulator.py   what tablet simulate compares
    demo.py               demo                                 story.py          what it tells, in either world
    table_story.py        the demonstration's part about tables
    torture.py            torture, over cluster/torture
    console.py            output, errors, exit codes, Ctrl-C   options.py        options that commands share
    progress.py           how far long work has come           sources.py        trees to be stored
    wording.py            numbers and times in words

A command looks at what is now: nothing that was noted at an earlier time is reported as the state of the cluster.
"""
