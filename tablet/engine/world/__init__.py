"""What an engine is given, and what it reports: the ground floor.

storage.py   the little that is asked of a file system: a folder of the local disk, or GFS
names.py     the names of a tablet's files
small_files.py   a file that holds one message: manifest, catalogue, ...
options.py   settings, and the part of a world that an engine needs: clock, events, tasks
eventual.py  answers that are there at once, or once something has been read
events.py    begin and end of every piece of work, and what a recovery found
"""
