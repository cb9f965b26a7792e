"""What a reported replica is."""

from master.garbage import GARBAGE, Verdict, judge_replica


def judged(reported: int, *, version: int | None = 5, attempted: int | None = 5, forming: bool = False,
           unwanted: bool = False) -> Verdict:  # fmt: skip
    return judge_replica(
        reported=reported, version=version, attempted=attempted, is_forming=forming, is_unwanted=unwanted
    )


def test_every_combination_has_its_verdict() -> None:
    assert judged(5) is Verdict.CURRENT
    assert judged(4) is Verdict.STALE
    assert judged(6) is Verdict.NEWER
    assert judged(6, attempted=7) is Verdict.NEWER
    assert judged(5, version=None, attempted=None) is Verdict.ORPHAN
    assert judged(5, unwanted=True) is Verdict.UNWANTED


def test_nothing_is_garbage_while_it_is_being_made() -> None:
    for reported in (1, 5, 9):
        assert judged(reported, forming=True) not in GARBAGE
        assert judged(reported, version=None, attempted=None, forming=True) not in GARBAGE
