"""The file that is handed in: what the student said, what the cluster said, and a signature over both.

The signature is HMAC-SHA256 with the student's key over the report in canonical JSON (keys sorted, no spaces, ASCII),
without the signature. Whoever changes a letter and has no key is found out; what that proves is in docs/drills.md.
"""

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labs.drills.questions import Answer
from labs.handing_in.classes import Card
from labs.state import Attempt
from runtime.errors import IncompatibleFormat

FORMAT = 1
LARGEST_BYTES = 64 << 20
ALONE = "(no class)"


@dataclass(frozen=True, slots=True)
class HandedAttempt:
    """One attempt as it was handed in. `points` is what the student's tool said: for comparison."""

    drill: str
    number: int
    draw: int
    started: float
    hints: list[float]
    answers: list[Answer]
    evidence: dict[str, Any]
    points: int


@dataclass(frozen=True, slots=True)
class Report:
    """A whole file. `values` is what it holds, the signature included."""

    class_name: str
    student: str
    written: float
    attempts: list[HandedAttempt]
    values: dict[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """What tells two different reports apart."""
        return hashlib.sha256(canonical(self.values)).hexdigest()


def canonical(values: Any) -> bytes:
    """The one way in which a value is written.

    >>> canonical({"b": 1, "a": "é"})
    b'{"a":"\\\\u00e9","b":1}'
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def signature_of(values: dict[str, Any], key: str) -> str:
    """The signature of a report under a key."""
    signed = {name: value for name, value in values.items() if name != "signature"}
    return hmac.new(bytes.fromhex(key), b"report\0" + canonical(signed), hashlib.sha256).hexdigest()


def is_signed_by(values: dict[str, Any], key: str) -> bool:
    """Whether a report is as it was when somebody with this key signed it."""
    return hmac.compare_digest(str(values.get("signature", "")), signature_of(values, key))


def report_of(attempts: list[Attempt], points: dict[str, int], card: Card | None, *, now: float) -> dict[str, Any]:
    """What is handed in. Without a card nobody can sign it."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "class": card.class_name if card else ALONE,
        "student": card.student if card else "",
        "written": now,
        "attempts": [
            {
                "drill": one.drill,
                "number": one.number,
                "draw": one.draw,
                "started": one.started,
                "hints": one.hints,
                "answers": [asdict(answer) for answer in one.answers],
                "evidence": one.evidence,
                "points": points[one.drill],
            }
            for one in attempts
        ],
    }
    values["signature"] = signature_of(values, card.key) if card else ""
    return values


def read_report(path: Path) -> Report:
    """A report from a file. Raises IncompatibleFormat that says what is wrong with it."""
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise IncompatibleFormat(f"{size} bytes: a report has at most {LARGEST_BYTES}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise IncompatibleFormat(f"not JSON: {error}") from error
    if not isinstance(values, dict) or "attempts" not in values:
        raise IncompatibleFormat("JSON, and no report of `tabletop drill report`")
    if values.get("format") != FORMAT:
        raise IncompatibleFormat(f"format {values.get('format')!r}: this version grades format {FORMAT}")
    try:
        attempts = [_attempt(one) for one in values["attempts"]]
        names = [one.drill for one in attempts]
        if len(set(names)) < len(names):
            raise ValueError("a drill is in it twice")
        return Report(str(values["class"]), str(values["student"]), float(values["written"]), attempts, values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IncompatibleFormat(f"a report that lacks something: {type(error).__name__} {error}") from error


def _attempt(one: dict[str, Any]) -> HandedAttempt:
    return HandedAttempt(
        drill=str(one["drill"]),
        number=int(one["number"]),
        draw=int(one["draw"]),
        started=float(one["started"]),
        hints=[float(moment) for moment in one["hints"]],
        answers=[Answer(str(each["question"]), str(each["text"]), float(each["at"])) for each in one["answers"]],
        evidence=dict(one["evidence"]),
        points=int(one["points"]),
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
