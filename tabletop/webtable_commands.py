"""`tabletop table webtable`: the paper's example on real pages (BT 2, Figure 1)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import InvalidRequest, shown
from tablet.client.client import TableClient
from tabletop import webtable, wording
from tabletop.console import ExitCode, endings, fail, flush_bytes, notes, output, print_bytes
from tabletop.options import DESK, ClusterOption
from tabletop.progress import shown_progress
from tabletop.table_commands import with_tables
from tabletop.tables import plain_table, print_table
from tabletop.webtable import Loaded, Page, Version

app = typer.Typer(
    help="""The paper's Webtable (BT 2): real pages under reversed host names, and who links to them.

    \b
    tabletop table webtable load                             the pages that Python's pydoc writes of its packages
    tabletop table webtable load crawl/ --host docs.example  or a folder of yours
    tabletop table webtable site pydoc.example               the pages of a host and of all hosts below it: one scan
    tabletop table webtable links pydoc.example/json.html    who links there: one row
    tabletop table webtable versions pydoc.example/json.html
    """,
    no_args_is_help=True,
)

TableOption = Annotated[str, typer.Option("--table", help="The table's name.")]
UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="The address of a page, with or without http://.")]


@app.command()
def load(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="With HTML files. Default: pages of pydoc.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The host of the pages.")] = webtable.PYTHON_HOST,
    table: TableOption = webtable.TABLE,
    cluster: ClusterOption = DESK,
) -> None:
    """Load pages: each into its row, and the texts of its links into the rows that they lead to.

    If the folder holds nothing but folders named as hosts, as crawlers leave them, these are the hosts. The time of a
    version is that of the file. Load the folder again when pages have changed: each page keeps three versions.

    \b
        tabletop table webtable load /usr/share/doc/git/html --host git.example
    """
    if folder is None:
        with notes.status("Python writes its pages …"):
            written = list(webtable.python_pages(host=host))
        pages: Iterable[Page] = written
        sizes = [len(page.html) for page in written]
    else:
        with endings():
            found = webtable.pages_in(folder, host)
        pages, sizes = webtable.read_pages(found), [path.stat().st_size for _, path in found]

    async def work(tables: TableClient) -> Loaded:
        with shown_progress("loaded", sum(sizes), len(sizes), "page") as meter:
            return await webtable.load(tables, pages, meter, table=table)

    loaded = with_tables(cluster, work, changes=True)
    output.print(
        f"{wording.count(loaded.pages, 'page')} in {table}: {loaded.new:,} new, {loaded.changed:,} changed, "
        f"{loaded.unchanged:,} as before; {wording.count(loaded.anchors, 'anchor')} written",
        markup=False,
    )


@app.command()
def site(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Also all hosts below it.")],
    table: TableOption = webtable.TABLE,
    cluster: ClusterOption = DESK,
) -> None:
    """List the pages of a site, with their titles: one short scan, for host names are reversed in row keys."""

    async def show(tables: TableClient) -> int:
        found = 0
        async for url, html in webtable.site(tables, host, table=table):
            found += 1
            title = webtable.parsed(html).title
            output.print(f"{url}  {wording.size(len(html))}  {title}", markup=False)
        return found

    if not with_tables(cluster, show):
        fail(f"table {table} has no page of {shown(host)} or of a host below it", ExitCode.FAILED)


@app.command()
def versions(
    url: UrlArgument,
    show: Annotated[int, typer.Option("--show", min=0, help="Print the HTML of this one; 1 is the newest.")] = 0,
    table: TableOption = webtable.TABLE,
    cluster: ClusterOption = DESK,
) -> None:
    """List the versions of a page that are kept, the newest first, or print one of them.

    \b
        tabletop table webtable versions pydoc.example/json.html --show 2 > before.html
    """
    found = with_tables(cluster, lambda tables: webtable.versions(tables, url, table=table))
    if show:
        with endings():
            _print(found, show, url)
        return
    listing = plain_table("VERSION", "FETCHED", "TIMESTAMP", "SIZE", "TITLE", folding=("TITLE",))
    for number, version in enumerate(found, 1):
        moment = datetime.fromtimestamp(version.fetched / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        title = webtable.parsed(version.html).title
        listing.add_row(str(number), moment, str(version.fetched), wording.size(len(version.html)), title)
    print_table(listing)


@app.command()
def links(url: UrlArgument, table: TableOption = webtable.TABLE, cluster: ClusterOption = DESK) -> None:
    """List the pages that link to a page, and the texts of their links. The page itself need not be in the table."""
    found = with_tables(cluster, lambda tables: webtable.links(tables, url, table=table))
    for source, text in found:
        output.print(f"{source}  {text}", markup=False)
    if not found:
        fail(f"no page of table {table} links to {shown(url)}", ExitCode.FAILED)


def _print(found: list[Version], number: int, url: str) -> None:
    if number > len(found):
        raise InvalidRequest(
            f"page {shown(url)} has {wording.count(len(found), 'version')}; give one of them to --show"
        )
    print_bytes(found[number - 1].html)
    flush_bytes()
