"""A drill's page: Markdown that people read here or in the repository, and that the tool takes its questions from.

    # Lose a primary in the middle of a write
    Paper: GFS 3.1, 3.3
    Time: 15 minutes
    ## Goal … ## Predict … ## Do … ## Observe … ## Explain …
    - `version` (observe, 2 points, a number): Which version …?        a question, in any section
    ## Hints
    1. (1 point) …

Words in braces, such as {cluster}, are filled in for each student.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from labs.drills.questions import Kind, Question
from runtime.errors import InvalidRequest

SECTIONS = ("Goal", "Predict", "Do", "Observe", "Explain")
_QUESTION = re.compile(
    r"^- `(?P<name>[a-z0-9-]+)` \((?P<kind>predict|observe|do|explain)"
    r"(?:, (?P<points>\d+) points?)?(?:, (?P<form>[^)]+))?\): (?P<text>(?:.|\n(?=  ))+)",
    re.MULTILINE,
)
_HINT = re.compile(r"^\d+\. \((?P<cost>\d+) points?\) (?P<text>(?:.|\n(?=   ))+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Hint:
    """One hint, and the points that it costs."""

    cost: int
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says."""

    title: str
    paper: str
    time: str
    text: str  # in Markdown, without the hints
    questions: tuple[Question, ...]
    hints: tuple[Hint, ...]

    @property
    def points(self) -> int:
        """What can be had."""
        return sum(question.points for question in self.questions)

    def question(self, name: str) -> Question:
        """The question of this name. Raises InvalidRequest."""
        found = next((question for question in self.questions if question.name == name), None)
        if found is None:
            known = ", ".join(question.name for question in self.questions)
            raise InvalidRequest(f"there is no question {name!r} in this drill; there are: {known}")
        return found


@cache
def read_page(name: str) -> Page:
    """The page of a drill."""
    return parsed(files("labs.drills").joinpath("pages", f"{name}.md").read_text(encoding="utf-8"))


def parsed(text: str) -> Page:
    """The page that a text is. Raises ValueError for one that lacks a part."""
    body, _, hints = text.partition("\n## Hints\n")
    title = re.match(r"# (.+)\n", body)
    paper, time = re.search(r"^Paper: (.+)$", body, re.MULTILINE), re.search(r"^Time: (.+)$", body, re.MULTILINE)
    missing = [name for name in SECTIONS if f"\n## {name}\n" not in body]
    if title is None or paper is None or time is None or missing:
        raise ValueError(f"no page of a drill: it lacks {', '.join(missing) or 'its title, paper or time'}")
    questions = tuple(_question(found) for found in _QUESTION.finditer(body))
    found = tuple(Hint(int(one["cost"]), _one_line(one["text"])) for one in _HINT.finditer(hints))
    return Page(title[1], paper[1], time[1], body, questions, found)


def _question(found: re.Match[str]) -> Question:
    kind = Kind(found["kind"])
    form: str = found["form"] or "words"
    choices: tuple[str, ...] = ()
    if form.startswith("one of: "):
        form, choices = "one of", tuple(choice.strip() for choice in form.removeprefix("one of: ").split(" / "))
    return Question(found["name"], kind, int(found["points"] or 0), form, _one_line(found["text"]), choices)


def _one_line(text: str) -> str:
    return " ".join(text.split())
