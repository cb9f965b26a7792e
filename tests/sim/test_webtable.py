"""The Webtable in a simulated cluster: sites, versions and back links, of pages that change (BT 2, Figure 1)."""

from pathlib import Path

import pytest

from runtime.errors import NotADirectory, NotFound
from tabletop import webtable
from tabletop.progress import SilentMeter
from tabletop.webtable import Loaded, Page
from tests.sim.small_tables import TableCluster, play

NEWS = Page(
    "news.example/index.html", b'<title>News</title><a href="//www.cnn.example/">CNN</a><a href="a.html">a</a>', 5
)
LOOK = Page(
    "my.look.example/", b'<a href="http://www.cnn.example/#top">CNN\n .com</a> <a href="http://www.cnn.example/">', 8
)
CNN = Page("www.cnn.example/", b"<html><title> C \n N N</title>", 3)
MONEY = Page("money.cnn.example/x", b"<html>", 3)
OTHER = Page("cnn2.example/", b"<html>", 3)
PAGES = [NEWS, LOOK, CNN, MONEY, OTHER]


def test_a_site_is_one_scan_in_the_order_of_reversed_hosts():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        loaded = await webtable.load(tables, PAGES, SilentMeter())
        assert loaded == Loaded(new=5, anchors=3)
        assert [url async for url, _ in webtable.site(tables, "CNN.example")] == [MONEY.url, CNN.url]
        assert [url async for url, _ in webtable.site(tables, "example")] == [
            MONEY.url,
            CNN.url,
            OTHER.url,
            LOOK.url,
            NEWS.url,
        ]
        assert [html async for _, html in webtable.site(tables, "www.cnn.example")] == [CNN.html]

    play(1, story)


def test_who_links_to_a_page_is_in_its_row_and_follows_the_pages():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        await webtable.load(tables, PAGES, SilentMeter())
        assert await webtable.links(tables, "http://www.cnn.example") == [(LOOK.url, "CNN .com"), (NEWS.url, "CNN")]
        assert await webtable.links(tables, "news.example/a.html") == [(NEWS.url, "a")], "which nobody has fetched"
        assert [url async for url, _ in webtable.site(tables, "news.example")] == [NEWS.url]
        later = NEWS._replace(html=b'<a href="a.html">A</a>', fetched=9)
        assert await webtable.load(tables, [later, CNN], SilentMeter()) == Loaded(changed=1, unchanged=1, anchors=1)
        assert await webtable.links(tables, "www.cnn.example/") == [(LOOK.url, "CNN .com")]
        assert await webtable.links(tables, "news.example/a.html") == [(NEWS.url, "A")]
        await webtable.load(tables, [NEWS._replace(fetched=10)], SilentMeter())
        assert len(await webtable.links(tables, "www.cnn.example/")) == 2, "what was deleted may come again"

    play(2, story)


def test_the_last_three_versions_of_a_page_are_kept():
    async def story(cluster: TableCluster) -> None:
        tables = cluster.table_client()
        for moment in (3, 4, 5, 6):
            await webtable.load(tables, [CNN._replace(html=b"%d" % moment, fetched=moment)], SilentMeter())
        assert await webtable.versions(tables, CNN.url) == [(6, b"6"), (5, b"5"), (4, b"4")]
        with pytest.raises(NotFound):
            await webtable.versions(tables, "nobody.example")

    play(3, story)


def test_pages_of_a_folder_are_on_one_host_or_on_those_that_the_folder_names(tmp_path: Path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x.HTML").write_text("1")
    (tmp_path / "a b" / "x.css").write_text("2")
    assert [url for url, _ in webtable.pages_in(tmp_path, "h.example")] == ["h.example/a%20b/x.HTML"]
    (tmp_path / "a b").rename(tmp_path / "www.cnn.com")
    [page] = webtable.read_pages(webtable.pages_in(tmp_path, "h.example"))
    assert (page.url, page.html) == ("www.cnn.com/x.HTML", b"1")
    with pytest.raises(NotFound):
        webtable.pages_in(Path(__file__).parent, "h.example")
    with pytest.raises(NotADirectory):
        webtable.pages_in(Path(__file__), "h.example")


def test_pages_that_no_browser_would_like_are_read_as_far_as_possible():
    assert webtable.parsed(b"<title>a<title>b</title><a href=x>1<a href=y>2").links == [("x", "1"), ("y", "2")]
    assert webtable.parsed(b"\xff<![x[<!doctype [<a name=x>").links == []
    assert webtable.anchors_of(Page("a/b", b"<a href='http://[x'>1</a><a href='ftp://a/x'>2</a>", 0)) == {}


def test_pydoc_writes_pages_with_links_between_them_on_every_machine():
    pages = list(webtable.python_pages(["json"]))
    assert {page.url for page in pages} >= {"pydoc.example/json.html", "pydoc.example/json.decoder.html"}
    targets = set().union(*(webtable.anchors_of(page) for page in pages))
    assert webtable.row_key("pydoc.example/json.decoder.html") in targets
