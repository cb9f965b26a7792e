"""What a plan of faults needs of the nodes that it strikes. The simulated cluster has it, and whoever else runs nodes
in a simulation."""

from collections.abc import Sequence
from typing import Protocol

from cluster.interface import NodeReport
from runtime.simulated.world import Simulation


class NodeNames(Protocol):
    """Settings that say which nodes there are."""

    def node_names(self) -> list[str]:
        """All servers, in a fixed order."""


class FaultyNodes(Protocol):
    """Nodes of a simulation that can be ended and started again."""

    simulation: Simulation
    held_down: dict[str, int]
    """By how many faults a node is held down, which does not run then."""

    @property
    def settings(self) -> NodeNames:
        """Which servers there are."""

    def client_names(self) -> list[str]:
        """All clients; faults can strike them, too."""

    def is_running(self, node: str) -> bool:
        """Whether there is a process of the node."""

    async def start_node(self, node: str) -> None:
        """Start a node that does not run. Raises what its server raises."""

    async def stop_node(self, node: str) -> None:
        """Stop a node in good order. Raises what its server raises."""

    async def nodes(self) -> Sequence[NodeReport]:
        """What each node is at this moment."""
