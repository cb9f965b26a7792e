"""A batch: mutations of many rows on their way to the servers of their tablets (BT 3).

A mutation is left to be sent, or sent, or settled, with its failure or None. One that was refused for certain, by a
tablet that may be on its way to another server, is left to be sent again; one that may have happened is settled.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from runtime.errors import TabletopError
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from tablet.engine.model.checks import check_fragment_size, check_row
from tablet.engine.model.operations import Operation, SetCell
from tablet.location.messages import changes_to_messages

Mutation = tuple[bytes, Sequence[Operation]]
Placed = tuple[int, TabletPlace]
"""The number of a mutation in its batch, and the tablet that has its row."""


@dataclass(slots=True)
class Batch:
    """The mutations of one batch by their numbers, what came of each, and which are `left` to be sent."""

    outcomes: list[TabletopError | None]
    left: list[int] = field(default_factory=list)
    _mutations: list[wire.RowMutation] = field(default_factory=list)

    @classmethod
    def of(cls, given: Iterable[Mutation]) -> "Batch":
        """A batch that nothing is sent of yet. What no server would take is settled at once."""
        batch = cls([])
        for number, (row, operations) in enumerate(given):
            mutation = wire.RowMutation()
            try:
                check_row(row)
                check_fragment_size(row, sum(len(one.value) for one in operations if isinstance(one, SetCell)))
                mutation = wire.RowMutation(row=row, changes=changes_to_messages(operations))
                batch.outcomes.append(None)
                batch.left.append(number)
            except TabletopError as error:
                batch.outcomes.append(error)
            batch._mutations.append(mutation)
        return batch

    def row(self, number: int) -> bytes:
        """The row of a mutation."""
        return self._mutations[number].row

    def take(self) -> list[int]:
        """Those that are left, in their order, which are sent now."""
        taken, self.left = sorted(self.left), []
        return taken

    def note(self, number: int, failure: TabletopError | None, *, may_pass: bool) -> None:
        """What came of one; `may_pass`: send it again, for it has certainly not happened."""
        self.outcomes[number] = failure
        if may_pass:
            self.left.append(number)

    def calls(self, group: Sequence[Placed], most: int, most_bytes: int) -> Iterator[Sequence[Placed]]:
        """The mutations of one server in calls of so many rows and bytes, or of one row that is larger."""
        first = size = 0
        for position, (number, _) in enumerate(group):
            more = self._mutations[number].ByteSize()
            if position > first and (position - first >= most or size + more > most_bytes):
                yield group[first:position]
                first, size = position, 0
            size += more
        if first < len(group):
            yield group[first:]

    def request(self, call: Sequence[Placed]) -> wire.MutateRowsRequest:
        """The message of one call."""
        request = wire.MutateRowsRequest()
        for number, place in call:
            mutation = self._mutations[number]
            mutation.tablet = place.tablet
            request.mutations.append(mutation)
        return request
