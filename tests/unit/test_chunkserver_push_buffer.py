"""The buffer of pushed data: bounded by bytes, least recently used first (GFS 3.1 step 3)."""

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chunkserver.mutation.push_buffer import SPARED_SECONDS, USED_SECONDS, Payload, PushBuffer
from runtime.errors import DataNotBuffered


def put(buffer: PushBuffer, number: int, count: int = 40, *, now: float = 0.0) -> None:
    target = buffer.reserve((1, number), count, now=now)
    assert target is not None
    target[:] = bytes([number]) * count
    buffer.complete((1, number), now=now)


def test_the_least_recently_used_data_goes_first():
    buffer = PushBuffer(100)
    put(buffer, 1, now=0.0)
    put(buffer, 2, now=1.0)
    buffer.pin((1, 1), 40)
    buffer.unpin((1, 1), used=False, now=2.0)
    put(buffer, 3, now=2.0 + SPARED_SECONDS)
    assert buffer.dropped_unused == 1
    assert bytes(buffer.pin((1, 3), 40).data) == b"\3" * 40


def test_data_in_use_and_data_still_arriving_are_never_dropped():
    buffer = PushBuffer(100)
    put(buffer, 1)
    pinned = buffer.pin((1, 1), 40)
    assert buffer.reserve((1, 2), 40, now=0.0) is not None
    assert buffer.reserve((1, 3), 40, now=1e6) is None
    assert bytes(pinned.data) == b"\1" * 40


def test_used_data_answers_a_repetition_and_makes_room_before_anything_else():
    buffer = PushBuffer(100)
    put(buffer, 1)
    put(buffer, 2)
    buffer.pin((1, 2), 40)
    buffer.unpin((1, 2), used=True, now=0.0)
    assert bytes(buffer.pin((1, 2), 40).data) == b"\2" * 40
    buffer.unpin((1, 2), used=True, now=0.0)
    put(buffer, 3)
    assert bytes(buffer.pin((1, 1), 40).data) == b"\1" * 40
    with pytest.raises(DataNotBuffered):
        buffer.pin((1, 2), 40)


def test_old_data_ages_out_and_its_memory_is_given_back():
    buffer = PushBuffer(100)
    put(buffer, 1, now=0.0)
    assert buffer.drop_aged(59.0, 60.0) == 0
    assert buffer.drop_aged(61.0, 60.0) == 1
    assert buffer.held_bytes == 0
    put(buffer, 2, now=100.0)
    buffer.pin((1, 2), 40)
    buffer.unpin((1, 2), used=True, now=100.0)
    buffer.drop_aged(100.0 + USED_SECONDS + 1, 60.0)
    assert len(buffer) == 0


@pytest.mark.parametrize("length", [39, 41])
def test_data_of_another_length_than_the_mutation_names_is_not_it(length):
    buffer = PushBuffer(100)
    put(buffer, 1)
    with pytest.raises(DataNotBuffered):
        buffer.pin((1, 1), length)


class AnyUse(RuleBasedStateMachine):
    """Whatever is asked of it, the bound holds and data that can be pinned is the data that was pushed."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = PushBuffer(200)
        self.now = 0.0
        self.arriving: dict[int, memoryview] = {}
        self.pinned: list[tuple[int, int, Payload]] = []
        self.lengths: dict[int, int] = {}

    @rule(number=st.integers(0, 3), length=st.integers(1, 110), passed=st.floats(0, 4))
    def push(self, number, length, passed):
        self.reserve(number, length, passed)
        self.end(number, arrived=True)

    @rule(number=st.integers(0, 3), length=st.integers(1, 250), passed=st.floats(0, 4))
    def reserve(self, number, length, passed):
        self.now += passed
        target = self.buffer.reserve((1, number), length, now=self.now)
        if target is not None:
            assert number not in self.arriving and number not in [one for one, _, _ in self.pinned]
            target[:] = bytes([number]) * length
            self.arriving[number] = target
            self.lengths[number] = length

    @rule(number=st.integers(0, 3), arrived=st.booleans())
    def end(self, number, arrived):
        if self.arriving.pop(number, None) is not None:
            if arrived:
                self.buffer.complete((1, number), now=self.now)
            else:
                self.buffer.abandon((1, number))

    @rule(number=st.integers(0, 3))
    def pin(self, number):
        length = self.lengths.get(number, 1)
        try:
            self.pinned.append((number, length, self.buffer.pin((1, number), length)))
        except DataNotBuffered:
            return
        assert number not in self.arriving

    @rule(used=st.booleans())
    def unpin(self, used):
        if self.pinned:
            number, _, _ = self.pinned.pop()
            self.buffer.unpin((1, number), used=used, now=self.now)

    @rule(passed=st.floats(0, 100))
    def age(self, passed):
        self.now += passed
        self.buffer.drop_aged(self.now, 60.0)

    @invariant()
    def bounded_and_true(self):
        self.buffer.check_invariants()
        for number, length, payload in self.pinned:
            assert bytes(payload.data) == bytes([number]) * length


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
