"""The client library of tables: what applications link (BT 3, 5.1).

    from tablet.client import connect
    with connect() as tables:
        tables.create_table("users", ["profile"])
        tables.put("users", "ada", "profile:name", "Ada")
        tables.get("users", "ada", "profile:name")

A client asks where a tablet is (`locating.py`), remembers it, and then talks to the tablet's server alone; the tablet
master is asked only about tables as a whole. If the server says that the tablet is not there, the client forgets what
it knew and looks again, and once more one level higher if that was wrong too.

    settings.py      how long to try            locating.py     three levels of places, and a cache of them
    client.py        the asynchronous client    batching.py     mutations of many rows
    metadata.py      rows about tablets         synchronous.py  the same for plain programs

Errors are those of `runtime.errors`. A definite one is repeated by the client itself as long as the tablet may just be
on its way to another server. After an indefinite one a read is repeated; a mutation is not: it may have happened, and
who wrote decides whether writing it once more would do harm.
"""

from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.client.synchronous import Tables, connect

__all__ = ["TableClient", "TableClientSettings", "Tables", "connect"]
