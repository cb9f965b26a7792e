"""A real ZooKeeper for a test: a Java process on a free port of this machine, with an empty folder.

It needs Java, ZooKeeper's jar (Debian: `apt-get install zookeeper`; elsewhere set ZOOKEEPER_CLASSPATH) and kazoo (the
extra `zookeeper`). Where one of them is missing, `what_is_missing` says which.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_DEBIAN_JAR = "/usr/share/java/zookeeper.jar"
_START_SECONDS = 60.0
_SETTINGS = """\
tickTime=100
minSessionTimeout=200
maxSessionTimeout=60000
dataDir={folder}/data
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
"""


def _classpath() -> str:
    return os.environ.get("ZOOKEEPER_CLASSPATH", _DEBIAN_JAR)


@cache
def what_is_missing() -> str:
    """Why no ZooKeeper can be started; empty if one can."""
    missing = []
    if importlib.util.find_spec("kazoo") is None:
        missing.append("kazoo is not installed (pip install tabletop-cluster[zookeeper])")
    if shutil.which("java") is None:
        missing.append("there is no java on the PATH")
    if "ZOOKEEPER_CLASSPATH" not in os.environ and not Path(_DEBIAN_JAR).exists():
        missing.append(f"there is no {_DEBIAN_JAR} (apt-get install zookeeper), and ZOOKEEPER_CLASSPATH is not set")
    return "; ".join(missing)


@contextlib.contextmanager
def running_zookeeper(folder: Path) -> Iterator[str]:
    """Start one, and end it in the end. Gives its "host:port"."""
    folder.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "zoo.cfg"
    settings.write_text(_SETTINGS.format(folder=folder, port=port))
    command = ["java", "-Xmx128m", "-cp", _classpath(), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(settings)], stdout=log, stderr=log)
        try:
            _wait_until_it_listens(port, process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    raise AssertionError(f"ZooKeeper does not listen: {log.read_text(errors='replace')[-2000:]}")
