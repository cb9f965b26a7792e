"""The scenarios in a file, and what is wrong with that file.

A file is named as pytest names tests: `drills.py`, or `drills.py::loses_a_primary` if it holds several. Whatever
keeps a scenario from being found is one sentence with the place in the file: a student's first mistakes are made here.
"""

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from cluster.scenarios.declaring import Scenario
from runtime.errors import InvalidRequest, NotFound, TabletopError

_PREFIX = "tabletop_scenarios_"


def load_scenario(where: str) -> Scenario:
    """The scenario that FILE or FILE::NAME names. Raises NotFound (no such file or scenario), InvalidRequest (the file
    is no Python, or breaks, or holds several)."""
    path, _, name = where.partition("::")
    found = load_scenarios(Path(path))
    if name:
        for one in found:
            if one.name == name:
                return one
        raise NotFound(f"{path} has no scenario {name!r}; it has: {_names(found)}")
    if len(found) > 1:
        raise InvalidRequest(
            f"{path} has {len(found)} scenarios: name one, such as {path}::{found[0].name}; {_names(found)}"
        )
    return found[0]


def load_scenarios(path: Path) -> list[Scenario]:
    """All scenarios that are defined in a file, in its order. Raises as `load_scenario`; NotFound if there is none."""
    if not path.is_file():
        hint = " (it is a folder: name a file in it)" if path.is_dir() else ""
        raise NotFound(f"no file {path}{hint}; `tabletop scenario new {path}` writes a first one")
    module = _imported(path)
    found = [one for one in vars(module).values() if isinstance(one, Scenario) and Path(one.file) == path.resolve()]
    if not found:
        raise NotFound(
            f"{path} has no scenario: put @scenario, from cluster.scenarios, above an `async def name(cluster, seed)`; "
            f"`tabletop scenario new FILE` shows how"
        )
    return sorted(dict.fromkeys(found), key=lambda one: one.line)


def _imported(path: Path) -> ModuleType:
    name = f"{_PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise InvalidRequest(f"{path}: expected a file of Python, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _beside(path):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        place = f"{Path(error.filename or path).name}:{error.lineno}"
        line = (error.text or "").strip()
        raise InvalidRequest(f"{place}: {error.msg}{f': {line}' if line else ''}") from None
    except TabletopError as error:
        raise InvalidRequest(f"{_place(path, error)}: {error.message}") from None
    except Exception as error:
        raise InvalidRequest(f"{_place(path, error)}: {type(error).__name__}: {error}") from None
    return module


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """A scenario may import modules that lie beside it, as a program may."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _place(path: Path, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(path.resolve())]
    return f"{path.name}:{own[-1].lineno}" if own else path.name


def _names(found: list[Scenario]) -> str:
    return ", ".join(one.name for one in found)
