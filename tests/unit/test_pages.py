"""What the pages for readers promise is there: files they name, links they make."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_file_named_beside_a_section_of_the_papers_exists():
    named = re.findall(r"`([a-z_/0-9]+\.py)`", (ROOT / "docs" / "papers.md").read_text(encoding="utf-8"))
    assert len(named) > 50
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_paper_test_is_listed_with_its_section():
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    tests = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests" / "paper").glob("test_*.py"))]
    assert [name for name in tests if name not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_project_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
