"""The synchronous face, against the fake cluster, which runs in a loop of its own."""

import asyncio
import gc
import io
import multiprocessing
import pickle
import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gfs
from gfs.synchronous import BackgroundLoop
from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotFound
from tests.unit.gfs_fakes import CHUNK_BYTES, QUICK, FakeCluster

DATA = random.Random(5).randbytes(CHUNK_BYTES + 12345)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    background = BackgroundLoop()

    async def start() -> FakeCluster:
        return await FakeCluster(tmp_path).__aenter__()

    running = background.call(start())
    yield running
    background.call(running.__aexit__())
    background.stop()


@pytest.fixture
def fs(cluster: FakeCluster) -> Iterator[gfs.FileSystem]:
    with gfs.connect(master=cluster.master.rpc.address, token="secret", settings=QUICK) as found:
        yield found


def test_files_are_copied_in_and_out_by_the_standard_library(fs: gfs.FileSystem):
    with fs.open("/a", "wb") as file:
        shutil.copyfileobj(io.BytesIO(DATA), file)
    copy = io.BytesIO()
    with fs.open("/a") as file:
        shutil.copyfileobj(file, copy)
    assert copy.getvalue() == DATA
    with io.BufferedReader(fs.open("/a")) as buffered:
        assert buffered.read(10) == DATA[:10]
        buffered.seek(-5, io.SEEK_END)
        assert buffered.read() == DATA[-5:]


def test_text_and_pickles_can_be_written(fs: gfs.FileSystem):
    with io.TextIOWrapper(io.BufferedWriter(fs.open("/text", "wb")), encoding="utf-8") as text:
        text.write("Größe\nzwei\n")
    with io.TextIOWrapper(io.BufferedReader(fs.open("/text")), encoding="utf-8") as text:
        assert list(text) == ["Größe\n", "zwei\n"]
    with fs.open("/pickle", "xb") as file:
        pickle.dump({"a": [1, 2]}, file)
    assert pickle.loads(fs.read_file("/pickle")) == {"a": [1, 2]}


def test_upload_and_download_move_whole_local_files(fs: gfs.FileSystem, tmp_path: Path):
    (tmp_path / "source").write_bytes(DATA)
    with (tmp_path / "source").open("rb") as source:
        assert fs.upload(source, "/a") == len(DATA)
    with (tmp_path / "target").open("wb") as target:
        assert fs.download("/a", target) == len(DATA)
    assert (tmp_path / "target").read_bytes() == DATA


def test_wrong_arguments_of_files_are_refused_in_words(fs: gfs.FileSystem, tmp_path: Path):
    fs.write_file("/a", DATA)
    for text in (str(tmp_path / "x"), io.StringIO("text"), None):
        with pytest.raises(InvalidRequest, match=r"expected one that is open for bytes, as open\(path, 'rb'\)"):
            fs.upload(text, "/b")  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match=r"expected one that is open for bytes, as open\(path, 'wb'\)"):
            fs.download("/a", text)  # type: ignore[arg-type]
    with fs.open("/a") as file:
        uses = [lambda: file.read("3"), lambda: file.pread(0, -1), lambda: file.pread(0, "1"), lambda: file.seek("0")]
        for use in uses:
            with pytest.raises(InvalidRequest, match=r"/a: (count|offset) .*: expected"):
                use()
        assert file.read(3) == DATA[:3]


def test_names_are_managed_as_by_the_asynchronous_client(fs: gfs.FileSystem):
    fs.make_directory("/d")
    fs.write_file("/d/a", b"text")
    assert [status.path for status in fs.list("/d")] == ["/d/a"]
    assert [here for here, _, _ in fs.walk("/")] == ["/", "/d"]
    assert (fs.set_replication("/d/a", 2), fs.stat("/d/a").replication_goal) == (3, 2)
    fs.rename("/d/a", "/d/b")
    assert (fs.exists("/d/a"), fs.exists("/d/b"), fs.stat("/d/b").length) == (False, True, 4)
    assert len(fs.locations("/d/b")) == 1
    assert fs.cluster_status().cluster == "fake"
    assert fs.delete("/d/b") == 1
    assert fs.create("/e").length == 0
    with pytest.raises(NotFound):
        fs.open("/d/b")


def test_an_exception_in_the_block_abandons_the_file(fs: gfs.FileSystem, cluster: FakeCluster):
    with pytest.raises(ZeroDivisionError), fs.open("/a", "wb") as file:
        file.write(DATA)
        raise ZeroDivisionError
    assert cluster.master.files == {}
    assert file.closed


def test_a_file_that_nobody_closed_does_not_take_its_name(fs: gfs.FileSystem, cluster: FakeCluster):
    fs.open("/a", "wb").write(DATA)
    gc.collect()
    assert not fs.exists("/a")
    fs.close()
    assert cluster.master.files == {}


def test_updates_and_positions(fs: gfs.FileSystem):
    fs.write_file("/a", b"0123456789")
    with fs.open("/a", "r+b") as file:
        file.seek(3)
        file.write(b"xyz")
        file.flush()
        assert file.tell() == 6
        file.pwrite(8, b"!")
        assert file.pread(0, 100) == b"012xyz67!9"
        assert (file.readable(), file.writable(), file.seekable()) == (True, True, True)
    with pytest.raises(AlreadyExists):
        fs.write_file("/a", b"")


def test_an_interrupted_call_cancels_its_work_and_the_next_call_works(fs: gfs.FileSystem):
    ended = []

    async def wait_for_long(client: gfs.Client) -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.wait_for(asyncio.Event().wait(), timeout=30)
        finally:
            ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fs.run(wait_for_long)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]
    assert fs.list("/") == []


def test_close_leaves_no_thread_and_every_later_call_says_why_it_fails(cluster: FakeCluster):
    before = set(threading.enumerate())
    fs = gfs.connect(master=cluster.master.rpc.address, token="secret", settings=QUICK)
    file = fs.open("/a", "wb")
    file.write(DATA)
    fs.close()
    fs.close()
    left = [thread for thread in threading.enumerate() if thread not in before and "gfs" in thread.name]
    assert left == []
    with pytest.raises(InvalidRequest, match="connect again"):
        fs.list("/")
    assert cluster.master.files == {}


def test_threads_may_share_a_file_system(fs: gfs.FileSystem):
    def work(number: int) -> None:
        fs.write_file(f"/{number}", DATA[: number * 1000])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status.length for status in fs.list("/")] == [number * 1000 for number in range(8)]


def in_a_child(work: Callable[[], object]) -> str:
    """What `work` returns or raises in a forked child, which is given ten seconds."""
    answers = multiprocessing.get_context("fork").SimpleQueue()

    def run() -> None:
        try:
            answers.put(repr(work()))
        except BaseException as error:
            answers.put(repr(error))

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(10)
    if child.is_alive():
        child.kill()
        child.join()
        return "still waiting"
    return str(answers.get())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_is_refused_at_once_and_the_parent_goes_on(fs: gfs.FileSystem):
    fs.write_file("/a", b"text")
    with fs.open("/a") as file:
        assert "forked from one that had connected" in in_a_child(lambda: fs.read_file("/a"))
        assert "spawn" in in_a_child(file.read)
        assert "forked" in in_a_child(lambda: gfs.connect(master=fs.master_address, token="secret"))
        assert in_a_child(file.close) == "None"
        assert in_a_child(fs.close) == "None"
        assert file.read() == b"text"
    with pytest.raises(AlreadyExists):
        fs.create("/a")
    assert fs.read_file("/a") == b"text"


def test_a_refused_child_of_a_fork_hears_of_a_conflict(fs: gfs.FileSystem, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getpid", lambda: 1)
    with pytest.raises(Conflict, match="forked"):
        fs.read_file("/a")
    monkeypatch.undo()
