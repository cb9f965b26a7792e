"""The operating system's side of a cluster: starting programs, telling whose process is whose, signals.

A process id alone names nothing: once a process is gone the system gives its number to another. So a process is always
named by its id *and* the moment it was started, and a signal is sent only after both were compared. A node's process
can also be found without any note of it, by the configuration file on its command line: `down` looks for both, so that
a node whose starter was killed before it could write a note is still found.

Nodes are started as new programs, never by `fork()`: gRPC keeps threads, and a forked copy of a process with threads
stands still. Each leads a session of its own, so that Ctrl-C in the terminal reaches the command and not the servers.

A process may have only so many files and connections open. The limit that counts is the soft one, which a program may
raise up to the hard one; macOS gives 256 to a new terminal, which a busy chunkserver exceeds.
"""

import contextlib
import enum
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from runtime.errors import NoSpace

PROGRAM = "cluster.program"

# The system counts process starts in hundredths of a second since boot, and reckons the date of boot anew in each
# program: two programs may differ by this much about the same process.
START_TOLERANCE_SECONDS = 2.0

# A chunkserver keeps the files of 128 chunks open, two each, and connections to its clients and to other servers.
NEEDED_DESCRIPTORS = 512
# More is asked for where the hard limit allows it, and half of it is for chunks. macOS refuses more than 10,240,
# whatever the hard limit says.
WANTED_DESCRIPTORS = 10_240
_DESCRIPTORS_A_CHUNK = 4  # Two are open, as many are left for all else.


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process and no other. `started` is in seconds since the epoch."""

    process_id: int
    started: float


class ProcessState(enum.Enum):
    """What the operating system says about a process."""

    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


def raise_descriptor_limit() -> int:
    """Let this process have as many files and connections open as a node may need; returns how many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = WANTED_DESCRIPTORS if hard == unlimited else min(WANTED_DESCRIPTORS, hard)
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return WANTED_DESCRIPTORS if soft == unlimited else soft


def open_chunks(descriptors: int) -> int:
    """Of how many chunks a chunkserver that may have so many files open keeps those of the chunks open."""
    return max(1, descriptors // _DESCRIPTORS_A_CHUNK)


def require_descriptors() -> None:
    """Raise NoSpace if a node, started by this process, could not open the files that it needs."""
    if (limit := raise_descriptor_limit()) < NEEDED_DESCRIPTORS:
        raise NoSpace(
            f"a process may have only {limit:,} files open here, a chunkserver needs {NEEDED_DESCRIPTORS}; "
            "`ulimit -Hn` shows the limit, and whoever runs this machine can raise it"
        )


def identify(process_id: int) -> ProcessIdentity | None:
    """The identity of the process that has this id now; None if there is none."""
    try:
        return ProcessIdentity(process_id, psutil.Process(process_id).create_time())
    except psutil.Error:
        return None


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    return ProcessIdentity(os.getpid(), psutil.Process().create_time())


def state_of(identity: ProcessIdentity) -> ProcessState:
    """Whether the process runs, is paused by a signal, or is gone. One that ended and was not collected yet is gone."""
    process = _find(identity)
    if process is None:
        return ProcessState.GONE
    try:
        status = process.status()
    except psutil.Error:
        return ProcessState.GONE
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return ProcessState.GONE
    return ProcessState.PAUSED if status == psutil.STATUS_STOPPED else ProcessState.RUNNING


def send_signal(identity: ProcessIdentity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False if it is gone."""
    process = _find(identity)
    if process is None:
        return False
    try:
        process.send_signal(number)
    except psutil.Error:
        return False
    return True


def _find(identity: ProcessIdentity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity.process_id)
        if abs(process.create_time() - identity.started) > START_TOLERANCE_SECONDS:
            return None
        return process
    except psutil.Error:
        return None


def start_program(config: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start a node's program on its configuration file; what it prints goes to the end of `log`."""
    rooms = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": f"{rooms}{os.pathsep}{inherited}" if inherited else rooms}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", PROGRAM, "--config", str(config)],
            cwd=config.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def find_programs(folder: Path) -> list[ProcessIdentity]:
    """All living node programs whose configuration file is below `folder`, whoever started them."""
    prefix = str(folder) + os.sep
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if PROGRAM in command and any(part.startswith(prefix) for part in command):
                found.append(ProcessIdentity(process.pid, process.create_time()))
    return [identity for identity in found if state_of(identity) is not ProcessState.GONE]


def kill_process(identity: ProcessIdentity) -> None:
    """End a process without a warning, as a crash would. Returns when it is gone."""
    send_signal(identity, signal.SIGKILL)
    _wait_until_gone([identity], 10.0)


def end_processes(identities: Iterable[ProcessIdentity], grace_seconds: float) -> list[ProcessIdentity]:
    """Ask the processes to stop, wait, and kill the ones that have not stopped within the grace. Returns when all are
    gone, with the ones that had to be killed. Blocks: what must not be interrupted half-way must not wait on a loop."""
    waiting = list(identities)
    for identity in waiting:
        send_signal(identity, signal.SIGTERM)
        send_signal(identity, signal.SIGCONT)  # A paused process hears the first signal only once it goes on.
    waiting = _wait_until_gone(waiting, grace_seconds)
    for identity in waiting:
        send_signal(identity, signal.SIGKILL)
    _wait_until_gone(waiting, 10.0)
    return waiting


def _wait_until_gone(identities: Sequence[ProcessIdentity], seconds: float) -> list[ProcessIdentity]:
    deadline = time.monotonic() + seconds
    while True:
        waiting = [identity for identity in identities if state_of(identity) is not ProcessState.GONE]
        if not waiting or time.monotonic() >= deadline:
            return waiting
        time.sleep(0.02)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the block is done: what ends processes must not be ended half-way itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
