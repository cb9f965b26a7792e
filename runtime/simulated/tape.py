"""The tape: every choice of a simulation comes from one seed, and 0 means "nothing special".

The problem. If all choices came from one random generator, a new draw in the disk would change every later choice of
the network, and a failure found yesterday would be gone. The idea: one stream of choices for each purpose, each seeded
by the simulation's seed and the purpose's name. A stream counts its draws, so that the first difference between two
runs can be named.

>>> Tape(7).stream("disk").below(100) == Tape(7).stream("disk").below(100)
True
>>> Tape(0, quiet=True).stream("disk").below(100)
0
"""

import hashlib
import random
from typing import TypeVar

T = TypeVar("T")


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


class Tape:
    """All streams of one simulation. A quiet tape chooses 0 everywhere."""

    def __init__(self, seed: int, *, quiet: bool = False) -> None:
        self.seed = seed
        self._quiet = quiet
        self._streams: dict[str, Stream] = {}

    def stream(self, purpose: str) -> Stream:
        """The stream of choices for one purpose, always the same object."""
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = Stream(None if self._quiet else self.generator(purpose))
        return found

    def generator(self, purpose: str) -> random.Random:
        """A fresh generator that the seed and the purpose decide: what a node calls random."""
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        return random.Random(int.from_bytes(digest[:16], "big"))

    def draws(self) -> dict[str, int]:
        """How many choices each stream made."""
        return {purpose: stream.draws for purpose, stream in sorted(self._streams.items())}
