"""The Webtable: web pages under reversed host names, and who links to them (BT 2, Figure 1).

    row               contents:        anchor:cnnsi.com/index.html    anchor:my.look.ca/news.html
    com.cnn.www/      <html>... t6     CNN t9                         CNN.com t8
                      <html>... t5

Reversed, the pages of one domain are neighbours, and a site is one short scan. A page's row holds its last three
versions, each at the time when it was fetched, and for each page that refers to it the text of the link: who links here
is read from one row, not searched for in all.

When a page is loaded again and its links have changed, the anchors of those that are gone are deleted. Nothing spans
rows: a reader may see a new page before its anchors.

What we simplify. Pages come from a folder, not from the web: HTML as UTF-8, without frames and forwards.
"""

import asyncio
import importlib
import os
import pkgutil
import pydoc
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

from runtime.errors import AlreadyExists, InvalidRequest, NotADirectory, NotFound, shown
from tablet.client.client import TableClient
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteCells, Operation, SetCell
from tablet.engine.model.schema import Family, MaxVersions, Schema
from tabletop.progress import Meter

TABLE = "webtable"
CONTENTS = b"contents:"
ANCHOR = b"anchor:"
VERSIONS = 3
SCHEMA = Schema().with_family(Family("contents", MaxVersions(VERSIONS))).with_family(Family("anchor", MaxVersions(1)))
PYTHON_HOST = "pydoc.example"
PYTHON_PACKAGES = ("collections", "concurrent", "email", "html", "http", "json", "logging", "urllib", "xml")
_BATCH_PAGES = 32
_BATCH_BYTES = 4 * 1024 * 1024
_TEXT_LENGTH = 200
_ENDINGS = (".html", ".htm")


class Page(NamedTuple):
    """A page as it was fetched: its address without "http://", its bytes, and when, in microseconds."""

    url: str
    html: bytes
    fetched: int


@dataclass(slots=True)
class Loaded:
    """What loading pages has come to."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    anchors: int = 0

    @property
    def pages(self) -> int:
        """All of them."""
        return self.new + self.changed + self.unchanged


class Version(NamedTuple):
    """One version of a page."""

    fetched: int
    html: bytes


def row_key(url: str) -> bytes:
    """The row of a page.

    >>> row_key("http://maps.google.com/index.html"), row_key("www.cnn.com"), row_key("a.b:80/c d#e")
    (b'com.google.maps/index.html', b'com.cnn.www/', b'b.a:80/c%20d')
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        raise InvalidRequest(f"{shown(url)} is no address of a page; give one such as www.cnn.com/index.html")
    host = _reversed(parts.hostname)
    port = parts.netloc.rpartition(":")[2] if ":" in parts.netloc.rpartition("@")[2] else ""
    query = f"?{parts.query}" if parts.query else ""
    path = quote(unquote(parts.path), safe="/~!$&'()*+,;=:@") or "/"
    return f"{host}{f':{port}' if port else ''}{path}{query}".encode()


def url_of(row: bytes) -> str:
    """The address of a row.

    >>> url_of(b"com.google.maps/index.html"), url_of(b"b.a:80/")
    ('maps.google.com/index.html', 'a.b:80/')
    """
    site, slash, path = row.decode("utf-8", "replace").partition("/")
    host, colon, port = site.partition(":")
    return f"{_reversed(host)}{colon}{port}{slash}{path}"


def site_rows(host: str) -> tuple[bytes, bytes]:
    """From where to where the pages of a host and of all hosts below it are: "." and "/" follow each other in ASCII.

    >>> site_rows("google.com")
    (b'com.google.', b'com.google0')
    """
    name = _reversed(host).encode()
    if not name or b"/" in name:
        raise InvalidRequest(f"{shown(host)} is no name of a host; give one such as google.com")
    return name + b".", name + b"0"


class _Links(HTMLParser):
    """The title of a page, and its links with their texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.links: list[tuple[str, str]] = []
        self._href: str | None = None
        self._text: list[str] = []
        self._is_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._finish()
            self._href = dict(attrs).get("href")
        self._is_title = tag == "title" and not self.title

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._finish()
        self._is_title = False

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data
        if self._href is not None:
            self._text.append(data)

    def close(self) -> None:
        super().close()
        self._finish()

    def _finish(self) -> None:
        if self._href is not None:
            self.links.append((self._href, " ".join("".join(self._text).split())[:_TEXT_LENGTH]))
        self._href, self._text = None, []


def parsed(html: bytes) -> _Links:
    """What a page says, as far as it can be read."""
    found = _Links()
    with suppress(AssertionError):  # That is how the parser gives up on a declaration that nobody knows.
        found.feed(html.decode("utf-8", "replace"))
        found.close()
    found.title = " ".join(found.title.split())
    return found


def anchors_of(page: Page) -> dict[bytes, bytes]:
    """The rows that a page links to, but for its own, and the text of the first link to each.

    >>> anchors_of(Page("a.org/x/y.html", b'<a href="z.html#top">Z</a> <a href="mailto:a@b">m</a>', 0))
    {b'org.a/x/z.html': b'Z'}
    """
    found: dict[bytes, bytes] = {}
    for href, text in parsed(page.html).links:
        with suppress(ValueError, InvalidRequest):
            target = urldefrag(urljoin(f"http://{page.url}", href.strip()))[0]
            if urlsplit(target).scheme in ("http", "https"):
                found.setdefault(row_key(target), text.encode())
    found.pop(row_key(page.url), None)
    return found


async def load(tables: TableClient, pages: Iterable[Page], meter: Meter, *, table: str = TABLE) -> Loaded:
    """Write pages into the table, which is made if there is none. Raises as `TableClient.mutate`."""
    with suppress(AlreadyExists):
        await tables.create_table(table, SCHEMA)
    loaded = Loaded()
    for batch in _batches(pages):
        stored = await asyncio.gather(*(tables.get(table, row_key(page.url), CONTENTS) for page in batch))
        mutations: list[tuple[bytes, list[Operation]]] = []
        for page, before in zip(batch, stored, strict=True):
            mutations += changes_of(page, before, loaded)
        for failure in await tables.mutate_many(table, mutations):
            if failure is not None:
                raise failure
        meter.advance(bytes_done=sum(len(page.html) for page in batch), files_done=len(batch))
    return loaded


def changes_of(page: Page, before: bytes | None, loaded: Loaded) -> Iterator[tuple[bytes, list[Operation]]]:
    """What is to be written for a page, of which `before` is the newest version so far; also counts it."""
    if before == page.html:
        loaded.unchanged += 1
        return
    loaded.new, loaded.changed = loaded.new + (before is None), loaded.changed + (before is not None)
    column = ANCHOR + page.url.encode()
    anchors = anchors_of(page)
    yield row_key(page.url), [SetCell(CONTENTS, page.html, page.fetched)]
    for target, text in anchors.items():
        loaded.anchors += 1
        yield target, [SetCell(column, text, page.fetched)]
    for target in anchors_of(page._replace(html=before)) if before is not None else ():
        if target not in anchors:
            yield target, [DeleteCells(column)]


async def site(tables: TableClient, host: str, *, table: str = TABLE) -> AsyncIterator[tuple[str, bytes]]:
    """The pages of a host and of those below it, in order: address and newest version."""
    wanted = ReadFilter(columns=[CONTENTS], versions=1)
    async for row, cells in tables.scan(table, *site_rows(host), wanted=wanted):
        yield url_of(row), cells[0].value


async def versions(tables: TableClient, url: str, *, table: str = TABLE) -> list[Version]:
    """The versions of a page, the newest first. Raises NotFound."""
    found = await tables.read(table, row_key(url), ReadFilter(columns=[CONTENTS]))
    if found is None:
        raise NotFound(f"page {shown(url)} is not in table {table}; `tabletop table webtable site` lists pages")
    return [Version(cell.timestamp, cell.value) for cell in found[1]]


async def links(tables: TableClient, url: str, *, table: str = TABLE) -> list[tuple[str, str]]:
    """The pages that link to a page, in order, and the texts of their links."""
    found = await tables.read(table, row_key(url), ReadFilter(families=["anchor"], versions=1))
    cells = () if found is None else found[1]
    return [(cell.column.removeprefix(ANCHOR).decode(), cell.value.decode("utf-8", "replace")) for cell in cells]


def pages_in(folder: Path, host: str) -> list[tuple[str, Path]]:
    """The HTML files of a folder by their addresses. If all that it has are folders with names of hosts, as crawlers
    leave them, these are the hosts; else all pages are on `host`. Raises NotADirectory, NotFound if there are none."""
    if not folder.is_dir():
        raise NotADirectory(f"{shown(str(folder))} is no folder; give one with HTML files")
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    has_hosts = bool(entries) and all(entry.is_dir() and "." in entry.name for entry in entries)
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(_ENDINGS):
                path = Path(place, name)
                below = quote(os.fsencode(path.relative_to(folder).as_posix()), safe="/~!$&'()*+,;=:@")
                found.append((below if has_hosts else f"{host}/{below}", path))
    if not found:
        raise NotFound(f"there is no HTML file in {shown(str(folder))}; give a folder that has some")
    return found


def read_pages(found: Sequence[tuple[str, Path]]) -> Iterator[Page]:
    """The pages of files, fetched when the files were written."""
    for url, path in found:
        yield Page(url, path.read_bytes(), path.stat().st_mtime_ns // 1000)


def python_pages(packages: Sequence[str] = PYTHON_PACKAGES, host: str = PYTHON_HOST) -> Iterator[Page]:
    """The pages that Python's own `pydoc` writes about its packages, on every machine: real HTML with real links."""
    for package in packages:
        top = importlib.import_module(package)
        below = pkgutil.walk_packages(getattr(top, "__path__", []), f"{package}.", onerror=lambda name: None)
        for name in [package, *(module.name for module in below)]:
            if name.rpartition(".")[2] == "__main__":
                continue
            with suppress(ImportError):
                module = importlib.import_module(name)
                html = pydoc.html.page(pydoc.describe(module), pydoc.html.document(module, name))
                source = Path(module.__file__ or pydoc.__file__)
                yield Page(f"{host}/{name}.html", html.encode(), source.stat().st_mtime_ns // 1000)


def _batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    batch: list[Page] = []
    size = 0
    for page in pages:
        batch.append(page)
        size += len(page.html)
        if len(batch) >= _BATCH_PAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _reversed(host: str) -> str:
    return ".".join(reversed(host.lower().rstrip(".").split(".")))
