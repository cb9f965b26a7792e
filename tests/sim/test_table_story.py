"""The last part of the demonstration, in virtual time: a Webtable outlives a tablet server and a chunkserver."""

import random

import pytest

from tabletop.table_story import TableStory
from tabletop.webtable import Page
from tests.sim.small_tables import TableCluster, play
from tests.sim.test_demo_story import WritingNarrator


def some_pages(seed: int) -> list[Page]:
    """Pages of several hosts that link to each other, and to one that nobody has."""
    chance = random.Random(seed)
    urls = [f"h{number % 5}.example/{number}.html" for number in range(40)]
    pages = []
    for number, url in enumerate(urls):
        links = [f'<a href="http://{target}">to {target}</a>' for target in [*chance.sample(urls, 3), "x.org/"]]
        html = "".join(links).encode() + chance.randbytes(chance.randrange(3000))
        pages.append(Page(url, html, number))
    return pages


@pytest.mark.parametrize("seed", range(3))
def test_every_claim_about_the_webtable_holds(seed: int):
    narrator = WritingNarrator()

    async def story(cluster: TableCluster) -> bool:
        return await TableStory(cluster, cluster.table_client(), some_pages(seed), narrator).tell()

    assert play(seed, story, chunkservers=4), "\n".join(narrator.lines)
    assert sum(line.startswith("yes: ") for line in narrator.lines) == 2
