"""The tape: every choice of a simulation comes from one seed, and 0 means "nothing special".

The problem. If all choices came from one random generator, a new draw in the disk would change every later choice of
the network, and a failure found yesterday would be gone. The idea: one stream of choices for each purpose, each seeded
by the simulation's seed and the purpose's name. A stream counts its draws, so that the first difference between two
runs can be named.

A run that failed is shrunk by asking which of its unusual choices matter. A *recorded* tape notes which draws of each
stream were not 0; a tape with *plain* ranges answers 0 for the draws of a range, and goes on afterwards with the
numbers that it would have drawn, so that the rest of the run stays as alike as it can. In the stream "loop order" 0
is first in, first out.

>>> tape = Tape(7, recorded=True)
>>> [tape.stream("disk").below(3) for _ in range(8)], tape.unusual()
([0, 0, 1, 1, 1, 0, 0, 1], {'disk': [2, 3, 4, 7]})
>>> tape = Tape(7, plain=[Plain("disk", 2, 4)])
>>> [tape.stream("disk").below(3) for _ in range(8)]
[0, 0, 0, 0, 1, 0, 0, 1]
>>> Tape(7).stream("disk").below(100) == Tape(7).stream("disk").below(100)
True
>>> Tape(0, quiet=True).stream("disk").below(100)
0
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


ALL_STREAMS = "*"


@dataclass(frozen=True, slots=True)
class Plain:
    """Draws `begin` up to, not including, `end` of a stream (None: and all later ones) are to be 0. A stream's first
    draw has the number 0; "*" is every stream."""

    stream: str
    begin: int = 0
    end: int | None = None


class Stream:
    """The choices for one purpose."""

    def __init__(self, generator: random.Random | None) -> None:
        self._generator = generator
        self.draws = 0

    def below(self, bound: int) -> int:
        """A whole number from 0 up to, not including, `bound`."""
        self.draws += 1
        return 0 if self._generator is None else int(self._generator.random() * bound)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        if probability <= 0.0 or self._generator is None:
            return False
        self.draws += 1
        return self._generator.random() < probability

    def between(self, low: float, high: float) -> float:
        """A number between the two; `low` on a quiet tape."""
        self.draws += 1
        return low if self._generator is None else low + (high - low) * self._generator.random()


class ReplayedStream(Stream):
    """A stream that notes its unusual draws, and leaves out some of them. Slower than the other one."""

    def __init__(self, generator: random.Random, plain: list[Plain]) -> None:
        super().__init__(generator)
        # The next range is the last one. There may be thousands of them, and draws only go on.
        self._plain = sorted(plain, key=lambda one: one.begin, reverse=True)
        self.unusual: list[int] = []

    def below(self, bound: int) -> int:
        """As any stream, or 0."""
        value = super().below(bound)
        return value if value and self._counts() else 0

    def chance(self, probability: float) -> bool:
        """As any stream, or False."""
        return super().chance(probability) and self._counts()

    def between(self, low: float, high: float) -> float:
        """As any stream, or `low`."""
        value = super().between(low, high)
        return value if value != low and self._counts() else low

    def _counts(self) -> bool:
        number, plain = self.draws - 1, self._plain
        while plain and (end := plain[-1].end) is not None and end <= number:
            plain.pop()
        if plain and plain[-1].begin <= number:
            return False
        self.unusual.append(number)
        return True


class Tape:
    """All streams of one simulation. A quiet tape chooses 0 everywhere."""

    def __init__(self, seed: int, *, quiet: bool = False, recorded: bool = False, plain: Sequence[Plain] = ()) -> None:
        self.seed = seed
        self._quiet = quiet
        self._recorded = recorded
        self._plain = list(plain)
        self._streams: dict[str, Stream] = {}

    def stream(self, purpose: str) -> Stream:
        """The stream of choices for one purpose, always the same object."""
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = self._new_stream(purpose)
        return found

    def _new_stream(self, purpose: str) -> Stream:
        if self._quiet:
            return Stream(None)
        plain = [one for one in self._plain if one.stream in (purpose, ALL_STREAMS)]
        generator = self.generator(purpose)
        return ReplayedStream(generator, plain) if plain or self._recorded else Stream(generator)

    def unusual(self) -> dict[str, list[int]]:
        """The numbers of the draws that were not 0, of each stream that was recorded or left something out."""
        streams = sorted(self._streams.items())
        return {purpose: stream.unusual for purpose, stream in streams if isinstance(stream, ReplayedStream)}

    def generator(self, purpose: str) -> random.Random:
        """A fresh generator that the seed and the purpose decide: what a node calls random."""
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        return random.Random(int.from_bytes(digest[:16], "big"))

    def draws(self) -> dict[str, int]:
        """How many choices each stream made."""
        return {purpose: stream.draws for purpose, stream in sorted(self._streams.items())}
