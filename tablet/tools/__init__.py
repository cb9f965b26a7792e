"""Tools that look at a tablet from outside and change nothing. `tabletop tablet` prints what they find.

    read_only.py      storage that can only read; a folder at one moment, beside a running engine too
    inspection.py     the tree: files, ranges, filters, amplification
    dumping.py        a file part by part
    verification.py   every byte of every file
    values.py         a message as plain values, for JSON and for people

A tool takes no lock. It opens all files of one listing first, and reads them to the end that they had then.
"""
