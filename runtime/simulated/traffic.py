"""All messages of a simulation, as somebody sees them who stands beside the network.

    traffic = Traffic(simulation, simulation.sink.records)      # before the simulation runs
    simulation.run(story())
    for passage in traffic.passages: ...

Events tell what servers did; for how they came to do it one wants to see the messages, also those that were lost. A
real cluster cannot show them: there nobody sees all. Watching draws nothing from the tape and delays nothing, so that a
run that is watched is the same run.

`steps` puts the messages between the records of all nodes: records that were written before a step are its `records`.
So vector clocks can be computed exactly (cluster/timeline).
"""

from collections.abc import Sized
from dataclasses import dataclass, field

from runtime.faults.links import Kind
from runtime.simulated.messages import Message
from runtime.simulated.world import Simulation
from runtime.world import Buffer


@dataclass(slots=True)
class Passage:
    """One message from its sending to its arrivals, in virtual nanoseconds. Without an arrival it was lost, or is still
    under way at the end."""

    number: int
    method: str
    kind: Kind
    source: str
    target: str
    body: Buffer
    status: str
    sent: int
    arrivals: list[int] = field(default_factory=list)
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A message leaves its source, or comes to its target, after so many records had been written."""

    records: int
    passage: Passage
    is_arrival: bool


class Traffic:
    """The watcher of one simulation. `records` is what its sink keeps: only its length is asked for."""

    def __init__(self, simulation: Simulation, records: Sized) -> None:
        self.passages: list[Passage] = []
        self.steps: list[Step] = []
        self._by_number: dict[int, Passage] = {}
        self._records = records
        self._loop = simulation.loop
        simulation.fabric.watcher = self

    def sent(self, message: Message) -> None:
        """A message is being sent."""
        passage = Passage(
            message.number,
            message.method,
            message.kind,
            message.source,
            message.target,
            message.body,
            message.status,
            self._loop.nanoseconds,
        )
        self._by_number[message.number] = passage
        self.passages.append(passage)
        self.steps.append(Step(len(self._records), passage, is_arrival=False))

    def arrived(self, number: int) -> None:
        """It came to the machine of a receiver that lives."""
        passage = self._by_number[number]
        passage.arrivals.append(self._loop.nanoseconds)
        self.steps.append(Step(len(self._records), passage, is_arrival=True))

    def lost(self, number: int) -> None:
        """It never comes, or this double of it does not."""
        self._by_number[number].lost = self._loop.nanoseconds
