"""A client's end of its watches: one iterator for each, which may be read slowly and loses no last state.

Changes of one kind that come while nobody reads are one change: who reads again after it sees the last state.
"""

import asyncio

from lockservice.interface import Change, ChangeKind


class Watch:
    """What is told of one path. Iterating ends when the session does."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._unread: dict[ChangeKind, None] = {}
        self._news = asyncio.Event()
        self._is_over = False

    def tell(self, kind: ChangeKind) -> None:
        """Something has changed."""
        self._unread[kind] = None
        self._news.set()

    def end(self) -> None:
        """Nothing more is told; what is unread can still be read."""
        self._is_over = True
        self._news.set()

    async def next(self) -> Change | None:
        """The next change; None at the end."""
        while not self._unread:
            if self._is_over:
                return None
            self._news.clear()
            await self._news.wait()
        kind = next(iter(self._unread))
        del self._unread[kind]
        return Change(self.path, kind)
