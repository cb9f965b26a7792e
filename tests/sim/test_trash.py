"""The trash as a client sees it (GFS 4.4): the whole path is kept, and what is brought back has every byte."""

import pytest

from runtime.errors import AlreadyExists, InvalidRequest, NotADirectory, NotFound
from tests.sim.small_clusters import SmallCluster, play, wait

LONG = "/" + "/".join(["a long name of a folder " * 8] * 3)


def test_what_is_restored_stands_at_its_old_place_with_every_byte_and_missing_directories_are_made():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        path = f"{LONG}/file|with-marks"
        await client.make_directory(LONG, parents=True)
        await client.write_file(path, b"precious")
        await client.delete(path)
        await client.delete("/" + LONG.split("/")[1], recursive=True)
        [file, tree] = await client.operators.trash()
        assert (file.path, file.files, file.length, file.is_directory) == (path, 1, 8, False)
        assert tree.path == "/" + LONG.split("/")[1] and tree.files == 0 and tree.is_directory
        assert await client.read_file(file.hidden) == b"precious"
        assert await client.operators.restore(path) == path
        assert await client.read_file(path) == b"precious"
        assert [one.path for one in await client.operators.trash()] == [tree.path]

    play(1, story)


def test_a_restoration_takes_nobodys_place_and_may_go_elsewhere():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        for text in (b"first", b"second"):
            await client.write_file("/a", text)
            await client.delete("/a")
        await client.write_file("/a", b"third")
        with pytest.raises(AlreadyExists):
            await client.operators.restore("/a")
        assert await client.read_file("/a") == b"third" and len(await client.operators.trash("/a")) == 2
        assert await client.operators.restore("/a", to="/new/b") == "/new/b"
        assert await client.operators.restore("/a", to="/new/c") == "/new/c"
        assert [await client.read_file(path) for path in ("/new/b", "/new/c")] == [b"second", b"first"]
        with pytest.raises(NotFound):
            await client.operators.restore("/a", to="/new/d")
        await client.delete("/new/b")
        for below_a_file, error in (("/a/b", AlreadyExists), ("/a/b/c", NotADirectory)):
            with pytest.raises(error):
                await client.operators.restore("/new/b", to=below_a_file)

    play(2, story)


def test_one_file_of_a_deleted_tree_is_restored_alone_and_the_rest_stays():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/lab/empty", parents=True)
        for name in ("a", "b"):
            await client.write_file(f"/lab/{name}", name.encode())
        await client.delete("/lab", recursive=True)
        assert await client.operators.restore("/lab/a") == "/lab/a"
        assert await client.read_file("/lab/a") == b"a"
        [rest] = await client.operators.trash()
        assert (rest.path, rest.files) == ("/lab", 1)
        with pytest.raises(AlreadyExists):
            await client.operators.restore("/lab")
        assert await client.operators.restore(rest.root, to="/lab/rest") == "/lab/rest"
        assert [entry.path for entry in await client.list("/lab", recursive=True)] == [
            "/lab/a", "/lab/rest", "/lab/rest/b", "/lab/rest/empty"
        ]  # fmt: skip
        assert await client.list("/.deleted") == []

    play(3, story)


def test_the_trash_is_emptied_of_what_is_old_and_of_a_part_of_the_tree():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/old")
        await client.make_directory("/new")
        for path in ("/old/a", "/new/a", "/b"):
            await client.write_file(path, b"bytes")
        await client.delete("/old/a")
        await wait(10)
        await client.delete("/new/a")
        await client.delete("/b")
        assert await client.operators.empty_trash(older_than_seconds=5) == 1
        assert await client.operators.empty_trash("/new") == 1
        assert [one.path for one in await client.operators.trash()] == ["/b"]
        await wait(20)
        held = [path for node in cluster.chunkservers() for path in cluster.disk(node).paths() if ".meta" in path]
        assert len(held) == 3, "the replicas of /b alone"
        with pytest.raises(InvalidRequest):
            await client.rename((await client.operators.trash())[0].root, "/whole")

    play(4, story)


def test_a_long_list_of_deletions_comes_in_pages():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        for number in range(250):
            await client.create(f"/file{number}")
            await client.delete(f"/file{number}")
        assert [one.path for one in await client.operators.trash()] == [f"/file{number}" for number in range(250)]

    play(5, story)
