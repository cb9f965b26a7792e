"""What starting the processes of a cluster needs: a free port, and words for what went wrong.

The master's port is drawn from below the range that the system gives to outgoing connections. Otherwise a chunkserver
that tries to reach its restarting master could be given the master's own port as its source, connect to itself, and
keep the port from the master for good.
"""

import random
import socket

from cluster.folder import NodeFolder
from cluster.settings import ClusterSettings
from runtime.errors import Conflict, InternalError, TabletopError, error_from_wire

MASTER_PORTS = range(20_000, 32_000)
HOST = "127.0.0.1"


def free_port() -> int:
    """A port below the range of outgoing connections on which nobody listens at this moment."""
    for port in random.sample(MASTER_PORTS, 200):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
            try:
                door.bind((HOST, port))
            except OSError:
                continue
            return port
    raise Conflict(f"no free port found between {MASTER_PORTS.start} and {MASTER_PORTS.stop}; name one with --port")


def reason_of(folder: NodeFolder, exit_code: int) -> TabletopError:
    """Why a program that was started ended before it served."""
    kind, message = folder.read_failure() or ("", "")
    if not kind:
        words = folder.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
        return InternalError(
            f"{folder.name} ended with exit code {exit_code} before it served; its last words: {words[-1]}"
        )
    return error_from_wire(kind, f"{folder.name} did not start: {message}", definite=True)


def differences(made_with: ClusterSettings, wanted: ClusterSettings) -> str:
    """Which settings are not the same, in words."""
    old, new = made_with.to_json(), wanted.to_json()
    return ", ".join(f"{key} {old[key]}, not {new[key]}" for key in old if old[key] != new[key])
