"""The page about replicas says what the table of states says."""

import re
from pathlib import Path

from master.chunks.replicas import TRANSITIONS, ReplicaState
from scripts.draw_replica_states import PICTURE, picture

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "replicas.md").read_text(encoding="utf-8")
STEPS = {(before.value, after.value) for before, followers in TRANSITIONS.items() for after in followers}


def test_the_picture_is_the_one_that_is_drawn_from_the_table() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run python -m scripts.draw_replica_states"


def test_the_picture_has_one_arrow_for_each_step_and_one_box_for_each_state() -> None:
    drawn = re.findall(r'data-from="(\w+)" data-to="(\w+)"', picture())
    assert len(drawn) == len(STEPS) and set(drawn) == STEPS
    assert [state.name for state in ReplicaState if f">{state.name}</text>" not in picture()] == []


def test_no_box_of_the_picture_lies_on_another_or_outside() -> None:
    boxes = [
        tuple(map(float, found)) for found in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="112"', picture())
    ]
    assert len(boxes) == len(ReplicaState)
    for place, (left, top) in enumerate(boxes):
        assert 0 <= left <= 860 - 112 and 0 <= top <= 640 - 34
        assert all(abs(left - other[0]) > 112 or abs(top - other[1]) > 34 for other in boxes[:place])


def test_the_page_explains_every_step_and_no_other() -> None:
    explained = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| ", PAGE, re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert {(before.lower(), after.lower()) for before, after in explained} == STEPS


def test_the_page_names_every_state_with_what_it_means() -> None:
    states = re.findall(r"^\| ([A-Z]+) \| [^A-Z|][^|]+ \|$", PAGE, re.MULTILINE)
    assert states == [state.name for state in ReplicaState]
