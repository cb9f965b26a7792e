"""The life of a tablet, out of the records of a simulated cluster, and as METADATA remembers it (BT 5.1)."""

import asyncio

import pytest

from runtime.events import sentence
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import Family, MaxVersions, Schema
from tablet.location.places import FAMILY
from tablet.location.tablet_log import KEPT_EVENTS, in_words
from tablet.master import tenure
from tabletop.tablet_lives import life_of_tablet
from tests.sim.small_tables import SCHEMA, TableCluster, play


async def made(cluster: TableCluster) -> TableClient:
    tables = cluster.table_client()
    await tables.create_table("users", SCHEMA)
    rows = [(b"row%02d" % number, [SetCell(b"f:x", b"value")]) for number in range(20)]
    assert await tables.mutate_many("users", rows) == [None] * 20
    return tables


async def remembered(tables: TableClient, tablet: str) -> list[str]:
    place = next(found for found in await tables.tablets("users") if found.tablet == tablet)
    return [in_words(event) for _, event in await MetadataRows(tables).events(place)]


def test_a_tablet_is_followed_through_the_death_of_its_server_to_its_split():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [place] = await tables.tablets("users")
        first = place.server
        await cluster.kill(first.partition("-")[0])
        assert await tables.get("users", b"row07", b"f:x") == b"value"
        [place] = await tables.tablets("users")
        second = place.server
        await asyncio.sleep(5.0)
        lower, upper = await tables.split(place.tablet, b"row10")
        await asyncio.sleep(2.0)

        records = cluster.simulation.sink.records
        life = life_of_tablet(records, place.tablet)
        words = "\n".join(sentence(record.event) for record in life.records)
        steps = (
            f"tablet {place.tablet!r} is served by {first}",
            f"took the lock of {first}",
            f"sorted the log of {first}",
            f"took over tablet {place.tablet!r}",
            f"tablet {place.tablet!r} is served by {second}",
            f"split tablet {place.tablet!r} at row",
        )
        places = [words.find(step) for step in steps]
        assert -1 not in places and places == sorted(places), words
        assert life.summary().endswith(f"is {lower.tablet} and {upper.tablet} now, after 2 loads.")
        child = life_of_tablet(records, upper.tablet)
        assert f"is served by {second}" in child.summary() and f"story tablet {place.tablet}`" in child.summary()

        found = await remembered(tables, upper.tablet)
        told = "\n".join(found)
        steps = (
            f"{place.tablet} was made (says tm1)",
            f"{place.tablet} was given to {first} under token",
            f"{place.tablet} was taken from {first} and given to {second} under token",
            f"it needs rows from the log of {first} (says tm1)",
            f"{place.tablet} is served by {second} (says tm1)",
            f"{place.tablet} was split at row 'row10' into {lower.tablet} and {upper.tablet} (says {second[:3]})",
            f"{upper.tablet} has a row of its own",
        )
        places = [told.find(step) for step in steps]
        assert -1 not in places and places == sorted(places), told
        assert (await remembered(tables, lower.tablet))[0] == (
            f"{lower.tablet} was made, and {second} has it (says {second[:3]})"
        )

    play(303, story)


def test_a_merge_is_told_from_both_ends():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [place] = await tables.tablets("users")
        lower, upper = await tables.split(place.tablet, b"row10")
        await asyncio.sleep(2.0)
        whole = await tables.merge(lower.tablet, upper.tablet)
        records = cluster.simulation.sink.records
        assert f"is {whole.tablet} now" in life_of_tablet(records, lower.tablet).summary()
        assert f"It came of {lower.tablet} and {upper.tablet}" in life_of_tablet(records, whole.tablet).summary()
        found = "\n".join(await remembered(tables, whole.tablet))
        assert f"{lower.tablet} and {upper.tablet} are about to be merged into {whole.tablet}" in found
        assert f"{lower.tablet} and {upper.tablet} were merged into {whole.tablet}" in found

    play(306, story)


def test_the_log_of_a_row_is_bounded_and_goes_with_the_row():
    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [place] = await tables.tablets("users")
        rows = MetadataRows(tables, "somebody")
        for _ in range(KEPT_EVENTS + 10):
            assert await rows.replace(place, place)
        events = await rows.events(place)
        assert len(events) == KEPT_EVENTS
        assert [moment for moment, _ in events] == sorted(moment for moment, _ in events)
        assert (await tables.tablets("users")) == [place], "a place is read as before"
        await tables.delete_table("users")
        assert await rows.events(place) == []

    play(304, story)


def test_a_metadata_table_of_an_older_program_has_no_logs_and_works(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tenure, "METADATA_SCHEMA", Schema().with_family(Family(FAMILY, MaxVersions(1))))

    async def story(cluster: TableCluster) -> None:
        tables = await made(cluster)
        [place] = await tables.tablets("users")
        await cluster.kill(place.server.partition("-")[0])
        assert await tables.get("users", b"row07", b"f:x") == b"value"

    play(305, story)
