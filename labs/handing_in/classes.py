"""A class: one secret that the teacher keeps, and for each student a card with a key made of it.

A student's key is HMAC(secret, class and student), so that the teacher needs no list of keys, a card gives away nothing
of the others' keys, and whoever has only a card cannot sign in another one's name. The key also decides what is drawn
for the student (which seed, which planted bug): it cannot be chosen, and the grader draws it again.

>>> teacher = new_class("ds", ["ada", "alan"], secret=bytes(32))
>>> ada, alan = teacher.card("ada"), teacher.card("alan")
>>> ada.key == alan.key, draw_for(ada.key, "rot", 1) == draw_for(ada.key, "rot", 2)
(False, False)
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.folder import read_json, write_json
from runtime.errors import IncompatibleFormat, InvalidRequest, NotFound, shown

FORMAT = 1
MOST_STUDENTS = 2000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")


@dataclass(frozen=True, slots=True)
class Card:
    """What one student gets. `key` is in hexadecimal."""

    class_name: str
    student: str
    key: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"format": FORMAT, "card": asdict(self)}


@dataclass(frozen=True, slots=True)
class TeachersClass:
    """What the teacher keeps. `secret` is in hexadecimal."""

    class_name: str
    secret: str
    students: tuple[str, ...]

    def card(self, student: str) -> Card:
        """The card of a student. Raises NotFound."""
        if student not in self.students:
            raise NotFound(f"no student {student!r} in class {self.class_name!r}")
        told = f"student\0{self.class_name}\0{student}".encode()
        key = hmac.new(bytes.fromhex(self.secret), told, hashlib.sha256).hexdigest()
        return Card(self.class_name, student, key)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"format": FORMAT, "class": {**asdict(self), "students": list(self.students)}}


def new_class(name: str, students: Sequence[str], *, secret: bytes | None = None) -> TeachersClass:
    """A class with a new secret. Raises InvalidRequest for names that cannot be files, or come twice."""
    for one in (name, *students):
        if not _NAME.fullmatch(one):
            raise InvalidRequest(f"name {shown(one)}: expected 1 to 60 letters, digits, '.', '_', '@' or '-'")
    folded = [student.lower() for student in students]
    twice = sorted({one for one in folded if folded.count(one) > 1})
    if twice:
        raise InvalidRequest(f"students who come twice: {', '.join(twice)}")
    if not 1 <= len(students) <= MOST_STUDENTS:
        raise InvalidRequest(f"a class of {len(students)} students: expected 1 to {MOST_STUDENTS}")
    return TeachersClass(name, (secret or secrets.token_bytes(32)).hex(), tuple(students))


def draw_for(key: str, drill: str, attempt: int) -> int:
    """What is drawn for a student's attempt at a drill: 32 bits."""
    told = f"draw\0{drill}\0{attempt}".encode()
    return int.from_bytes(hmac.new(bytes.fromhex(key), told, hashlib.sha256).digest()[:4], "big")


def write_private(path: Path, values: dict[str, Any]) -> None:
    """Write a file with a secret, for its owner alone."""
    path.touch(mode=0o600, exist_ok=True)
    write_json(path, values)
    path.chmod(0o600)


def read_card(path: Path) -> Card:
    """A card from a file. Raises NotFound, IncompatibleFormat, InvalidRequest for a teacher's file."""
    values = _read(path)
    if "class" in values:
        raise InvalidRequest(f"{path} is the teacher's file, with the secret of the whole class: enrol with a card")
    return card_from(values, str(path))


def card_from(values: dict[str, Any], where: str) -> Card:
    """A card that `to_json` wrote. Raises IncompatibleFormat."""
    try:
        card = Card(**values["card"])
        bytes.fromhex(card.key)
        if values["format"] != FORMAT or not _NAME.fullmatch(card.student):
            raise ValueError(f"format {values['format']!r}, student {card.student!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise IncompatibleFormat(f"{where} is no card of a class: {error}; ask your teacher for it again") from error
    return card


def read_class(path: Path) -> TeachersClass:
    """A teacher's file. Raises NotFound, IncompatibleFormat, InvalidRequest for a student's card."""
    values = _read(path)
    if "card" in values:
        raise InvalidRequest(f"{path} is a student's card; grading needs the file that `tabletop drill class` kept")
    try:
        found = values["class"]
        teachers = TeachersClass(found["class_name"], found["secret"], tuple(found["students"]))
        bytes.fromhex(teachers.secret)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise IncompatibleFormat(f"{path} is no file of a class: {error}") from error
    return teachers


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path, advice="ask for it again")
    if values is None:
        raise NotFound(f"there is no file {path}")
    return values
