"""What the GFS paper says, as data. Rates are megabytes (10^6 bytes) a second, as its links of 12.5 MB/s are."""

from dataclasses import dataclass

READS, WRITES, APPENDS = "reads", "writes", "appends"
KINDS = (READS, WRITES, APPENDS)

# Figure 3, by number of clients from 1: read from the drawing, so to about 0.02 MB/s.
FIGURE_3: dict[str, tuple[float, ...]] = {
    READS: (
        *(10.12, 19.38, 27.94, 35.88, 43.02, 49.78, 55.36, 61.26),
        *(66.94, 71.56, 76.14, 79.54, 84.72, 86.90, 89.58, 93.78),
    ),
    WRITES: (
        *(6.32, 10.82, 14.56, 17.20, 20.02, 21.80, 23.52, 25.52),
        *(26.82, 28.36, 29.68, 30.92, 32.26, 33.26, 34.38, 35.28),
    ),
    APPENDS: (
        *(6.08, 6.66, 6.42, 6.00, 5.82, 5.76, 5.46, 5.34),
        *(3.60, 4.40, 4.92, 4.80, 4.98, 4.20, 4.50, 4.80),
    ),
}
MOST_CLIENTS = 16

# How far ours may be from the paper's at any number of clients. Of appends only the shape is looked at.
BARS: dict[str, float | None] = {READS: 0.10, WRITES: 0.15, APPENDS: None}


def limit(kind: str, clients: int) -> float:
    """What the network allows at most (GFS 6.1), MB/s.

    >>> [round(limit(kind, clients), 1) for kind in KINDS for clients in (1, 16)]
    [12.5, 125.0, 12.5, 66.7, 12.5, 12.5]
    """
    card = 12.5
    if kind == READS:
        return min(card * clients, 125.0)  # the link between the switches
    if kind == WRITES:
        return min(card * clients, card * 16 / 3)  # each byte goes into three of 16 servers
    return card  # of the servers that hold the file's last chunk


@dataclass(frozen=True, slots=True)
class Cluster:
    """A column of Table 2: what is in a cluster, and its metadata in bytes."""

    name: str
    chunkservers: int
    files: int
    dead_files: int
    chunks: int
    chunkserver_bytes: float
    master_bytes: float


TABLE_2 = {
    "A": Cluster("A", 342, 735_000, 22_000, 992_000, 13e9, 48e6),
    "B": Cluster("B", 227, 737_000, 232_000, 1_550_000, 21e9, 60e6),
}
TABLE_2_FACTOR = 2.0  # how far ours may be from the paper's
MOST_BYTES_A_ENTRY = 64  # "less than 64 bytes" for each file and for each chunk (GFS 2.6.1)


@dataclass(frozen=True, slots=True)
class Recovery:
    """An experiment of 6.2.5: what lay on each victim, and what came of it. 0: the paper does not say."""

    victims: int
    chunks: int  # on each victim
    bytes: float  # on each victim
    single: int  # chunks that were left with one replica
    whole_seconds: float  # until all chunks had their goal again
    two_each_seconds: float  # until all chunks had two replicas
    bytes_per_second: float

    @property
    def floor(self) -> float:
        """How long the copies take at the limit, seconds: those of both victims."""
        return floor_seconds(self.victims * self.bytes, RECOVERY_CLONES)


MIB = float(1 << 20)
RECOVERY_SERVERS = 227  # cluster B
RECOVERY_CLONES = 91  # 40 % of them
CLONE_BYTES_PER_SECOND = 6.25 * MIB
# The paper's numbers agree with one another if its GB and MB are powers of two.
RECOVERIES = {
    1: Recovery(1, 15_000, 600 * 1024 * MIB, 0, 23.2 * 60, 0.0, 440 * MIB),
    2: Recovery(2, 16_000, 660 * 1024 * MIB, 266, 0.0, 120.0, 0.0),
}
RECOVERY_BAR_SECONDS = 26.0 * 60  # ours may take so long after one death


def floor_seconds(copied: float, clones: int) -> float:
    """How long so many bytes take at the limit, if nothing is lost between clones.

    >>> round(floor_seconds(RECOVERIES[1].bytes, RECOVERY_CLONES) / 60, 1)
    18.0
    """
    return copied / (clones * CLONE_BYTES_PER_SECOND)
