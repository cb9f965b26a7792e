"""Questions, answers and points: pure."""

import pytest

from labs.drills.catalogue import DRILLS
from labs.drills.page import parsed
from labs.drills.questions import Answer, Kind, Question, Truth, done, mark, values, worth
from runtime.errors import InvalidRequest

NODE = Question("primary", Kind.OBSERVE, 4, "a node", "Which?")
GUESS = Question("wait", Kind.PREDICT, 4, "one of", "How long?", ("under 3 s", "3 to 9 s", "9 s or longer"))


def said(question: Question, *answers: tuple[float, str]) -> list[Answer]:
    return [Answer(question.name, text, at) for at, text in answers]


@pytest.mark.parametrize(
    ("form", "text", "plain"),
    [
        ("a node", " CS12 ", "cs12"),
        ("a number", "0x2a", "42"),
        ("a number", "1,234", "1234"),
        ("bytes", "1.5M", "1572864"),
        ("words", "  some words ", "some words"),
    ],
)
def test_answers_are_read_as_people_write_them(form: str, text: str, plain: str):
    assert Question("q", Kind.OBSERVE, 1, form, "").read(text) == plain


@pytest.mark.parametrize(
    ("question", "text"),
    [(NODE, "the first"), (NODE, ""), (NODE, "x" * 5000), (GUESS, "9 s"), (GUESS, "soon")],
)
def test_what_can_be_no_answer_is_refused_and_costs_nothing(question: Question, text: str):
    with pytest.raises(InvalidRequest):
        question.read(text)


def test_a_choice_may_be_shortened_as_long_as_it_is_one():
    assert GUESS.read("UNDER") == "under 3 s" and GUESS.read("9 s or") == "9 s or longer"


def test_a_wrong_answer_may_be_corrected_for_fewer_points_and_not_forever():
    truth = values("a node", ("cs2",), "the master said so")
    wrong = [(1.0, "cs1"), (2.0, "cs3"), (3.0, "cs4")]
    assert mark(NODE, said(NODE, (1.0, "cs2")), truth).points == 4
    assert mark(NODE, said(NODE, *wrong[:1], (9.0, "cs2")), truth).points == 2
    assert mark(NODE, said(NODE, *wrong[:2], (9.0, "cs2")), truth).points == 1
    once = mark(NODE, said(NODE, *wrong[:1]), truth)
    assert (once.verdict, once.is_settled, once.remark) == ("wrong", False, "")
    over = mark(NODE, said(NODE, *wrong), truth)
    assert (over.is_settled, over.remark) == (True, "the master said so")


def test_with_two_choices_there_is_one_try():
    question = Question("faults", Kind.OBSERVE, 4, "one of", "", ("yes", "no"))
    assert mark(question, said(question, (1.0, "no")), values("one of", ("yes",))).is_settled
    assert worth(4, 2, choices=2) == 0


def test_the_last_prediction_before_the_deed_counts():
    truth = values("one of", ("under 3 s",), "1.2 s", deed=10.0)
    assert mark(GUESS, said(GUESS, (1.0, "3 to 9 s"), (2.0, "under 3 s")), truth).points == 4
    changed = mark(GUESS, said(GUESS, (1.0, "3 to 9 s"), (11.0, "under 3 s")), truth)
    assert (changed.points, changed.verdict) == (0, "wrong")


def test_a_prediction_after_the_deed_brings_half():
    truth = values("one of", ("under 3 s",), "1.2 s", deed=10.0)
    late = mark(GUESS, said(GUESS, (11.0, "under 3 s")), truth)
    assert late.points == 2 and "after the deed" in late.remark
    assert mark(GUESS, said(GUESS, (11.0, "3 to 9 s"), (12.0, "under 3 s")), truth).points == 0


def test_a_prediction_is_noted_until_the_evidence_shows_what_came():
    noted = mark(GUESS, said(GUESS, (1.0, "under 3 s")), None, "nobody has killed it")
    assert (noted.verdict, noted.points, noted.is_settled) == ("noted", 0, False)


def test_a_number_may_be_wrong_by_a_stated_share():
    truth = Truth(("1000",), "", share=0.25)
    assert truth.matches("1250") and truth.matches("750") and not truth.matches("1251")


def test_deeds_and_explanations():
    deed = Question("killed", Kind.DO, 2, "words", "Kill it.")
    assert mark(deed, [], None, "not yet").points == 0 and mark(deed, [], done("it is")).points == 2
    with pytest.raises(InvalidRequest):
        deed.read("done")
    why = Question("why", Kind.EXPLAIN, 0, "words", "Why?")
    assert mark(why, said(why, (1.0, "because")), None).verdict == "for the teacher"


@pytest.mark.parametrize("name", DRILLS)
def test_each_page_and_the_functions_of_its_drill_belong_together(name: str):
    drill = DRILLS[name]
    asked = {question.name for question in drill.page.questions if question.kind is not Kind.EXPLAIN}
    assert asked == set(drill.truths)
    names = [question.name for question in drill.page.questions]
    assert len(set(names)) == len(names)
    for question in drill.page.questions:
        assert question.form in ("a node", "a number", "bytes", "words", "one of"), question
        assert (question.points > 0) is (question.kind is not Kind.EXPLAIN), question
    kinds = {question.kind for question in drill.page.questions}
    assert {Kind.EXPLAIN, Kind.OBSERVE} <= kinds or {Kind.EXPLAIN, Kind.PREDICT} <= kinds
    cost = sum(hint.cost for hint in drill.page.hints)
    assert drill.page.hints and cost < drill.page.points


def test_a_page_that_lacks_a_part_is_refused():
    with pytest.raises(ValueError, match="Goal, Predict"):
        parsed("# A title\nPaper: GFS 1\nTime: 5 min\n\n## Do\n\n## Observe\n\n## Explain\n")
