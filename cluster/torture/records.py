"""The file to which all clients of a torture run append records, and what each of them was told (GFS 3.3).

Nobody knows beforehand where a record goes, so that this file has no model of its bytes. What holds for each client is
what was promised: an acknowledged record is at its offset, whole, and is read once, in the order of its writer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gfs.records import Appended, Record, encode_record
from gfs.records.frames import HEADER_BYTES
from runtime.settings import RECORD_SHARE

RECORDS = "/records"


def most_payload_bytes(chunk_bytes: int) -> int:
    """How large a record may be without its header."""
    return chunk_bytes // RECORD_SHARE - HEADER_BYTES


@dataclass(slots=True)
class Ledger:
    """What one writer appended, by the numbers of its records, and where it was told that they are."""

    writer: int
    payloads: list[bytes] = field(default_factory=list)  # The first one has the number 1.
    told: dict[int, int] = field(default_factory=dict)  # Offsets of acknowledged records.
    refused: set[int] = field(default_factory=set)

    def begin(self, payload: bytes) -> int:
        """A record is about to be appended; returns its number."""
        self.payloads.append(payload)
        return len(self.payloads)

    def acknowledge(self, appended: Appended) -> None:
        """The writer was told where the record is."""
        self.told[appended.sequence] = appended.offset


def complaints(ledgers: Sequence[Ledger], content: bytes, found: Sequence[Record]) -> list[str]:
    """What is wrong with the file's bytes, and with the records that a reader found in them."""
    wrong, known = [], {ledger.writer: ledger for ledger in ledgers}
    read: dict[int, list[int]] = {ledger.writer: [] for ledger in ledgers}
    for record in found:
        ledger = known.get(record.writer)
        if ledger is None or not 0 < record.sequence <= len(ledger.payloads) or record.sequence in ledger.refused:
            wrong.append(f"record {record.sequence} of writer {record.writer:#x} at {record.offset} was never sent")
        elif record.payload != ledger.payloads[record.sequence - 1]:
            wrong.append(
                f"record {record.sequence} of writer {record.writer:#x} at {record.offset} has another payload"
            )
        elif record.sequence in ledger.told:
            read[record.writer].append(record.sequence)
    for ledger in ledgers:
        name = f"writer {ledger.writer:#x}"
        for number, offset in ledger.told.items():
            frame = encode_record(ledger.payloads[number - 1], writer=ledger.writer, sequence=number)
            if content[offset : offset + len(frame)] != frame:
                wrong.append(f"the acknowledged record {number} of {name} is not at {offset}")
        if read[ledger.writer] != sorted(ledger.told):
            wrong.append(f"{name} was told of {len(ledger.told)} records, and a reader gets {read[ledger.writer]}")
    return wrong
