"""How far two logs agree, against logs that are really written down record by record."""

from hypothesis import given
from hypothesis import strategies as st

from master.failover.agreement import LogExtent, agreed_through

# A step of a history: who acts next begins a tenure with a beginning of which log, then so many records are added to
# its own log, and so many of these to the other's.
Step = tuple[bool, int, int]
Log = list[tuple[int, int]]  # each record's epoch, and its number


def extent(log: Log) -> LogExtent:
    tenures = [(epoch, number) for place, (epoch, number) in enumerate(log) if epoch and log[place - 1][0] != epoch]
    return LogExtent(tuple(tenures), len(log))


def really_common(one: Log, other: Log) -> int:
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


def played(steps: list[Step]) -> list[Log]:
    """Two logs after a history in which each epoch has one master, who brings a beginning of its log to the other."""
    logs: list[Log] = [[(0, 1)], [(0, 1)]]
    for epoch, (is_second, own, brought) in enumerate(steps, start=1):
        mine, other = (logs[1], logs[0]) if is_second else (logs[0], logs[1])
        mine.extend((epoch, len(mine) + 1 + number) for number in range(1 + own))
        keep = really_common(mine, other)
        if brought:
            del other[keep:]
            other.extend(mine[keep : len(mine) - own + min(brought - 1, own)])
    return logs


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 6)), max_size=12))
def test_logs_agree_up_to_the_last_record_that_is_the_same_in_both(steps: list[Step]):
    one, other = played(steps)
    assert agreed_through(extent(one), extent(other)) == really_common(one, other)
    assert agreed_through(extent(other), extent(one)) == really_common(one, other)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 6)), max_size=12), st.integers(1, 3))
def test_logs_that_have_forgotten_their_first_tenures_never_agree_in_too_much(steps: list[Step], kept: int):
    one, other = played(steps)
    mine, theirs = extent(one), extent(other)
    shortened = LogExtent(mine.tenures[-kept:], mine.last_sequence)
    assert agreed_through(shortened, theirs) <= really_common(one, other)
