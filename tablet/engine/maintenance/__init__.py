"""Maintenance: minor, merging and major compactions (BT 5.4).

    policies.py       which SSTables to merge: pure plans
    quarantine.py     SSTables that could not be read, which compactions leave alone
    compaction.py     the merging, in slices
    housekeeping.py   flushes and compactions as jobs: write, switch, sweep
    background.py     who does the jobs in a server, and what waiting writers are told

A job that fails leaves the tablet as it was.
"""
