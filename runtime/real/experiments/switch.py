"""The service by which a node is told that the list of imposed faults has changed.

The list itself lies in the cluster's folder and is read there: a node that was down, or stood still, when a fault was
imposed finds it when it starts or goes on. The call makes sure that a fault is in force when its command returns.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from runtime.faults.table import FaultTable, Rule
from runtime.wire import faults_pb2, faults_pb2_grpc

LOOK_SECONDS = 1.0  # How often a node looks by itself.

ReadRules = Callable[[], Sequence[Rule]]


class FaultSwitch(faults_pb2_grpc.FaultSwitchServicer):
    """Puts the rules that `read` finds into a node's table."""

    def __init__(self, table: FaultTable, read: ReadRules) -> None:
        self._table = table
        self._read = read

    def look(self) -> None:
        """Read the list."""
        self._table.set(self._read())

    async def keep_looking(self) -> None:
        """Read the list now and then, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    async def LookAtFaults(self, request: faults_pb2.LookAtFaultsRequest, context: Any) -> faults_pb2.FaultsInForce:
        """Read the list, and say what is in force."""
        self.look()
        return faults_pb2.FaultsInForce(numbers=self._table.numbers())
