"""Rows from lines into a table of a simulated cluster: all of them, or with a word about what is in."""

import io

import pytest

from runtime.errors import NotFound
from tablet.client.client import TableClient
from tabletop.progress import SilentMeter
from tabletop.table_line_commands import write_lines
from tabletop.table_lines import from_csv
from tests.sim.small_tables import SCHEMA, TableCluster, play


def test_rows_are_written_in_batches_and_counted():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        text = "row,f:x\n" + "".join(f"row{number},{number}\n" for number in range(2500))
        meter = SilentMeter()
        await write_lines(tables, "users", from_csv(io.StringIO(text), "x"), meter, "x")
        assert meter.files_done == 2500
        assert len([key async for key, _ in tables.scan("users")]) == 2500

    play(1, story)


def test_a_row_that_fails_is_named_and_so_is_what_is_in():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        lines = [*from_csv(io.StringIO("row,f:x\na,1\nb,2\n"), "x"), *from_csv(io.StringIO("row,g:x\nc,3\n"), "x")]
        with pytest.raises(NotFound) as caught:
            await write_lines(tables, "users", iter(lines), SilentMeter(), "x.csv")
        assert caught.value.definite and "row 'c' was not written" in caught.value.message
        assert "2 rows are in the table and 1 failed" in caught.value.message

    play(2, story)


async def made(cluster: TableCluster) -> TableClient:
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA, [b"m"])
    return tables
