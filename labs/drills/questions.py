"""Questions, answers, and what an answer is worth: pure.

    predict   an answer from before the deed; it is judged once the evidence shows what came of the deed
    observe   an answer that the evidence has now; a wrong one may be corrected, for fewer points
    do        no answer: the evidence shows whether it was done
    explain   words for the teacher; no points from us

>>> values("a node", ("cs2",)).matches("CS2"), values("a number", (7,)).matches("8")
(True, False)
"""

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.settings import parse_bytes
from runtime.errors import InvalidRequest, shown

LONGEST_ANSWER = 4000
FIRST_OF_TWO = 2
"""A question with two choices is answered once: the second try would be no answer."""


class Kind(enum.Enum):
    """When a question can be answered, and who judges."""

    PREDICT = "predict"
    OBSERVE = "observe"
    DO = "do"
    EXPLAIN = "explain"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a page. `form` says what an answer looks like: "a node", "a number", "bytes", "words", or
    "one of" with `choices`."""

    name: str
    kind: Kind
    points: int
    form: str
    text: str
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> str:
        """An answer in its plain form. Raises InvalidRequest for one that can be none: that costs no try.

        >>> Question("v", Kind.OBSERVE, 1, "a number", "").read("0x10")
        '16'
        >>> Question("v", Kind.OBSERVE, 1, "one of", "", ("a rename", "a copy")).read("Rename")
        'a rename'
        """
        text = text.strip()
        if self.kind is Kind.DO:
            raise InvalidRequest(f"{self.name} wants no answer: it is looked for in the cluster")
        if not text or len(text) > LONGEST_ANSWER:
            raise InvalidRequest(f"an answer of {len(text)} letters to {self.name}: expected 1 to {LONGEST_ANSWER}")
        try:
            return _READERS[self.form](text) if self.form in _READERS else self._choice(text)
        except (ValueError, InvalidRequest):
            raise InvalidRequest(f"{shown(text)} for {self.name}: expected {self.expected}") from None

    @property
    def expected(self) -> str:
        """What an answer looks like, in words."""
        examples = {
            "a node": "a node such as cs2",
            "a number": "a whole number such as 3 or 0x2a",
            "bytes": "a number of bytes such as 1048576, 256K or 1M",
            "words": "some words",
        }
        return examples.get(self.form) or "one of " + " / ".join(self.choices)

    def _choice(self, text: str) -> str:
        found = [choice for choice in self.choices if text.lower() in choice.lower()]
        exact = [choice for choice in self.choices if choice.lower() == text.lower()]
        if len(exact or found) != 1:
            raise ValueError(text)
        return (exact or found)[0]


def _node(text: str) -> str:
    if not re.fullmatch(r"(cs\d+|master\d*|lock|client\d*)", text.lower()):
        raise ValueError(text)
    return text.lower()


_READERS: dict[str, Callable[[str], str]] = {
    "a node": _node,
    "a number": lambda text: str(int(text.replace(",", ""), 0)),
    "bytes": lambda text: str(parse_bytes(text)),
    "words": lambda text: text,
}


class NotYet(Exception):
    """The evidence does not show it yet; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the evidence says. `accepted`: the answers that are right, in their plain form. `because`: how it is known.
    `deed`: the moment of the deed, in seconds since the epoch, after which a prediction is none; 0: it has none.
    `share`: a number may be wrong by this share of the right one."""

    accepted: tuple[str, ...]
    because: str
    deed: float = 0.0
    share: float = 0.0

    def matches(self, answer: str) -> bool:
        """Whether an answer in its plain form is right."""
        if self.share:
            right = float(self.accepted[0])
            return abs(float(answer) - right) <= self.share * right
        return answer.lower() in (accepted.lower() for accepted in self.accepted)


def values(form: str, accepted: tuple[Any, ...], because: str = "", *, deed: float = 0.0, share: float = 0.0) -> Truth:
    """A truth from values of any type."""
    return Truth(tuple(str(one).lower() if form == "a node" else str(one) for one in accepted), because, deed, share)


DONE = "done"


def done(because: str, deed: float = 0.0) -> Truth:
    """What a DO question finds when it was done."""
    return Truth((DONE,), because, deed)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a student said, and when, in seconds since the epoch."""

    question: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What came of one question. `is_settled`: nothing that the student does can change it any more."""

    question: str
    points: int
    of: int
    verdict: str
    remark: str
    answer: str = ""
    is_settled: bool = False
    tries: int = field(default=0)


def worth(points: int, try_number: int, choices: int = 0) -> int:
    """What a right answer is worth at this try, counted from 1: all, half, a quarter, nothing.

    >>> [worth(4, number) for number in (1, 2, 3, 4)], worth(4, 2, choices=2)
    ([4, 2, 1, 0], 0)
    """
    if try_number > 3 or (choices and choices <= FIRST_OF_TWO and try_number > 1):
        return 0
    return points >> (try_number - 1)


def mark(question: Question, answers: list[Answer], truth: Truth | None, missing: str = "") -> Mark:
    """Judge the answers to one question. `truth` is None while the evidence does not show it, because of `missing`."""
    given = [answer for answer in answers if answer.question == question.name]
    if question.kind is Kind.EXPLAIN:
        text = given[-1].text if given else ""
        return Mark(question.name, 0, 0, "for the teacher" if given else "open", "", text, False, len(given))
    if question.kind is Kind.DO:
        if truth is None:
            return Mark(question.name, 0, question.points, "open", missing)
        return Mark(question.name, question.points, question.points, "done", truth.because, is_settled=True)
    if not given:
        return Mark(question.name, 0, question.points, "open", "")
    if truth is None:
        verdict = "noted" if question.kind is Kind.PREDICT else "open"
        return Mark(question.name, 0, question.points, verdict, missing, given[-1].text, tries=len(given))
    return _judged(question, given, truth)


def _judged(question: Question, given: list[Answer], truth: Truth) -> Mark:
    if question.kind is Kind.PREDICT:
        return _prediction(question, given, truth)
    choices = len(question.choices)
    for number, answer in enumerate(given, start=1):
        if truth.matches(answer.text):
            points = worth(question.points, number, choices)
            return Mark(question.name, points, question.points, "right", truth.because, answer.text, True, number)
    over = worth(question.points, len(given) + 1, choices) == 0
    remark = truth.because if over else ""
    return Mark(question.name, 0, question.points, "wrong", remark, given[-1].text, over, len(given))


def _prediction(question: Question, given: list[Answer], truth: Truth) -> Mark:
    """The last answer from before the deed counts; without one, the first from after it, for half."""
    before = [answer for answer in given if not truth.deed or answer.at < truth.deed]
    answer = before[-1] if before else given[0]
    is_right = truth.matches(answer.text)
    points = (question.points if before else question.points // 2) if is_right else 0
    late = "" if before else " (said after the deed: half the points)"
    verdict = "right" if is_right else "wrong"
    return Mark(question.name, points, question.points, verdict, truth.because + late, answer.text, True, len(given))
