"""Rules about the source itself, which keep the two worlds alike and the rooms apart.

Each rule is a function from a parsed module to the places that break it; a test collects these over the tree.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 600
FUNCTION_LINES = 80

# Rooms from the bottom up: each may import the ones before it, except that the three servers do not import one another.
LEVELS = {
    "runtime": 0,
    "master": 1,
    "chunkserver": 1,
    "lockservice": 1,
    "gfs": 2,
    "tablet": 3,
    "cluster": 4,
    "tabletop": 5,
    "labs": 6,
}
SERVERS = ("master", "chunkserver", "lockservice", "gfs", "tablet")

BANNED_MODULES = {
    "concurrent",
    "datetime",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "psutil",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
}
BANNED_CALLS = {"open", "input", "print", "id", "hash"}
BANNED_ATTRIBUTES = {"run_in_executor", "to_thread", "call_soon_threadsafe"}

# Modules that are the seam between servers and the operating system. Everything else in these rooms keeps the rules.
SEAMS = {
    "gfs/names/locate.py",
    "gfs/synchronous.py",
    "lockservice/client/zookeeper.py",
    "tablet/embedded/folder.py",
    "tablet/embedded/inline.py",
    "tablet/embedded/guard.py",
    "tablet/embedded/table.py",
}


def modules(*rooms: str) -> list[Path]:
    """Every hand-written module of the rooms."""
    found = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if "wire" not in path.relative_to(ROOT).parts]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """As `imported`, and of `from package import module` the module as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
    yield from imported(tree)


def everything() -> list[Path]:
    return modules(*LEVELS)


def server_modules() -> list[Path]:
    return [path for path in modules(*SERVERS) if name_of(path) not in SEAMS]


def test_arrows_between_rooms_only_point_down():
    wrong = []
    for path in everything():
        room = name_of(path).split("/")[0]
        for line, module in imported(parsed(path)):
            other = module.split(".")[0]
            if other in LEVELS and other != room and LEVELS[other] >= LEVELS[room]:
                wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


# The floors of the tablet engine from the bottom up: each may import the ones before it. `serving` and `maintenance` do
# not know one another; what stands beside the engine stands on all of it.
FLOORS = {
    "tablet/engine/world": 0,
    "tablet/engine/model": 1,
    "tablet/engine/sstable": 2,
    "tablet/engine/log": 3,
    "tablet/engine/tree": 4,
    "tablet/engine/serving": 5,
    "tablet/engine/maintenance": 5,
    "tablet/engine": 6,
    "tablet/tools": 7,
    "tablet/embedded": 7,
    "tablet/server": 7,
}
FLOORS_OF_SERVERS = {
    "master": ("namespace", "chunks", "log", "balance", "servers", "protocol", "maintenance", "serving", "failover"),
    "chunkserver": ("storage", "mutation", "transfer"),
    "gfs": ("names", "reading", "writing", "records"),
}
"""The floors of the rooms that the file system is made of, from the bottom up. What stands beside them in a room
(`core.py`, a client) may lie between two floors; that there is no circle is looked at by itself."""
POINTS_UP = {"tablet/engine/__init__.py"}
"""`tablet.engine.open` is the name that programs know, for what stands above the engine."""


def floor_of(name: str) -> str:
    return next((floor for floor in FLOORS if name.startswith(floor + "/")), "")


def test_arrows_between_the_floors_of_the_tablet_only_point_down():
    wrong = []
    for path in modules("tablet"):
        floor = floor_of(name_of(path))
        for line, module in imported(parsed(path)):
            other = floor_of(module.replace(".", "/") + "/")
            if other and other != floor and FLOORS[other] >= FLOORS[floor] and name_of(path) not in POINTS_UP:
                wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", FLOORS_OF_SERVERS)
def test_arrows_between_the_floors_of_the_file_system_only_point_down(room: str):
    height = {f"{room}.{floor}": number for number, floor in enumerate(FLOORS_OF_SERVERS[room])}
    wrong = []
    for path in modules(room):
        own = height.get(".".join(path.relative_to(ROOT).parts[:2]))
        for line, module in imported(parsed(path)):
            other = height.get(".".join(module.split(".")[:2]))
            if own is not None and other is not None and other > own:
                wrong.append(f"{name_of(path)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)
    folders = {path.parent.name for path in modules(room) if path.parent.parent == ROOT / room}
    assert folders == set(FLOORS_OF_SERVERS[room])


@pytest.mark.parametrize("room", ["tablet", *FLOORS_OF_SERVERS])
def test_the_modules_of_a_room_form_no_circle(room: str):
    arrows = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {module for _, module in imported_names(parsed(path))}
        for path in modules(room)
        if name_of(path) not in POINTS_UP and path.name != "__init__.py"
    }
    while free := [name for name, targets in arrows.items() if not targets & arrows.keys()]:
        for name in free:
            del arrows[name]
    assert sorted(arrows) == []


def test_servers_ask_their_world_and_never_the_operating_system():
    wrong = []
    for path in server_modules():
        for line, module in imported(parsed(path)):
            if module.split(".")[0] in BANNED_MODULES or module.startswith(("runtime.real", "runtime.simulated")):
                wrong.append(f"{name_of(path)}:{line} imports {module}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
                wrong.append(f"{name_of(path)}:{node.lineno} calls {node.func.id}()")
            if isinstance(node, ast.Attribute) and node.attr in BANNED_ATTRIBUTES:
                wrong.append(f"{name_of(path)}:{node.lineno} uses .{node.attr}")
    assert not wrong, "\n".join(wrong)


def is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub | ast.BitXor):
        return is_set(node.left) or is_set(node.right)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")


def test_no_loop_follows_the_order_of_a_set():
    wrong = []
    for path in [*server_modules(), *modules("cluster"), *modules("runtime")]:
        for node in ast.walk(parsed(path)):
            loops = [node.iter] if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) else []
            wrong += [f"{name_of(path)}:{loop.lineno} loops over a set" for loop in loops if is_set(loop)]
    assert not wrong, "\n".join(wrong)


def test_the_folder_of_contracts_is_no_package():
    assert not list((ROOT / "proto").rglob("*.py"))
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in everything()
        for line, module in imported(parsed(path))
        if module.split(".")[0] == "proto"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_needs_a_table_of_contents():
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in everything()}
    assert {name: lines for name, lines in sizes.items() if lines > FILE_LINES} == {}


def test_functions_are_short():
    wrong = []
    for path in everything():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    wrong.append(f"{name_of(path)}:{node.lineno} {node.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_every_module_begins_with_its_essay():
    assert [name_of(path) for path in everything() if not ast.get_docstring(parsed(path))] == []


def test_every_module_is_used_by_another_or_is_a_program():
    sources = [*everything(), *modules("tests", "bench", "scripts")]
    used = {module for path in sources for _, module in imported(parsed(path))}
    for path in sources:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                used.update(f"{node.module}.{alias.name}" for alias in node.names)
    programs = {"tabletop.main", "tabletop.__main__", "cluster.program"}
    programs |= {"cluster.swarm.command", "cluster.swarm.worker", "tabletop.pytest_plugin", "labs.plug", "labs.worker"}
    # Scenarios are loaded as files, as a student's are.
    programs |= {f"cluster.scenarios.examples.{path.stem}" for path in modules("cluster/scenarios/examples")}
    unused = []
    for path in everything():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name not in used | programs and not any(other.startswith(name + ".") for other in used):
            unused.append(name)
    assert unused == []


def events(paths: list[Path]) -> dict[str, list[str]]:
    """The places where each class of events is defined: a class with `Event`, or another such class, as a base."""
    classes = [
        (node.name, {ast.unparse(base).rpartition(".")[2] for base in node.bases}, f"{name_of(path)}:{node.lineno}")
        for path in paths
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    ]
    kinds, before = {"Event"}, 0
    while len(kinds) > before:
        before = len(kinds)
        kinds |= {name for name, bases, _ in classes if bases & kinds}
    found: dict[str, list[str]] = {}
    for name, bases, place in classes:
        if bases & kinds:
            found.setdefault(name, []).append(place)
    return found


def test_no_two_events_have_one_name():
    """`runtime.events` keeps one table of names, by which the events of all rooms are read back."""
    found = events(everything())
    assert len(found) > 50
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def test_no_bare_sleep_in_tests():
    """A test waits for a condition, or lives in virtual time: a fixed sleep is slow, and one day too short."""
    wrong = []
    for path in modules("tests"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
                wrong.append(f"{name_of(path)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def never_called(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Functions within a test that nobody names: the test proves nothing."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for test in ast.walk(tree):
        if isinstance(test, functions) and test.name.startswith("test_"):
            named = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
            yield from (
                (inner.lineno, inner.name)
                for inner in test.body
                if isinstance(inner, functions) and inner.name not in named and not inner.decorator_list
            )


def test_no_test_forgets_to_run_its_story():
    """What a test only defines, nothing runs."""
    forgetful = "def test_a():\n    async def story():\n        pass\n"
    assert [name for _, name in never_called(ast.parse(forgetful))] == ["story"]
    found = [(path, line, name) for path in modules("tests") for line, name in never_called(parsed(path))]
    wrong = [f"{name_of(path)}:{line}: nothing runs {name}" for path, line, name in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later(word: str):
    wrong = [name_of(path) for path in everything() if word in path.read_text(encoding="utf-8")]
    assert wrong == []
