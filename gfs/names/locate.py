"""Where a cluster on this machine can be found: the one place that knows.

The problem. Whoever starts a cluster and whoever uses it are different programs, at different times. The idea is a
folder per cluster, in the place where the operating system keeps a user's state, with two files for clients:

    <home>/<cluster>/cluster.json    {"format": 1, "cluster": "desk", "master": "127.0.0.1:40123", ...}
    <home>/<cluster>/token           the cluster's secret, mode 0600: who can read it may use the cluster

`<home>` is the variable TABLETOP_HOME if it is set, else `tabletop` below XDG_STATE_HOME, else
~/.local/state/tabletop. The cluster's name is the argument, else the variable TABLETOP_CLUSTER, else "desk".

This module belongs to the real world alone: it is the only one of this room that looks at files and variables of the
machine. The paper's clients find their master through DNS and monitoring (GFS 5.1.3).

>>> home_folder({"TABLETOP_HOME": "/tmp/lesson"}).as_posix()
'/tmp/lesson'
>>> home_folder({"XDG_STATE_HOME": "/home/ada/state"}).as_posix()
'/home/ada/state/tabletop'
>>> cluster_name(None, {"TABLETOP_CLUSTER": "group-4"})
'group-4'
>>> cluster_name("mine", {"TABLETOP_CLUSTER": "group-4"})
'mine'
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import IncompatibleFormat, InvalidRequest, NotFound, Unauthenticated, Unavailable, shown

FORMAT = 1
DEFAULT_CLUSTER = "desk"
CONTACT_FILE = "cluster.json"
TOKEN_FILE = "token"
NODES_FOLDER = "nodes"
MASTER_NODE = "master"
FAILURE_FILE = "failure.json"  # of a node that does not serve, and was not asked to end: its kind and message
READY_FILE = "ready.json"  # of a node that serves, or was killed: its process_id


@dataclass(frozen=True, slots=True)
class Contact:
    """What a client needs to know of a cluster. `master` is "host:port", of several all with commas between; the token
    stays out of logs; `folder` is the cluster's on this machine."""

    cluster: str
    master: str
    token: str = field(repr=False)
    folder: Path | None = None


def home_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds one folder for each of this user's clusters. It need not exist yet."""
    if home := environment.get("TABLETOP_HOME"):
        return Path(home).expanduser().absolute()
    # An XDG path that is not absolute is to be ignored, says the specification.
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / "tabletop"
    return Path.home() / ".local" / "state" / "tabletop"


def cluster_name(name: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The cluster that is meant: the argument, else TABLETOP_CLUSTER, else "desk"."""
    return name or environment.get("TABLETOP_CLUSTER") or DEFAULT_CLUSTER


def find_contact(cluster: str | None = None, *, home: str | Path | None = None) -> Contact:
    """Read how the cluster is reached.

    Raises NotFound if there is no such cluster, Unavailable if it has never served, or it or its master is down,
    Unauthenticated if its token is missing or not yours to read, and IncompatibleFormat if another version wrote the
    folder.
    """
    given: Any = cluster
    if given is not None and not isinstance(given, str):
        raise InvalidRequest(f"cluster {given!r} ({type(given).__name__}): expected its name, a text such as 'desk'")
    name = cluster_name(cluster)
    if ":" in name:
        raise InvalidRequest(f"cluster name {shown(name)}: an address is given as gfs.connect(master=…, token=…)")
    # The name becomes a part of a path, so that it must be no path itself.
    if name in (".", "..") or "/" in name or "\0" in name:
        raise InvalidRequest(f"cluster name {shown(name)}: expected letters, digits, '-' or '_'")
    folder = (Path(home) if home else home_folder()) / name
    master = _master_address(folder / CONTACT_FILE, name)
    contact = Contact(name, master, read_token(folder, name), folder)
    if (gone := master_gone(contact)) is not None:
        raise gone
    return contact


def master_gone(contact: Contact) -> Unavailable | None:
    """Why no process of the cluster's master can be running on this machine, and what starts it; None if one may be,
    here or on another machine. Nobody is asked over the network: the cluster's folder and the system know."""
    folder, name = contact.folder, contact.cluster
    if folder is None:
        return None
    if not _may_run(folder):
        return Unavailable(f"cluster {name!r} is down; start it with `tabletop up{_option(name)}`", definite=True)
    masters = sorted((folder / NODES_FOLDER).glob(f"{MASTER_NODE}*")) or [folder / NODES_FOLDER / MASTER_NODE]
    reasons = [_why_no_master(master) for master in masters]
    if (why := reasons[0]) is not None and None not in reasons:
        return Unavailable(
            f"the master of cluster {name!r} is not running{why}; start it again with "
            f"`tabletop fault restart {MASTER_NODE}{_option(name)}`",
            definite=True,
        )
    return None


def _option(name: str) -> str:
    return "" if name == cluster_name() else f" --cluster {name}"


def _may_run(folder: Path) -> bool:
    """Whether any node of a cluster on this machine may be running: without asking, which would take its time."""
    if not (folder / NODES_FOLDER).is_dir():
        return True  # It may run on another machine.
    return any(_may_live(path) for path in (folder / NODES_FOLDER).glob(f"*/{READY_FILE}"))


def _why_no_master(folder: Path) -> str | None:
    """Why no master can be running, as the end of a sentence; None if one may be, or is about to be."""
    ready, failure = folder / READY_FILE, folder / FAILURE_FILE
    if ready.exists():
        return None if _may_live(ready) else ""
    if not folder.is_dir():
        return None  # It may run on another machine.
    try:
        found = json.loads(failure.read_text(encoding="utf-8"))
        # Without a kind, nobody has said why it does not serve: it may be starting now.
        return f": {found['message']}" if found["kind"] else None
    except FileNotFoundError:
        return None if ready.exists() else ""  # It has ended as it was asked to.
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _may_live(ready: Path) -> bool:
    try:
        os.kill(int(json.loads(ready.read_text(encoding="utf-8"))["process_id"]), 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True  # Somebody else's process, or a file that says nothing.
    return True


def _master_address(path: Path, cluster: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"no cluster {cluster!r}: there is no {path}; start it with `tabletop up --cluster {cluster}`, "
            "or name another with --cluster or TABLETOP_CLUSTER"
        ) from None
    except OSError as error:
        raise Unauthenticated(f"{path} cannot be read: {error}; the folder belongs to whoever started it") from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise IncompatibleFormat(f"{path} is not JSON: {error}; if you did not change it, remove the folder") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise IncompatibleFormat(
            f"{path} is of format {found!r}, this version of Tabletop reads format {FORMAT}: use the version that "
            f"made the cluster, or remove {path.parent} and start it anew"
        )
    master = values.get("master")
    if not isinstance(master, str) or not master:
        raise Unavailable(
            f"cluster {cluster!r} has never served; start it with `tabletop up --cluster {cluster}`", definite=True
        )
    return master


def read_token(folder: Path, cluster: str) -> str:
    """The secret of the cluster in this folder. Raises Unauthenticated if it is missing or not yours to read."""
    path = folder / TOKEN_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthenticated(
            f"the token of cluster {cluster!r} cannot be read from {path}: {error}; "
            "use the account that started the cluster, or pass token="
        ) from error
