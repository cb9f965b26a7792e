"""Records in a file to which many clients append: what a reader can rely on, and what not (GFS 2.7.2, 3.3).

The problem. Record append writes a record at least once. Between the records there may be padding, what failed tries
have left, and whole records that are there twice. A reader must find the records in that, and nothing else.

The idea is the paper's. A record is *self-validating*: it begins with a mark, and has its length and a checksum, so
that what is none is passed over. And it is *self-identifying*: it has the number of its writer, and a number that this
writer has given to no other record, so that the second copy of a record is recognised.

       a file of two chunks, as one replica has it

    0                                                             one chunk
    | record A.1 | record B.1 | 0 0 0 0 0 | record B.1 | record A.2 | 0 0 0 0 0 0 |
                                a try that  the same                  padding: A.3
                                failed here record again              did not fit

    | record A.3 | record B.2 | ...

       a reader gets        A.1  B.1  A.2  A.3  B.2

       a record

    | magic (4) | length (4) | CRC32C (4) | writer (8) | sequence (8) | payload |

    frames.py        one record as bytes                                                          (bottom)
    scanning.py      the records in a stream of bytes: what is no record is passed over
    duplicates.py    which records have been seen
    writer.py        gives records their numbers, and appends them
    reader.py        reads the records of a file, to its end or for ever                             (top)

    writer = RecordWriter(client, "/log")
    appended = await writer.append(b"hello")
    async for record in RecordReader(client, "/log").records():
        print(record.offset, record.payload)

What is promised. A record whose `append` returned is read by everybody who begins to read after that, once, with the
payload that was given. The records of one writer that appends one after the other are read in their order. Of a record
whose `append` failed with an indefinite error, nobody knows whether it is read.

What we simplify. (1) A reader may see a record whose append has failed, on a replica that has it; if the chunk then
goes on without that replica, a later reader does not see it, and a reader that follows the file may pass over a record
that took its place. One that begins anew finds it. The paper promises no more (2.7.1). (2) A payload that holds whole
records of this format is read as those records, if only a part of the record around them is there. (3) A reader
remembers a little of every writer that it has met.
"""

from gfs.records.frames import Record, encode_record
from gfs.records.reader import RecordReader
from gfs.records.scanning import Scanner
from gfs.records.writer import Appended, RecordWriter

__all__ = ["Appended", "Record", "RecordReader", "RecordWriter", "Scanner", "encode_record"]
