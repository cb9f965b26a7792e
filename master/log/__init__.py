"""The log: all that a crash must not take, and how it comes back (GFS 2.6.3, 5.1.1).

    records.py          what the operation log says
    requests.py         the answers to requests that clients may repeat
    state.py            all persistent state, changed by records and by nothing else
    checkpoint.py       the state as a file
    log_files.py        how the files of the log are named
    recovery.py         newest checkpoint, then the log after it
    operation_log.py    commit, checkpoints, recovery
    reserve.py          space that is kept back, so that a full disk keeps no master from starting or deleting

A change is a record first; it is applied by the same code that replays the log.
"""
