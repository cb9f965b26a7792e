"""Tables without frames, that read well in a terminal and in a pipe."""

from rich.table import Table
from rich.text import Text

from tabletop.console import output

FOLDED_WIDTH = 12
"""A column of texts is never folded to less."""

COLUMN_GAP = 2


def plain_table(*columns: str, folding: tuple[str, ...] = ("NOTE",)) -> Table:
    """A table without frames, that reads well in a pipe too. `folding`: texts that are broken where room is scarce."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = column.header not in folding
        column.overflow = "ellipsis" if column.no_wrap else "fold"
    return table


def print_table(table: Table) -> None:
    """Print a table so that every figure can be read: where it does not fit, texts are folded; then it goes on beyond
    the edge of the terminal."""
    least = _least_width(table)
    table.width = least if least > output.width else None
    output.print(table)


def _least_width(table: Table) -> int:
    widths = []
    for column in table.columns:
        cells = [Text.from_markup(str(cell)).cell_len for cell in (column.header, *column.cells)]
        widths.append(max(cells) if column.no_wrap else min(max(cells), max(cells[0], FOLDED_WIDTH)))
    return sum(widths) + COLUMN_GAP * (len(widths) - 1)
