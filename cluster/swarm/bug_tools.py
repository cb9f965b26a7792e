"""How a bug is planted: a rule is taken out of the servers, from outside, for as long as a context manager is open.

A bug is a function that returns the context manager. Its name is a sentence with dashes, made of the function's name;
its docstring says which rule goes, what is wrong then, and where the paper speaks of it.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

Planted = AbstractContextManager[Any]
Bug = Callable[[], Planted]
BUGS: dict[str, Bug] = {}


def noted_in(bugs: dict[str, Bug]) -> Callable[[Bug], Bug]:
    """A decorator that notes a bug of one swarm under its name."""

    def note(plant: Bug) -> Bug:
        bugs[plant.__name__.replace("_", "-")] = plant
        return plant

    return note


bug = noted_in(BUGS)
"""Note a bug of the file system under its name."""


def replaced(owner: Any, name: str, new: Any) -> Planted:
    """Another function, method or constant in the place of one of a module or class."""
    return patch.object(owner, name, new)


@contextlib.contextmanager
def together(*patches: Planted) -> Iterator[None]:
    """Several replacements at once."""
    with contextlib.ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        yield


async def nothing(*arguments: Any, **named: Any) -> None:
    """Does nothing, in the place of something that would."""
