"""Compile the inner modules of the tablet engine with mypyc, into build/compiled. An option: nothing else needs it.

    python -m bench.compiled_engine [--test]

The folder gets a copy of the packages `runtime` and `tablet`, in which the modules below are compiled to C; a program
that has it first in its path runs the compiled engine:

    PYTHONPATH=build/compiled:. python -P -m bench.tablet_engine --only tabletop

`bench/tablet_engine.py` knows it as the contestant `tabletop-compiled`, unless the source has changed since. To compile
needs a C compiler and the headers of Python, and takes a minute. Decision 19 in `docs/decisions/` tells why it is an
option.

`--test`: let it pass the tests of the engine that do not put another function in the place of one of a compiled module,
which is not possible there.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "compiled"
PACKAGES = ("runtime", "tablet")

# All that stands between a call of the engine and the bytes of a block, and is bound by the interpreter's steps.
MODULES = (
    "world/eventual",
    "model/fragments",
    "model/chunks",
    "sstable/bloom/blocked",
    "sstable/block_cache",
    "sstable/format",
    "sstable/directory",
    "sstable/reader",
    "tree/memtable",
    "tree/merge",
    "tree/nearest",
    "tree/scan_cache",
    "tree/sorted_rows",
    "tree/sources",
    "tree/view",
    "serving/reading",
    "serving/scanning",
)

_UNIT_TESTS = """
    bloom budget caches cells commit_log compaction deleting directory embedded engine inspection manifest memtable
    merge mistakes pushdown quarantine reading row_locks schema server_log sorted_log splitting sstable wide_rows
"""
_PROPERTY_TESTS = "cursors filters model scans wide_rows"
TESTS = (
    *(f"tests/unit/test_tablet_{subject}.py" for subject in _UNIT_TESTS.split()),
    *(f"tests/property/test_tablet_{subject}.py" for subject in _PROPERTY_TESTS.split()),
)
"""The tests of what was compiled, and of what stands on it."""
REPLACING = (
    "tests/unit/test_tablet_mistakes.py::test_an_interrupted_read_leaves_the_table_in_use",
    "tests/unit/test_tablet_wide_rows.py::"
    "test_a_row_that_is_written_to_while_its_first_columns_are_read_is_seen_as_of_one_moment",
    "tests/property/test_tablet_cursors.py::"
    "test_the_nearest_rows_of_a_range_are_all_that_any_source_knows_up_to_their_bound",
)
"""Those of them that put a function or an object of their own in the place of a compiled one."""

_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup

options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
setup(name="compiled", packages=[], ext_modules=mypycify([*options, *sys.argv.pop().split()], opt_level="3"))
"""


def is_current() -> bool:
    """Whether there is a compiled engine, made of the source as it is."""
    sources = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    _, changed, missing = filecmp.cmpfiles(ROOT, TARGET, map(str, sources), shallow=False)
    return not changed and not missing and bool(list(TARGET.glob("tablet/engine/**/*.so")))


def compile_engine() -> None:
    """Copy the packages, and compile in the copy."""
    shutil.rmtree(TARGET, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, TARGET / package, ignore=shutil.ignore_patterns("__pycache__"))
    modules = " ".join(f"tablet/engine/{module}.py" for module in MODULES)
    command = [sys.executable, "-c", _BUILD, "build_ext", "--inplace", "--quiet", modules]
    subprocess.run(command, check=True, cwd=TARGET)
    shutil.rmtree(TARGET / "build", ignore_errors=True)
    missing = [module for module in MODULES if not list(TARGET.glob(f"tablet/engine/{module}.*.so"))]
    if missing:
        raise SystemExit(f"not compiled: {', '.join(missing)}")


def test() -> int:
    """Run the tests with the compiled engine; returns pytest's exit code."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-o", f"pythonpath={TARGET} .", *TESTS]
    command += [argument for name in REPLACING for argument in ("--deselect", name)]
    return subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode


def main() -> int:
    """Compile, and perhaps test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", action="store_true", help="let it pass the engine's tests")
    options = parser.parse_args()
    compile_engine()
    print(f"{len(MODULES)} modules compiled in {TARGET.relative_to(ROOT)}")
    return test() if options.test else 0


if __name__ == "__main__":
    sys.exit(main())
