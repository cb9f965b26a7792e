"""Names: files and directories by full path (GFS 2.6.1, 4.1, 4.4).

    paths.py            what a legal path is
    hidden_names.py     where deleted entries live: when, for how long, from where       4.4
    prefix_table.py     a sorted table with prefix compression: memory and checkpoint    2.6.1, 2.6.3
    namespace.py        what stands at each path, and the identity of files              2.6.1, 4.1
    namespace_locks.py  read and write locks on paths                                    4.1
    origins.py          of what each snapshot was taken, and when                        3.4
    policies.py         goals and trash times of whole trees                             4.3, 4.4

Pure data, but for the locks, which wait. Nothing here knows of chunks or servers.
"""
