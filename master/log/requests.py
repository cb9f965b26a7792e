"""Requests that clients repeat (GFS leaves it open).

The problem. The answer to a request may be lost after the change was made. The client asks again, and must not be told
that the file which it has just created exists already, nor delete a file that somebody else has made under that name
meanwhile. The idea: a client gives each request a number. The master logs the number together with the change,
remembers the answer, and gives a repetition the first answer. This also holds after a restart, for the table is part of
the persistent state.

With each request a client says which is its oldest without an answer: what lies before may be forgotten. So the table
holds about as many answers as clients have requests under way.

>>> table = RequestTable()
>>> table.note(client=7, number=1, oldest=1, answer=42)
>>> table.answer(7, 1), table.answer(7, 2), table.is_outdated(7, 1)
(42, None, False)
>>> table.note(client=7, number=2, oldest=2, answer=0)
>>> table.answer(7, 1), table.is_outdated(7, 1)
(None, True)

Invariants: (1) an answer's number is not below its client's oldest; (2) at most `MOST_CLIENTS` clients are remembered,
and the one that was heard of longest ago goes first.

What we simplify. A client that is silent while 4,096 others make changes is forgotten, and a repetition that comes even
later is done again.
"""

from collections.abc import Iterable, Iterator

MOST_CLIENTS = 4096


class _Client:
    __slots__ = ("answers", "oldest")

    def __init__(self) -> None:
        self.oldest = 0
        self.answers: dict[int, int] = {}


class RequestTable:
    """The answers to the last requests of each client."""

    def __init__(self) -> None:
        self._clients: dict[int, _Client] = {}  # heard of longest ago first

    def __len__(self) -> int:
        return sum(len(client.answers) for client in self._clients.values())

    def note(self, *, client: int, number: int, oldest: int, answer: int) -> None:
        """A request was carried out, and is answered with `answer`. A client of 0 has no name and is not remembered."""
        if client == 0:
            return
        found = self._clients.pop(client, None) or _Client()
        self._clients[client] = found
        if oldest > found.oldest:
            found.oldest = oldest
            found.answers = {known: kept for known, kept in found.answers.items() if known >= oldest}
        if number >= found.oldest:
            found.answers[number] = answer
        while len(self._clients) > MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def answer(self, client: int, number: int) -> int | None:
        """What the request was answered, None if it was not carried out, as far as is remembered."""
        found = self._clients.get(client)
        return None if found is None else found.answers.get(number)

    def is_outdated(self, client: int, number: int) -> bool:
        """Whether the client has said that it has the answer to this request: a message that was long under way."""
        found = self._clients.get(client)
        return found is not None and number < found.oldest

    def rows(self) -> Iterator[tuple[int, int, int, int]]:
        """(client, oldest, number, answer) of all that is remembered, for a checkpoint; a number of 0 stands for
        none."""
        for client, found in self._clients.items():
            if not found.answers:
                yield client, found.oldest, 0, 0
            for number, answer in found.answers.items():
                yield client, found.oldest, number, answer

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int, int, int, int]]) -> "RequestTable":
        """The table that gave these rows."""
        table = cls()
        for client, oldest, number, answer in rows:
            found = table._clients.setdefault(client, _Client())
            found.oldest = oldest
            if number:
                found.answers[number] = answer
        return table

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        assert len(self._clients) <= MOST_CLIENTS and 0 not in self._clients
        for client, found in self._clients.items():
            assert all(number >= found.oldest for number in found.answers), f"client {client} keeps outdated answers"
