"""What single parts of a carried call cost, beside what could stand in their place: microseconds of processor time.

python -m bench.rpc_parts
"""

import asyncio
import struct
import time
from collections.abc import Callable

from runtime.carried.deadlines import Deadlines
from runtime.wire.carry_pb2 import Envelopes

CALLS = 32
TURNS = 2000
ROUNDS = 5
PATH, CAUSE, BODY = "/tabletop.Master/Stat", "desk.123", b"x" * 60
FIXED = struct.Struct("<BQQdHBI")


def with_protobuf() -> None:
    """Write a message of 32 requests, and read it."""
    message = Envelopes()
    for number in range(CALLS):
        message.envelopes.add(number=number, lamport=99, body=BODY, method=PATH, seconds=4.9, cause=CAUSE)
    for one in Envelopes.FromString(message.SerializeToString()).envelopes:
        _ = (one.kind, one.number, one.lamport, one.body, one.method, one.seconds, one.cause)


def with_struct() -> None:
    """The same, packed by hand."""
    parts = []
    for number in range(CALLS):
        path, cause = PATH.encode(), CAUSE.encode()
        parts += [FIXED.pack(0, number, 99, 4.9, len(path), len(cause), len(BODY)), path, cause, BODY]
    data, at = b"".join(parts), 0
    while at < len(data):
        *_, of_path, of_cause, of_body = FIXED.unpack_from(data, at)
        at += FIXED.size
        _ = (data[at : at + of_path].decode(), data[at + of_path : at + of_path + of_cause].decode())
        at += of_path + of_cause
        _ = (data[at : at + of_body],)
        at += of_body


def with_heap(deadlines: Deadlines[int], table: dict[int, int]) -> None:
    """The deadlines of 32 calls, which are over before them."""
    loop = asyncio.get_running_loop()
    for number in range(CALLS):
        table[number] = number
        deadlines.add(loop.time() + 5, number)
        del table[number]


def microseconds(work: Callable[[], object]) -> float:
    """For one of the 32: the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TURNS):
            work()
        best = min(best, time.process_time() - began)
    return best / TURNS / CALLS * 1e6


async def measure() -> list[str]:
    """All lines."""
    table: dict[int, int] = {}
    loop = asyncio.get_running_loop()
    deadlines: Deadlines[int] = Deadlines(loop, table, print)

    def timers() -> None:
        for _ in range(CALLS):
            loop.call_at(loop.time() + 5, print).cancel()

    found = {
        "an envelope, written and read: protobuf": microseconds(with_protobuf),
        "an envelope, written and read: struct": microseconds(with_struct),
        "a deadline: a timer of asyncio": microseconds(timers),
        "a deadline: the heap": microseconds(lambda: with_heap(deadlines, table)),
    }
    return [f"{name:<45} {value:6.2f} us" for name, value in found.items()]


if __name__ == "__main__":
    print("\n".join(asyncio.run(measure())))
