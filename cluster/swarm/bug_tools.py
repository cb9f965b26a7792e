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


def bug(plant: Bug) -> Bug:
    """Note a bug under its name."""
    BUGS[plant.__name__.replace("_", "-")] = plant
    return plant


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
