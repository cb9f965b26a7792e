"""Bytes that say which operation wrote them, and where.

A file of a torture run is made of lines of 64 bytes. Each names its writer, the number of the operation and the place
in the file, so that a byte that should not be there tells where it comes from. The rest of a line is a digest of the
operation's name: nearly every byte differs between two operations.

>>> stamped("ann", 7, 62, 12)
b'8\\nann op 000'
>>> owner_of(stamped("ann", 7, 0, 640), 200)
'ann op 00000007 at 192'
"""

import hashlib

LINE_BYTES = 64


def stamped(client: str, number: int, offset: int, count: int) -> bytes:
    """The `count` bytes that this operation of this client writes at `offset`."""
    first, last = offset // LINE_BYTES, (offset + count + LINE_BYTES - 1) // LINE_BYTES
    name = f"{client} op {number:08}"
    rest = hashlib.blake2b(name.encode("ascii"), digest_size=LINE_BYTES // 2).hexdigest()
    labels = (f"{name} at {line * LINE_BYTES} " for line in range(first, last))
    text = "".join(f"{label}{rest[len(label) : LINE_BYTES - 1]}\n" for label in labels).encode("ascii")
    skipped = offset - first * LINE_BYTES
    return text[skipped : skipped + count]


def owner_of(content: bytes, position: int) -> str:
    """Which operation wrote the byte at this position of a file, in words."""
    begin = position - position % LINE_BYTES
    line = content[begin : begin + LINE_BYTES]
    if not line.strip(b"\0"):
        return "zeros"
    text = line.decode("ascii", errors="backslashreplace").rstrip("\n")
    return text.rpartition(" ")[0] or text
