"""docs/bugs.md says what the planted bugs' docstrings say."""

from scripts.list_planted_bugs import PAGE, in_parts, page


def test_the_page_of_all_planted_bugs_is_what_their_docstrings_make_it():
    assert PAGE.read_text(encoding="utf-8") == page(), "make it again: python -m scripts.list_planted_bugs"


def test_every_planted_bug_names_what_it_breaks():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) >= 85
    without = [row for row in rows if row.endswith("|  |")]
    assert without == []


def test_a_place_in_the_paper_is_found_with_its_remark():
    assert in_parts("It waits (Chubby 2.8: so there, too).") == ("It waits.", "Chubby 2.8: so there, too")
