"""What clients do while a fault is there: the workloads of the matrix."""

from cluster.cords.image import DATA, FIRST, OLD, RECORDS, body
from cluster.cords.ledger import Ledger
from cluster.cords.terms import Workload
from gfs.client import Client
from runtime.errors import TabletopError

_BEGIN, _COUNT = 60_000, 12_000  # from one block of a checksum into the next, and beyond the file's end


async def perform(workload: Workload, client: Client, ledger: Ledger) -> None:
    """Do the work, and enter into the ledger what became of it. Reading is all that is done after a restart."""
    match workload:
        case Workload.READ | Workload.RESTART:
            await ledger.check(client, names=False)
        case Workload.WRITE:
            await _overwrite(client, ledger)
            await _write_new(client, ledger, "/d/new")
        case Workload.APPEND:
            await _append(client, ledger)
        case Workload.NAMES:
            await _change_names(client, ledger)


async def _overwrite(client: Client, ledger: Ledger) -> None:
    """GFS 3.1: a write that is overwrite and append in one."""
    data = body("w", _COUNT)

    async def work() -> None:
        async with await client.open(DATA, "r+b") as file:
            await file.pwrite(_BEGIN, data)

    if await ledger.does(f"overwrite {DATA}", work()):
        ledger.files[DATA] = ledger.files[DATA][:_BEGIN] + data
    else:
        ledger.doubt(DATA, _BEGIN, _BEGIN + _COUNT)


async def _write_new(client: Client, ledger: Ledger, path: str) -> bool:
    data = body("n", 2000)
    done = await ledger.does(f"write {path}", client.write_file(path, data))
    if done:
        ledger.files[path] = data
    return done


async def _append(client: Client, ledger: Ledger) -> None:
    """GFS 3.3."""
    for number in range(4):
        record = body(f"a{number}", 1500)
        try:
            ledger.records[await client.record_append(RECORDS, record)] = record
        except TabletopError as error:
            ledger.failed.append(f"append record {number}: {type(error).__name__}: {error.message}")


async def _change_names(client: Client, ledger: Ledger) -> None:
    """GFS 4.1."""
    for number in range(3):
        path = f"/d/made{number}"
        if await ledger.does(f"make {path}", client.make_directory(path)):
            ledger.directories[path] = None
    if await ledger.does(f"rename {FIRST}", client.rename(FIRST, "/d/renamed")):
        ledger.files["/d/renamed"] = ledger.files.pop(FIRST)
    else:
        ledger.doubt_name(FIRST)
    if await ledger.does(f"delete {OLD}", client.delete(OLD)):
        del ledger.files[OLD]
    else:
        ledger.doubt_name(OLD)


async def probe(client: Client, ledger: Ledger) -> tuple[bool, bool]:
    """Whether names can be read, and whether a new file can be written and read, after all."""
    try:
        await client.list("/")
        reads = True
    except TabletopError:
        reads = False
    data = body("p", 100)
    try:
        await client.write_file("/probe", data)
        if await client.read_file("/probe") != data:
            ledger.wrong.append("/probe: not what had been written a moment before")
    except TabletopError:
        return reads, False
    return reads, True
