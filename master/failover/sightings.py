"""Where replicas are, as chunkservers tell a master that only looks (GFS 5.1.3).

A shadow's log runs a little behind, so that a report may speak of a chunk, or of a version, that the shadow does not
know yet. So it keeps what was said, and compares it with the versions only when a reader asks. Nothing here leads to an
order: a shadow gives none.

>>> sightings = Sightings()
>>> sightings.report("cs1", {7: Sighting(version=2, length=100)}, is_whole=True)
>>> sightings.holders(7, version=2), sightings.holders(7, version=3), sightings.length(7, version=2)
(('cs1',), (), 100)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sighting:
    """One replica as its server told of it. `is_sound`: it may be read. Bytes."""

    version: int
    length: int
    is_sound: bool = True


class Sightings:
    """What each server said last."""

    def __init__(self) -> None:
        self._by_server: dict[str, dict[int, Sighting]] = {}
        self._by_handle: dict[int, dict[str, Sighting]] = {}

    def knows(self, server: str) -> bool:
        """Whether the server has told all that it holds."""
        return server in self._by_server

    def report(self, server: str, seen: Mapping[int, Sighting], *, is_whole: bool, gone: Iterable[int] = ()) -> None:
        """Take note of what a server says: of all its replicas, or of those that have changed."""
        if is_whole:
            self.forget(server)
        mine = self._by_server.setdefault(server, {})
        for handle, sighting in seen.items():
            mine[handle] = self._by_handle.setdefault(handle, {})[server] = sighting
        for handle in gone:
            self._drop(server, handle)

    def forget(self, server: str) -> None:
        """The server is silent, or says everything anew."""
        for handle in list(self._by_server.get(server, ())):
            self._drop(server, handle)
        self._by_server.pop(server, None)

    def holders(self, handle: int, version: int) -> tuple[str, ...]:
        """The servers with a sound replica of this version or a later one."""
        found = self._by_handle.get(handle, {})
        return tuple(server for server, seen in found.items() if seen.is_sound and seen.version >= version)

    def length(self, handle: int, version: int) -> int:
        """The longest of these replicas, in bytes; 0 if there is none."""
        found = self._by_handle.get(handle, {}).values()
        return max((seen.length for seen in found if seen.is_sound and seen.version >= version), default=0)

    def _drop(self, server: str, handle: int) -> None:
        self._by_server[server].pop(handle, None)
        found = self._by_handle.get(handle, {})
        found.pop(server, None)
        if not found:
            self._by_handle.pop(handle, None)
