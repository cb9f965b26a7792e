"""Hand-made histories, for tests of the swarm's judges."""

import math

from cluster.swarm.appends import frame_of
from cluster.swarm.history import Answer, History, Kind, Operation, Seen, stamp
from cluster.swarm.losses import Grant, Hindrance, Losses, PowerCut
from cluster.swarm.steps import Facts

CHUNK = 65536


def facts(
    *,
    durability: str = "replicated",
    grants: tuple[Grant, ...] = (),
    cuts: tuple[PowerCut, ...] = (),
    hindrances: tuple[Hindrance, ...] = (),
    handles: dict[tuple[int, int], int] | None = None,
) -> Facts:
    """What a run knows beside its history."""
    losses = Losses(durability, grants, cuts, hindrances)
    return Facts(CHUNK, 1 << 22, 30.0, {place: (handle,) for place, handle in (handles or {}).items()}, losses)


class Past:
    """Builds a history, operation by operation; times are given as (invoked, responded)."""

    def __init__(self) -> None:
        self.history = History()

    def add(
        self,
        kind: Kind,
        times: tuple[float, float],
        *,
        client: str = "one",
        answer: Answer = Answer.VALUE,
        error: str = "",
        **fields: object,
    ) -> Operation:
        """Any operation."""
        operation = self.history.new(client, kind, times[0], **fields)
        operation.responded, operation.answer, operation.error = times[1], answer, error
        return operation

    def refused(self, kind: Kind, times: tuple[float, float], error: str, **fields: object) -> Operation:
        """A definite failure."""
        return self.add(kind, times, answer=Answer.REFUSED, error=error, **fields)  # type: ignore[arg-type]

    def doubtful(self, kind: Kind, times: tuple[float, float], **fields: object) -> Operation:
        """An indefinite failure."""
        return self.add(kind, times, answer=Answer.DOUBTFUL, error="TimedOut", **fields)  # type: ignore[arg-type]

    def create(self, path: str, times: tuple[float, float], client: str = "one") -> Operation:
        """An acknowledged creation."""
        operation = self.add(Kind.CREATE, times, path=path, client=client)
        operation.file, operation.created = operation.number, True
        return operation

    def write(
        self,
        file: Operation,
        offset: int,
        count: int,
        times: tuple[float, float],
        *,
        client: str = "one",
        answer: Answer = Answer.VALUE,
    ) -> Operation:
        """A write to a file, named by the operation that created it."""
        return self.add(
            Kind.WRITE,
            times,
            client=client,
            answer=answer,
            file=file.number,
            offset=offset,
            count=count,
            path=file.path,
        )

    def append(
        self,
        file: Operation,
        offset: int,
        count: int,
        times: tuple[float, float],
        *,
        client: str = "one",
        answer: Answer = Answer.VALUE,
    ) -> Operation:
        """A record appended to a file, at the offset that its client was told."""
        return self.add(
            Kind.RECORD_APPEND,
            times,
            client=client,
            answer=answer,
            file=file.number,
            offset=offset,
            count=count,
            path=file.path,
        )

    def read_file(self, path: str, data: bytes, times: tuple[float, float], client: str = "one") -> Operation:
        """A whole file was read."""
        return self.add(Kind.READ_FILE, times, client=client, path=path, data=data)

    def read(
        self, file: Operation, offset: int, count: int, data: bytes, times: tuple[float, float], client: str = "one"
    ) -> Operation:
        """A range was read through a handle."""
        return self.add(
            Kind.READ, times, client=client, file=file.number, offset=offset, count=count, data=data, path=file.path
        )

    def stat(self, path: str, times: tuple[float, float], file: Operation | None = None, length: int = 0) -> Operation:
        """A look at a file; `file` None: a directory."""
        seen = Seen(path, file is None, file.number if file else 0, length)
        return self.add(Kind.STAT, times, path=path, seen=(seen,))


def record(operation: Operation) -> bytes:
    """The record that an operation appends."""
    return frame_of(operation.number, operation.count)


def written(operation: Operation, begin: int = 0, end: int | None = None) -> bytes:
    """The bytes that an operation writes."""
    return stamp(operation.number, begin, (operation.count if end is None else end) - begin)


FOREVER = math.inf
