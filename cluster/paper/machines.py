"""The machines of the paper's measurements, as a simulation (GFS 6.1).

    16 chunkservers and the master on one switch, 16 clients on another; each machine has a card of 100 Mbps each way,
    and 1 Gbps lies between the switches; two disks of 5400 rpm

What the paper does not say we chose: hops of 0.2 ms ("well under 1 ms", 3.2), and disks that give three times what a
card carries (3.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.settings import ClientSettings
from runtime.faults.disk import DiskSpeed
from runtime.simulated.disk import SYNC_SECONDS
from runtime.simulated.distances import WayOut
from runtime.simulated.page_cache import PageCache
from runtime.simulated.shared_pages import PagePool
from runtime.simulated.world import Simulation

OTHER_SWITCH = "the clients' switch"


@dataclass(frozen=True, slots=True)
class Machines:
    """Bytes and seconds; bytes a second each way."""

    chunkservers: int = 16
    card_bytes_per_second: float = 12.5e6
    link_bytes_per_second: float = 125e6  # between the two switches; 0: all are on one
    hop_seconds: float = 0.0002
    disk_bytes_per_second: float = 37.5e6
    page_cache_bytes: int = 16 << 20

    def simulation(self, seed: int) -> Simulation:
        """An empty world with such a network."""
        return Simulation(
            seed,
            latency_seconds=self.hop_seconds,
            bytes_per_second=self.card_bytes_per_second,
            ways=WayOut(rack_bytes_per_second=self.link_bytes_per_second),
            fair=True,
        )

    def cluster(
        self,
        simulation: Simulation,
        settings: ClusterSettings,
        *,
        clients: int,
        client_settings: ClientSettings | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> SimulatedCluster:
        """A cluster on these machines, with that many clients on the other switch."""
        cluster = SimulatedCluster(
            simulation, settings, clients=clients, client_settings=client_settings, overrides=overrides
        )
        pool = PagePool()
        for name in cluster.settings.chunkserver_names():
            disk = simulation.world(name).simulated_disk
            disk.speed = DiskSpeed(bytes_per_second=self.disk_bytes_per_second, seconds_per_sync=SYNC_SECONDS)
            disk.page_cache = PageCache(self.page_cache_bytes)
            disk.image = pool.image
        for name in cluster.client_names():
            simulation.fabric.distances.place(name, "", OTHER_SWITCH)
        return cluster
