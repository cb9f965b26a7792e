"""The namespace: checks that change nothing, changes that cannot fail."""

import random

import pytest

from master.namespace.hidden_names import hidden_name
from master.namespace.namespace import DirectoryEntry, FileEntry, Namespace
from master.namespace.prefix_table import PrefixTable
from runtime.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TabletopError,
)


@pytest.fixture
def names() -> Namespace:
    names = Namespace()
    for directory in ("/users", "/users/ann", "/users/bob", "/empty"):
        names.make_directory(directory, created_microseconds=1)
    for file in ("/users/ann/thesis", "/users/ann/notes", "/users-made"):
        names.create(file, goal=3, created_microseconds=2, file_id=len(file))
    names.append_chunk("/users/ann/thesis", 0x2A)
    names.append_chunk("/users/ann/thesis", 0x2B)
    return names


def listed(names: Namespace, path: str) -> list[str]:
    return [name for name, _ in names.children(path, after="", limit=1000)]


def test_facts_come_back_as_they_were_put(names: Namespace) -> None:
    assert names.file("/users/ann/thesis") == FileEntry(3, 2, (0x2A, 0x2B), len("/users/ann/thesis"))
    assert names.get("/users") == DirectoryEntry(1, 2)
    assert names.get("/") == DirectoryEntry(0, 3)
    names.check_invariants()


def test_a_directory_lists_its_direct_children_in_order_and_not_what_is_hidden(names: Namespace) -> None:
    assert listed(names, "/") == ["/empty", "/users", "/users-made"]
    assert listed(names, "/users") == ["/users/ann", "/users/bob"]
    names.move("/users-made", hidden_name("/users-made", 1))
    assert listed(names, "/") == ["/empty", "/users"]
    assert len(listed(names, "/.deleted")) == 1
    assert [name for name, _ in names.children("/", after="/empty", limit=1)] == ["/users"]


def test_a_recursive_listing_walks_in_path_order_page_by_page(names: Namespace) -> None:
    names.move("/users-made", hidden_name("/users-made", 1))
    whole = [name for name, _ in names.descendants("/", after="", limit=100)]
    assert whole == ["/empty", "/users", "/users/ann", "/users/ann/notes", "/users/ann/thesis", "/users/bob"]
    pages, after = [], ""
    while page := names.descendants("/", after=after, limit=2):
        pages += [name for name, _ in page]
        after = pages[-1]
    assert pages == whole


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/users", AlreadyExists),
        ("/users-made", AlreadyExists),
        ("/absent/file", NotFound),
        ("/users-made/below", NotADirectory),
        ("/users/../x", InvalidRequest),
    ],
)
def test_a_file_that_cannot_be_created_is_refused(names: Namespace, path: str, error: type[TabletopError]) -> None:
    with pytest.raises(error):
        names.check_create(path)


def test_the_missing_ancestor_is_named(names: Namespace) -> None:
    with pytest.raises(NotFound, match="/absent"):
        names.get("/absent/deeper/file")
    with pytest.raises(NotADirectory, match="/users-made"):
        names.get("/users-made/below/it")


def test_missing_ancestors_are_planned_outermost_first(names: Namespace) -> None:
    assert names.plan_directories("/users/new/deep", parents=True) == ["/users/new", "/users/new/deep"]
    assert names.plan_directories("/users", parents=True) == []
    with pytest.raises(NotFound):
        names.plan_directories("/users/new/deep", parents=False)
    with pytest.raises(NotADirectory):
        names.plan_directories("/users-made/deep", parents=True)


def test_a_full_directory_needs_a_recursive_deletion(names: Namespace) -> None:
    with pytest.raises(DirectoryNotEmpty, match="2 entries"):
        names.check_delete("/users", recursive=False)
    names.check_delete("/users", recursive=True)
    names.check_delete("/empty", recursive=False)
    with pytest.raises(InvalidRequest):
        names.check_delete("/", recursive=True)


@pytest.mark.parametrize(
    ("source", "target", "replace", "error"),
    [
        ("/absent", "/x", False, NotFound),
        ("/users", "/users/ann/inside", False, InvalidRequest),
        ("/users", "/users", False, InvalidRequest),
        ("/users/ann/notes", "/users-made", False, AlreadyExists),
        ("/users/ann/notes", "/users/bob", True, AlreadyExists),
        ("/users", "/users-made", True, Conflict),
        ("/users", "/absent/x", False, NotFound),
        ("/users", "/.deleted/x", False, InvalidRequest),
        ("/", "/x", False, InvalidRequest),
    ],
)
def test_a_rename_that_cannot_be_is_refused(
    names: Namespace, source: str, target: str, replace: bool, error: type[TabletopError]
) -> None:
    with pytest.raises(error):
        names.check_rename(source, target, replace=replace)


def test_a_rename_that_would_make_paths_too_long_below_is_refused() -> None:
    names = Namespace()
    deep = "/d"
    names.make_directory("/d", created_microseconds=0)
    for _ in range(16):
        deep += "/" + "x" * 250
        names.make_directory(deep, created_microseconds=0)
    with pytest.raises(InvalidRequest, match="4096"):
        names.check_rename("/d", "/" + "y" * 200, replace=False)
    names.check_rename("/d", "/e", replace=False)


def test_moving_a_directory_moves_what_is_below_it(names: Namespace) -> None:
    names.move("/users", "/empty/house")
    names.check_invariants()
    assert names.file("/empty/house/ann/thesis").handles == (0x2A, 0x2B)
    with pytest.raises(NotFound):
        names.get("/users/ann")
    assert names.get("/empty") == DirectoryEntry(1, 1)


def test_hiding_counts_files_as_deleted_and_bringing_back_undoes_it(names: Namespace) -> None:
    hidden = hidden_name("/users", 5)
    names.move("/users", hidden)
    names.check_invariants()
    assert (names.files, names.hidden_files, names.directories) == (1, 2, 2)
    names.move(hidden, "/users")
    names.check_invariants()
    assert (names.files, names.hidden_files, names.directories) == (3, 0, 5)


def test_removing_returns_the_chunks_of_everything_below(names: Namespace) -> None:
    assert [handle for file in names.remove("/users") for handle in file.handles] == [0x2A, 0x2B]
    names.check_invariants()
    assert names.files == 1


def test_a_file_is_not_a_directory_nor_the_other_way_round(names: Namespace) -> None:
    with pytest.raises(IsADirectory):
        names.file("/users")


def test_counts_and_structure_hold_under_random_work() -> None:
    chance = random.Random(3)
    names = Namespace()
    known = ["/"]
    for step in range(1500):
        path = chance.choice(known).rstrip("/") + f"/{chance.randrange(30)}"
        action = chance.randrange(6)
        try:
            if action < 2:
                names.check_create(path)
                names.create(path, goal=1, created_microseconds=step, file_id=step)
                names.append_chunk(path, step)
            elif action < 4:
                for directory in names.plan_directories(path, parents=True):
                    names.make_directory(directory, created_microseconds=step)
                    known.append(directory)
            elif action == 4:
                target = chance.choice(known).rstrip("/") + f"/{chance.randrange(30)}"
                names.check_rename(path, target, replace=False)
                names.move(path, target)
                known.append(target)
            else:
                names.check_delete(path, recursive=chance.random() < 0.5)
                if chance.random() < 0.5:
                    names.move(path, hidden_name(path, step))
                else:
                    names.remove(path)
        except TabletopError:
            pass
        if step % 100 == 0:
            names.check_invariants()
    names.check_invariants()
    copy = Namespace(PrefixTable.from_leaves(names.table.snapshot()))
    copy.files, copy.directories, copy.hidden_files = names.files, names.directories, names.hidden_files
    copy.check_invariants()


def test_a_copy_of_a_tree_has_the_same_chunks_and_files_of_its_own(names: Namespace) -> None:
    source = dict(names.descendants("/users", after="", limit=100))
    files = [path for path, entry in source.items() if isinstance(entry, FileEntry)]
    counts = names.files, names.directories
    assert names.copy("/users", "/copy", first_file_id=100) == {3: (0x2A, 0x2B)}
    copied = dict(names.descendants("/copy", after="", limit=100))
    assert [path.removeprefix("/copy") for path in copied] == [path.removeprefix("/users") for path in source]
    ids = [entry.file_id for entry in copied.values() if isinstance(entry, FileEntry)]
    assert ids == list(range(100, 100 + len(files)))
    for path, entry in source.items():
        twin = copied[path.replace("/users", "/copy")]
        if isinstance(entry, FileEntry):
            assert isinstance(twin, FileEntry) and (twin.goal, twin.handles) == (entry.goal, entry.handles)
            assert twin.created_microseconds == entry.created_microseconds
        else:
            assert twin == entry
    assert names.files == counts[0] + len(files) and names.directories > counts[1]
    assert dict(names.descendants("/users", after="", limit=100)) == source
    names.check_invariants()


def test_a_copy_of_many_files_keeps_the_table_sound() -> None:
    names = Namespace()
    names.make_directory("/d", created_microseconds=1)
    for number in range(500):
        handles = tuple(range(number * 10 + 1, number * 10 + 1 + number % 4))
        names.create(
            f"/d/{number:03}", goal=2 + number % 2, created_microseconds=1, file_id=number + 1, handles=handles
        )
    chunks = names.copy("/d", "/a", first_file_id=1000)
    assert set(chunks) == {2, 3} and sum(map(len, chunks.values())) == sum(number % 4 for number in range(500))
    names.check_invariants()
    for number in (0, 77, 499):
        twin = names.file(f"/a/{number:03}")
        assert (twin.file_id, twin.handles) == (1000 + number, names.file(f"/d/{number:03}").handles)
    assert names.replace_chunk("/a/003", 1, 9999) == 32
    assert names.file("/a/003").handles == (31, 9999, 33) and names.file("/d/003").handles == (31, 32, 33)


def test_a_path_that_would_become_too_long_is_refused_before_a_snapshot() -> None:
    names = Namespace()
    names.check_grown("/d", "/e", b"x" * 4096)
    with pytest.raises(InvalidRequest, match="4097 bytes"):
        names.check_grown("/d", "/ee", b"x" * 4096)
