"""The change of METADATA by which a tablet is split, when its answers are lost (BT 5.2)."""

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import NotServed, TimedOut, Unavailable
from runtime.wire.tables_pb2 import TabletPlace
from tablet.hosting.splitting import _committed

BEFORE = TabletPlace(tablet="users-000003", table="users", server="ts1-1", token=7)
AFTER = TabletPlace(tablet="users-000005", table="users", start_row=b"m", server="ts1-1", token=7)
OTHER = TabletPlace(tablet="users-000003", table="users", server="ts2-9", token=8)

TRIMMED = TabletPlace(tablet="users-000003", table="users", server="ts1-1", token=7, logs=["ts1-1"])


class Rows:
    """A row of METADATA that does what a story says: of each try its outcome, and what the row is afterwards."""

    def __init__(self, *story: tuple[bool | Exception, TabletPlace]) -> None:
        self.story = list(story)
        self.row = self.expected = BEFORE

    async def replace(self, before: TabletPlace, after: TabletPlace) -> bool:
        assert after == AFTER
        assert before == self.expected
        outcome, self.row = self.story.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def read(self, place: TabletPlace) -> TabletPlace:
        if self.row == TRIMMED:
            self.expected = TRIMMED
        return self.row


async def committed(*story: tuple[bool | Exception, TabletPlace]) -> bool:
    async def sleep(seconds: float) -> None:
        """Time passes."""

    def in_jeopardy(*, definite: bool = True) -> None:
        raise NotServed("the session is in jeopardy", definite=definite)

    life: Any = SimpleNamespace(world=SimpleNamespace(clock=SimpleNamespace(sleep=sleep)), require_safe=in_jeopardy)
    rows: Any = Rows(*story)
    found = await _committed(life, rows, BEFORE, AFTER)
    assert not rows.story
    return found


async def test_a_try_that_took_effect_after_it_was_given_up_makes_the_next_one_fail_and_the_tablet_is_split():
    """The second try finds another row than it expects: its own. Taken for somebody else's, the tablet was served on
    beside its halves."""
    assert await committed((TimedOut("no answer"), BEFORE), (False, AFTER))


async def test_a_definite_error_ends_nothing_as_long_as_an_earlier_try_may_take_effect():
    assert await committed((TimedOut("no answer"), BEFORE), (Unavailable("no", definite=True), BEFORE), (True, AFTER))


async def test_a_row_that_somebody_else_has_changed_takes_no_try_any_more():
    assert not await committed((TimedOut("no answer"), BEFORE), (False, OTHER))
    assert not await committed((False, OTHER))


async def test_a_session_in_jeopardy_ends_nothing_as_long_as_a_try_may_take_effect():
    """It may be safe again. The tablet took writes again then, and METADATA named its halves: the writes were lost."""
    assert await committed((TimedOut("no answer"), BEFORE), (TimedOut("no answer"), BEFORE), (True, AFTER))


async def test_a_definite_error_of_the_first_try_is_told():
    with pytest.raises(Unavailable):
        await committed((Unavailable("no", definite=True), BEFORE))


async def test_a_row_out_of_which_the_master_has_taken_logs_is_still_the_same_tablets():
    assert await committed((False, TRIMMED), (True, AFTER))
