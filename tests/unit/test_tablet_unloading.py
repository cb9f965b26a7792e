"""A tablet is unloaded, and is lost meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import NotServed
from tablet.hosting.life import Life


async def test_who_loses_a_tablet_while_it_unloads_it_says_so():
    """The life ends, or another owner has the tablet: whoever asked must not think that all is in SSTables."""
    life: Any = SimpleNamespace(
        name="ts1-7", places={"users-000001": None}, _spent={}, turn=lambda tablet: asyncio.Lock()
    )

    class LostEngine:
        async def prepare_move(self) -> None:
            life.engines.clear()
            life.places.clear()

    life.engines = {"users-000001": LostEngine()}
    with pytest.raises(NotServed, match="ts1-7 has lost tablet 'users-000001'"):
        await Life.unload(life, "users-000001", 3)
    assert life._spent == {}, "an order to load it is no older than before"
