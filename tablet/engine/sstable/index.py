"""The index of an SSTable, taken apart: where the blocks and filters end, and which rows end the blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.errors import Corrupted, TabletopError
from tablet.engine.sstable.format import FOOTER_BYTES, INDEX_HEADER, Footer, unpack_numbers


@dataclass(slots=True)
class Index:
    """For each block where it ends, its last row, the column at which that row goes on in the next block (empty if it
    does not), and the length and CRC32C of its head (0 if it is not readable in parts). For each filter where it ends,
    and the first block that it does not cover."""

    block_ends: Sequence[int]
    last_rows: list[bytes]
    next_columns: list[bytes]
    head_bytes: Sequence[int]
    head_checksums: Sequence[int]
    filter_offsets: Sequence[int]
    filter_ends: Sequence[int]

    def parts(self, footer: Footer, file_bytes: int) -> list[tuple[str, int, int]]:
        """What stands after the data blocks: (what, offset, stored bytes)."""
        bounds = pairwise([self.block_ends[-1], *self.filter_offsets])
        parts = [(f"filter {number}", start, end - start) for number, (start, end) in enumerate(bounds)]
        parts.append(("index", footer.index_offset, footer.index_bytes))
        parts.append(("properties", footer.properties_offset, footer.properties_bytes))
        parts.append(("footer", file_bytes - FOOTER_BYTES, FOOTER_BYTES))
        return parts


def decode_index(data: bytes, name: str, footer: Footer) -> Index:
    """Take the body of an index apart. Raises Corrupted."""
    try:
        count, filters = INDEX_HEADER.unpack_from(data)
        position = INDEX_HEADER.size
        block_ends = unpack_numbers("Q", data[position : (position := position + 8 * count)])
        row_ends = unpack_numbers("I", data[position : (position := position + 4 * count)])
        column_ends = unpack_numbers("I", data[position : (position := position + 4 * count)])
        filter_offsets = unpack_numbers("Q", data[position : (position := position + 8 * filters)])
        filter_ends = unpack_numbers("I", data[position : (position := position + 4 * filters)])
        head_bytes = unpack_numbers("I", data[position : (position := position + 4 * count)])
        head_checksums = unpack_numbers("I", data[position : (position := position + 4 * count)])
        last_rows = _cut(data, position, row_ends)
        next_columns = _cut(data, position + row_ends[-1], column_ends)
        rising = [*block_ends, *filter_offsets, footer.index_offset]
        if position + row_ends[-1] + column_ends[-1] != len(data) or rising != sorted(rising):
            raise ValueError("its lengths do not add up")
        if filters and filter_ends[-1] != count:
            raise ValueError("the filters do not cover all blocks")
    except TabletopError:
        raise
    except Exception as error:
        raise Corrupted(f"{name}: its index cannot be read ({error}); restore the file from a copy") from error
    return Index(block_ends, last_rows, next_columns, head_bytes, head_checksums, filter_offsets, filter_ends)


def _cut(data: bytes, start: int, ends: Sequence[int]) -> list[bytes]:
    if not ends[-1]:
        return [b""] * len(ends)
    return [data[start + low : start + high] for low, high in zip([0, *ends], ends, strict=False)]
