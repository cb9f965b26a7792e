"""Looking through trees before they are stored."""

import hashlib
import os
from pathlib import Path

import pytest

from runtime.errors import InvalidRequest, NotFound
from tabletop.sources import PIECE_BYTES, MemoryTree, SourceFile, digests, local_source, look_through


def test_a_folder_is_listed_in_order_with_directories_before_what_is_in_them(tmp_path: Path):
    (tmp_path / "b" / "inner").mkdir(parents=True)
    (tmp_path / "a.txt").write_bytes(b"12345")
    (tmp_path / "b" / "inner" / "c").write_bytes(b"")
    tree = look_through(tmp_path)
    assert tree.directories == ["b", "b/inner"]
    assert tree.files == [SourceFile("a.txt", 5), SourceFile("b/inner/c", 0)]


def test_links_to_files_are_followed_and_everything_odd_is_left_out_and_named(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "circle").symlink_to(".", target_is_directory=True)
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    tree = look_through(tmp_path)
    assert [file.path for file in tree.files] == ["link", "real"]
    assert sorted(tree.skipped) == ["broken", "circle", "pipe"]


def test_ignored_folders_are_left_out_at_every_depth(tmp_path: Path):
    (tmp_path / "kept" / "__pycache__").mkdir(parents=True)
    (tmp_path / "kept" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert look_through(tmp_path, ignore=["__pycache__"]).files == []


def test_a_missing_source_is_refused_by_name(tmp_path: Path):
    with pytest.raises(NotFound, match=r"no local file or folder .*nothing-here"):
        local_source(tmp_path / "nothing-here")


def test_a_source_that_is_neither_file_nor_folder_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="neither a file nor a folder"):
        local_source(tmp_path / "pipe")


def test_a_name_that_is_no_unicode_is_refused_before_anything_is_stored(tmp_path: Path):
    try:
        (tmp_path / os.fsdecode(b"\xff.txt")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    with pytest.raises(InvalidRequest, match="is not Unicode; rename it"):
        look_through(tmp_path)


async def test_large_files_come_in_pieces_and_digests_are_of_the_whole(tmp_path: Path):
    data = os.urandom(PIECE_BYTES * 2 + 17)
    (tmp_path / "large").write_bytes(data)
    tree = local_source(tmp_path / "large")
    assert [len(piece) async for piece in tree.pieces("")] == [PIECE_BYTES, PIECE_BYTES, 17]
    assert await digests(tree) == {"": hashlib.sha256(data).hexdigest()}


async def test_a_tree_in_memory_has_the_directories_that_its_paths_need():
    tree = MemoryTree({"a/b/c": b"1", "a/d": b"22"})
    assert tree.directories == ["a", "a/b"]
    assert [(file.path, file.size) for file in tree.files] == [("a/b/c", 1), ("a/d", 2)]
    assert [piece async for piece in tree.pieces("a/d")] == [b"22"]
