"""docs/commands.md says what `--help` says."""

from pathlib import Path

from tabletop.cheat_sheet import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


def test_the_page_of_all_commands_is_what_the_program_makes_it():
    found = PAGE.read_text(encoding="utf-8")
    assert found == page(), "make it again: python -m tabletop.cheat_sheet > docs/commands.md"
