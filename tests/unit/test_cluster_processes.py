"""Naming processes by more than a number."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cluster import processes
from cluster.processes import ProcessIdentity, ProcessState

SLEEPER = "import signal, sys; signal.signal(signal.SIGTERM, signal.{}); print('ready', flush=True); signal.pause()"


def sleeper(on_term: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-c", SLEEPER.format(on_term)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with sleeper("SIG_DFL") as started:
        yield started
        started.kill()


def identity_of(child: "subprocess.Popen[bytes]") -> ProcessIdentity:
    found = processes.identify(child.pid)
    assert found is not None
    return found


def test_this_process_runs():
    assert processes.state_of(processes.this_process()) is ProcessState.RUNNING


def test_a_process_with_the_same_number_but_another_start_is_not_the_one(child: "subprocess.Popen[bytes]"):
    other = replace(identity_of(child), started=identity_of(child).started - 100)
    assert processes.state_of(other) is ProcessState.GONE
    assert not processes.send_signal(other, signal.SIGKILL)
    assert child.poll() is None


def test_a_killed_process_is_gone_even_before_anybody_collects_it(child: "subprocess.Popen[bytes]"):
    identity = identity_of(child)
    processes.kill_process(identity)
    assert processes.state_of(identity) is ProcessState.GONE


def test_a_process_that_stops_when_asked_is_not_killed(child: "subprocess.Popen[bytes]"):
    identity = identity_of(child)
    assert processes.end_processes([identity], grace_seconds=5.0) == []
    assert processes.state_of(identity) is ProcessState.GONE


def test_a_paused_process_is_seen_as_such_and_can_be_ended(child: "subprocess.Popen[bytes]"):
    identity = identity_of(child)
    assert processes.send_signal(identity, signal.SIGSTOP)
    child.send_signal(0)
    while processes.state_of(identity) is ProcessState.RUNNING:
        pass
    assert processes.state_of(identity) is ProcessState.PAUSED
    assert processes.end_processes([identity], grace_seconds=5.0) == []


def test_a_process_that_ignores_the_request_is_killed():
    with sleeper("SIG_IGN") as stubborn:
        identity = identity_of(stubborn)
        assert processes.end_processes([identity], grace_seconds=0.05) == [identity]
        assert processes.state_of(identity) is ProcessState.GONE


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from cluster import processes
try:
    processes.require_descriptors()
    print(processes.raise_descriptor_limit())
except Exception as error:
    print(type(error).__name__, error)
"""


def limited(soft: int, hard: int) -> str:
    program = LIMITED.format(soft=soft, hard=hard)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_low_limit_of_open_files_is_raised_as_far_as_needed():
    assert limited(256, 1024) == "1024\n"


def test_a_limit_of_open_files_that_is_too_low_for_a_chunkserver_is_refused():
    assert "NoSpace a process may have only 256 files open here, a chunkserver needs 512" in limited(256, 256)
