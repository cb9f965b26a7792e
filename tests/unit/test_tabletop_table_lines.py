"""Rows as lines of text, and back; what is wrong in a line."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import InvalidRequest
from tablet.engine.model.operations import SetCell
from tablet.engine.model.rows import Cell
from tabletop.table_lines import CSV_FIELDS, from_csv, from_json, to_csv, to_json

keys = st.binary(min_size=1, max_size=8) | st.text(min_size=1, max_size=8).map(
    lambda text: text.encode("utf-8", "replace")
)
cells = st.builds(
    Cell,
    st.one_of(st.just(b"f:"), keys.map(lambda name: b"f:" + name)),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=20) | st.sampled_from([b"", b"a,b", b'"', b"\r", b"\n", b"\r\n", "größe".encode(), b" \x00 "]),
)
rows = st.lists(st.tuples(keys, st.lists(cells, min_size=1, max_size=4)), max_size=5, unique_by=lambda row: row[0])


def written(found: list[tuple[bytes, list[Cell]]]) -> list[tuple[bytes, list[SetCell]]]:
    return [(row, [SetCell(cell.column, cell.value, cell.timestamp) for cell in its_cells]) for row, its_cells in found]


@settings(max_examples=150, deadline=None)
@given(rows)
def test_json_lines_keep_every_byte_and_every_timestamp(found):
    file = io.StringIO("".join(to_json(*row) for row in found), newline="")
    assert [(line.row, line.cells) for line in from_json(file, "x")] == written(found)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_csv_keeps_every_byte_and_every_timestamp(found):
    file = io.StringIO(newline="")
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(CSV_FIELDS)
    for row in found:
        lines.writerows(to_csv(*row))
    file.seek(0)
    assert [(line.row, line.cells) for line in from_csv(file, "x")] == written(found)


def test_a_csv_of_rows_has_a_column_for_each_field_and_empty_ones_are_no_cells():
    lines = list(from_csv(io.StringIO("name,f:x,f:y\na,1,\nb,,2\n"), "x"))
    assert [(line.number, line.row, line.cells) for line in lines] == [
        (2, b"a", [SetCell("f:x", "1")]),
        (3, b"b", [SetCell("f:y", "2")]),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", 'line 1: found {}; expected an object with "row"'),
        ('\n{"row": "a", "cells": [}', "line 2: found"),
        ('{"row": "a", "cells": []}', "expected at least one"),
        ('{"row": "a", "cells": [{"column": "f:x"}]}', "expected a cell, with"),
        ('{"row": "a", "cells": [{"column": "f:x", "value": 5}]}', "found 5; expected the value as a text or as"),
        ('{"row": "a", "cells": [{"column": "f:x", "value": {"base64": "/w="}}]}', "base64"),
        ('{"row": "\\ud800", "cells": [{"column": "f:x", "value": ""}]}', "expected the row as UTF-8"),
        ('{"row": "a", "cells": [{"column": "f:x", "value": "", "timestamp": 1.5}]}', "found the timestamp 1.5"),
        ('{"row": "a", "cells": [{"column": "f:x", "value": "", "timestamp": 9223372036854775808}]}', "64 bits"),
        ('{"row": "", "cells": [{"column": "f:x", "value": ""}]}', "line 1: the row key is empty"),
        ('{"row": "a", "cells": [{"column": "x", "value": ""}]}', "write it as family:qualifier"),
        ("\udcff", "line 1: found"),
    ],
)
def test_a_wrong_line_of_json_is_named_with_what_was_found_and_expected(text: str, told: str):
    with pytest.raises(InvalidRequest) as caught:
        list(from_json(io.StringIO(text), "rows.jsonl"))
    assert "rows.jsonl, line" in caught.value.message and told in caught.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: found nothing; expected row,column,timestamp,value,base64"),
        ("row,name\n", "line 1: found row,name; expected"),
        ("row,column,timestamp,value\na,f:x,1\n", "line 2: found 3 fields; expected the 4 of the first line"),
        ('row,column,timestamp,value\na,f:x,1,"x\ny"\na,f:x,now,1\n', "line 4: found the timestamp 'now'"),
        ("row,column,timestamp,value,base64\na,f:x,1,?,value\n", "line 2: found"),
        ("row,column,timestamp,value,base64\na,f:x,1,1,all\n", "found base64 'all'; expected some of row column value"),
        ("row,f:x\na,\n", "line 2: found no value"),
        ('row,f:x\na,"1\n', "line 2: found unexpected end of data"),
    ],
)
def test_a_wrong_line_of_csv_is_named_with_what_was_found_and_expected(text: str, told: str):
    with pytest.raises(InvalidRequest) as caught:
        list(from_csv(io.StringIO(text, newline=""), "rows.csv"))
    assert caught.value.message.startswith("rows.csv, line") and told in caught.value.message
