"""What a command says while it tries again."""

from gfs.events import MasterAskedAgain, ReplicaSkipped
from runtime.events import Event, NodeStarted, Record
from tabletop.waiting import LastTry


def record(event: Event, seconds: float) -> Record:
    return Record(1, int(seconds * 1e6), "client", "", event)


def test_only_the_last_failed_try_is_kept_and_only_for_a_moment():
    tries = LastTry()
    assert tries.reason(now=10.0) == ""
    tries.write(record(MasterAskedAgain("no answer in time"), 10.0))
    tries.write(record(NodeStarted("client"), 11.0))
    assert tries.reason(now=11.0) == "no answer in time"
    tries.write(record(ReplicaSkipped("/a", 0, 1, "cs1", "the connection broke"), 12.0))
    assert tries.reason(now=13.0) == "the connection broke"
    assert tries.reason(now=60.0) == ""


def test_a_temporary_name_is_not_shown():
    tries = LastTry()
    reason = "no space for a chunk of '/d/.writing-424f6ff4b50736a5'; delete something"
    tries.write(record(MasterAskedAgain(reason), 1.0))
    assert tries.reason(now=1.0) == "no space for a chunk of the file; delete something"
    reason = "no space for a chunk of '/.writing-424f6ff4b50736a5/sub/.writing-0123456789abcdef'; delete something"
    tries.write(record(MasterAskedAgain(reason), 1.0))
    assert tries.reason(now=1.0) == "no space for a chunk of the file; delete something"
