"""Benchmarks: programs that measure and print, never assert.

Each compares things side by side in one run, in turns, since machines are shared and noisy: trust the ratios.

    python -m bench.file_system      bulk and small operations, beside the machine's limits and MooseFS where installed
                                     (`measuring.py`, `small_files.py` and `moosefs.py` are its parts)
    python -m bench.record_appends   eight clients that append to one file, beside one that writes its own
    python -m bench.tablet_engine    the tablet engine, beside LevelDB, RocksDB and others where they are installed
    python -m bench.bloom_filters    the Bloom filter policies: mistakes, size, speed, and what they add to a write
    python -m bench.hundred_tablets  one hundred tablets in one server: written, split and merged within one budget
    python -m bench.master_scale     the master's memory and restart time at 1,000,000 files
    python -m bench.rpc              small calls between two processes: plain gRPC, and carried in one stream
    python -m bench.rpc_parts        what parts of a carried call cost, beside what could stand in their place
    python -m bench.simulated_rpc    the simulated world's RPCs a second, and how many chunkservers it carries
"""
