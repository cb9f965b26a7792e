"""The rules that planted bugs take out: the first sentence of each bug's docstring, as the choices of a question.

A student sees eight rules with letters. Which bug is planted is drawn, and so are the other seven and their order.
"""

import random
from collections.abc import Sequence

from cluster.swarm.bugs import BUGS, described

LETTERS = "abcdefgh"


def rule(name: str) -> str:
    """The rule that a bug takes out, in one paragraph.

    >>> rule("failed-append-is-acknowledged")
    'A record is acknowledged only if every replica has written it.'
    """
    return " ".join(described(name).split("\n\n")[0].split())


def lettered(planted: str, draw: int, pool: Sequence[str] = ()) -> dict[str, str]:
    """Eight bugs by letter, the planted one among them.

    >>> found = lettered("failed-append-is-acknowledged", 7)
    >>> len(found), "failed-append-is-acknowledged" in found.values()
    (8, True)
    """
    chance = random.Random(f"rules {draw}")
    others = [name for name in pool or BUGS if name != planted]
    chosen = [planted, *chance.sample(others, len(LETTERS) - 1)]
    chance.shuffle(chosen)
    return dict(zip(LETTERS, chosen, strict=True))
