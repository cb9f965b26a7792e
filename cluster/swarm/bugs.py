"""Planted bugs: each takes one rule out of the servers, from outside, for as long as a context manager is open.

They prove the swarm (it must find each of them), and are there for exercises.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from runtime.errors import NotFound

Bug = Callable[[], AbstractContextManager[None]]
BUGS: dict[str, Bug] = {}


def planted(name: str) -> AbstractContextManager[None]:
    """The bug of this name; none for "". Raises NotFound."""
    if not name:
        return contextlib.nullcontext()
    if name not in BUGS:
        raise NotFound(f"no planted bug {name!r}; there are: {', '.join(BUGS) or 'none'}")
    return BUGS[name]()
