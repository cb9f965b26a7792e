"""Bloom filters: does this SSTable hold anything for this row, or this row and column? (BT 6)

    policy.py    what a policy is, as LevelDB's FilterPolicy: it makes filters of keys, and reads them back
    sliced.py    the policy "pybloom-live": the library's filters, fewest bits
    blocked.py   the policy "blocked": one 64-bit word a key, fewest steps
    named.py     the policies by the names that schemas and files give them

A read must ask every SSTable of the tablet. Most hold nothing for the row, and finding that out costs a block each. A
Bloom filter answers "certainly not" or "perhaps" from a few bits in memory.
"""
