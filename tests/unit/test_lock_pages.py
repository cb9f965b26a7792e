"""The pages about the lock service say what its code says.

After a change of the format, `python -m tests.unit.test_lock_pages` writes the dump anew; read the difference.
"""

import re
from dataclasses import fields
from pathlib import Path

from lockservice.client.lease import TRANSITIONS
from lockservice.interface import SessionState
from lockservice.server.lock_log import LockLog
from lockservice.settings import LockServiceSettings
from lockservice.state.lock_state import Request
from lockservice.state.records import KINDS
from runtime.simulated.world import Simulation
from scripts.draw_session_states import LABELS, PICTURE, picture
from tests.unit.test_format_pages import PAGES, dumped_bytes, hex_dump

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "locks.md").read_text(encoding="utf-8")
STEPS = {(before, after) for before, followers in TRANSITIONS.items() for after in followers}
FORMAT_PAGE = PAGES / "lock-log.md"


def test_the_picture_is_the_one_that_is_drawn_from_the_table():
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run python -m scripts.draw_session_states"


def test_the_picture_has_one_arrow_for_each_step_with_its_reason():
    drawn = re.findall(r'data-from="(\w+)" data-to="(\w+)"', picture())
    assert {(SessionState(before), SessionState(after)) for before, after in drawn} == STEPS == set(LABELS)
    assert len(drawn) == len(STEPS) and all(f">{label}</text>" in picture() for label in LABELS.values())


def test_the_page_explains_every_step_and_no_other():
    explained = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| ", PAGE, re.MULTILINE)
    assert {(SessionState[before], SessionState[after]) for before, after in explained} == STEPS
    assert len(explained) == len(STEPS)


def test_the_page_names_every_state():
    states = re.findall(r"^\| ([A-Z]+) \| [^A-Z|][^|]+ \|$", PAGE, re.MULTILINE)
    assert states == [state.name for state in SessionState]


def small_log() -> bytes:
    """What a lock service writes for one session with one lock."""
    simulation = Simulation(1)
    world = simulation.add_node("lock")

    async def write() -> bytes:
        log = LockLog(world, LockServiceSettings(cluster="desk"))
        await log.recover()
        await log.commit(log.state.plan_open(0xC1))
        acquired = log.state.plan_acquire(Request(1, 1, 1), "/m", delay_milliseconds=1000)
        assert not isinstance(acquired, int)
        await log.commit(acquired)
        await log.close()
        file = await world.disk.open("log/00000000000000000001.log", "read")
        return await file.read_at(0, await file.size())

    return simulation.run(write())


def test_the_page_of_the_log_shows_the_file_that_is_written():
    assert dumped_bytes("lock-log.md") == small_log()


def test_the_page_of_the_log_lists_every_kind_of_record_with_its_fields():
    rows = re.findall(r"\| (\d+) \| (\w+) \| ([^|]*) ?\|", FORMAT_PAGE.read_text(encoding="utf-8"))
    said = {int(number): (name, [one for one in listed.strip().split(", ") if one]) for number, name, listed in rows}
    real = {number: (kind.__name__, [field.name for field in fields(kind)]) for number, kind in KINDS.items()}
    assert said == real


def main() -> None:
    """Write the dump on the page anew."""
    before, rest = FORMAT_PAGE.read_text(encoding="utf-8").split("```hex\n")
    FORMAT_PAGE.write_text(f"{before}```hex\n{hex_dump(small_log())}```{rest.partition('```')[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
