"""Scenarios to run today, to read, and to copy: `tabletop scenario examples` lists them.

They lie in the package, and not in a folder of documentation, so that whoever has installed Tabletop has them. Each
is a file of its own, as a student's is, and the tests run each of them.

    first.py                    ten lines, with comments: what `tabletop scenario new` writes
    loses_a_primary.py          the primary dies in the middle of a write (GFS 3.1)
    reads_past_rot.py           bits rot on one disk, and readers do not notice (GFS 5.2)
    two_primaries.py            a partition and a slow clock leave a primary that does not know that it is none (GFS
    3.1) a_lying_disk.py             a disk says that it has written, and has not (GFS 3.1, 4.5)
    loses_the_master.py         another master takes over, and no change of names is lost or made twice (GFS 5.1.3)
    many_append.py              three clients append to one file while servers come and go (GFS 3.3)
"""

from pathlib import Path

from runtime.errors import NotFound

FIRST = "first"
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All examples."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def path(name: str) -> Path:
    """The file of an example. Raises NotFound."""
    if name not in names():
        raise NotFound(f"no example {name!r}; there are: {', '.join(names())}")
    return _FOLDER / f"{name}.py"


def source(name: str) -> str:
    """The text of an example. Raises NotFound."""
    return path(name).read_text(encoding="utf-8")
