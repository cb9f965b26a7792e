"""What a client can be tuned by. The paper gives none of these numbers, so we chose them and say why."""

from dataclasses import dataclass

from gfs.distance import Spot
from runtime.bulk import READ_LIMIT_BYTES
from runtime.settings import KIBIBYTE, MEBIBYTE, SettingsCheck


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Bytes and seconds. The defaults suit a cluster on one desk."""

    # The host that this client runs on, to know which replica is near (GFS 3.2). Empty: none is nearer than another.
    own_host: str = ""
    # The rack and the data centre of that host, if the servers of the cluster were told theirs (GFS 4.2).
    own_rack: str = ""
    own_data_centre: str = ""

    # How long a location may be remembered without asking the master again: it bounds how long a reader may see a
    # stale replica (GFS 2.7.1).
    location_seconds: float = 30.0
    # Chunks to ask for at once: the next ones are nearly always wanted too (GFS 2.4).
    locations_at_once: int = 16
    # How long a server that failed is tried last.
    avoid_seconds: float = 30.0

    # One read or write moves at most a piece. A file being read or written holds `window` pieces in memory.
    read_piece_bytes: int = 1 * MEBIBYTE
    read_window: int = 4
    write_piece_bytes: int = 4 * MEBIBYTE
    write_window: int = 3
    # Data up to this size rides in the write request instead of being pushed ahead of it.
    inline_bytes: int = 64 * KIBIBYTE

    # One try: of a call, of reading a piece, of pushing or writing one. A paused server costs a reader this long, once.
    # A push lasts longer than a chunkserver waits for the next one in the chain, so that the answer says who failed.
    call_seconds: float = 12.0
    read_seconds: float = 5.0
    push_seconds: float = 15.0
    write_seconds: float = 10.0
    # Entries of one answer of a listing.
    list_entries: int = 1000
    # Tries of steps 3 to 7 before the write begins again from the start (GFS 3.1).
    write_tries: int = 3
    # The whole of one read or one question to the master: enough for a master to restart.
    patience_seconds: float = 30.0
    # A master whose process is known to be gone is waited for so long: somebody may be starting it again.
    gone_seconds: float = 10.0
    # With several masters: how long the acting one may take to answer a question before a shadow is asked, whose answer
    # may be old; 0: no shadow is ever asked. How long a first try of a change may take; each further one twice as long.
    shadow_seconds: float = 1.0
    first_call_seconds: float = 2.0
    # The whole of one write. More than a lease of 60 seconds, because a dead primary's lease has to run out before the
    # master may grant another (GFS 3.1).
    write_patience_seconds: float = 120.0
    # The whole of one request that has a chunk's replicas read from disk: twice if they differ, and a large chunk on a
    # slow disk takes long.
    verify_seconds: float = 150.0
    # For how long "too few servers" and "no space" are taken for a passing state: a server may be about to register.
    shortage_seconds: float = 5.0
    # Pauses between tries: the first at most this long, then twice as long each time, with jitter.
    first_pause_seconds: float = 0.05
    longest_pause_seconds: float = 2.0

    # Connections kept open to each server for the next transfer.
    idle_connections: int = 24

    @property
    def own_spot(self) -> Spot:
        """Where this client is."""
        return Spot(self.own_host, self.own_rack, self.own_data_centre)

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, "a client's")
        check.that(
            0 < self.read_piece_bytes <= READ_LIMIT_BYTES,
            "read_piece_bytes",
            f"between 1 and {READ_LIMIT_BYTES}, the most that one read may ask for",
        )
        check.at_least(0, "shadow_seconds")
        check.more_than_0("first_call_seconds")
        check.at_least(1, "write_piece_bytes", "read_window", "write_window", "write_tries", "list_entries")
