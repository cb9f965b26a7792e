"""Writes `docs/bugs.md`: every planted bug, the rule that it takes out, and where the paper speaks of that rule.

    python -m scripts.list_planted_bugs

What the page says of a bug is its docstring, so that there is one source. A test makes the page again and compares.
"""

import re
from pathlib import Path

from cluster.swarm.bugs import described
from cluster.swarm.swarms import ENGINE, FILES, LOCKS, TABLES, Swarm

PAGE = Path(__file__).resolve().parent.parent / "docs" / "bugs.md"
_HEAD = """# Planted bugs

Each of these takes a rule out of the servers, from outside, for as long as it is planted
(`cluster/swarm/bug_tools.py`); the servers' own code knows nothing of it. What is left is a mistake that somebody who
builds such a system may well make, and the [swarm](swarm.md) has to find it. They are exercises, too: let somebody else
choose one, hunt it, shrink it, and say which promise of the paper is broken.

    ./scripts/swarm --seeds 100 --bug stale-replica-accepted              # hunt with the bug in place
    ./scripts/swarm --replay SEED --bug stale-replica-accepted --shrink   # the story of what it broke
    ./scripts/swarm --bugs                                                # within how many seeds is each found?

This page is made of the bugs' docstrings: `python -m scripts.list_planted_bugs`.
"""
_TITLES = {
    FILES.name: "The file system",
    ENGINE.name: "Several tablets on one log (`--engine`)",
    LOCKS.name: "The lock service (`--locks`)",
    TABLES.name: "Tables (`--tables`)",
}
_PAPER = re.compile(r"\s*\(((?:GFS|BT|Chubby)[^()]*(?:\([^()]*\))?[^()]*|simulation|a rule of the simulation)\)\.?")


def page() -> str:
    """The page's text."""
    return _HEAD + "".join(_section(swarm) for swarm in (FILES, ENGINE, LOCKS, TABLES))


def _section(swarm: Swarm) -> str:
    head = "| bug | the rule, and what is wrong without it | paper |"
    lines = [f"\n## {_TITLES[swarm.name]}\n", head, "|---|---|---|"]
    for name in sorted(swarm.bugs):
        words, paper = in_parts(" ".join(described(name, swarm.bugs).split()))
        lines.append(f"| `{name}` | {words} | {paper} |")
    return "\n".join(lines) + "\n"


def in_parts(text: str) -> tuple[str, str]:
    """What a bug's docstring says, and the places in the papers that it names.

    >>> in_parts("A chunk has a version. Without the rule, stale replicas are read (GFS 4.5).")
    ('A chunk has a version. Without the rule, stale replicas are read.', 'GFS 4.5')
    """
    found = list(_PAPER.finditer(text))
    if not found:
        return text, ""
    last = found[-1]
    words = (text[: last.start()] + "." + text[last.end() :]).strip()
    return words.replace("|", "\\|"), last[1].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
