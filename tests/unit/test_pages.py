"""What the pages for readers promise is there: files they name, links they make."""

import re
from pathlib import Path

import pytest

LINK = re.compile(r"\]\(([^)#:]+)\)")

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
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_page_can_be_reached_from_the_first():
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        named = [(page.parent / target).resolve() for target in LINK.findall(page.read_text(encoding="utf-8"))]
        ahead += [target for target in named if target.suffix == ".md"]
        ahead += [below for target in named if target.is_dir() for below in target.glob("*.md")]
    assert sorted(set(PAGES) - reached) == []


def test_the_readme_says_what_its_second_run_must_leave_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the README shows of the tablet runs, and runs again without the line that it says to leave out."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(found for found in re.findall(r"```python\n([\s\S]*?)```", page) if "tablet.engine" in found)
    again = "".join(line for line in code.splitlines(keepends=True) if "leave this line out" not in line)
    assert again != code
    monkeypatch.chdir(tmp_path)
    for program in (code, again):
        exec(compile(program, "README.md", "exec"), {})
