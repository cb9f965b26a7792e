"""One node as a program: `python -m cluster.program --config nodes/cs1/config.json`.

The program reads its configuration, builds the real world on its folder, runs the server of its role until it is asked
to stop (SIGTERM, or the Shutdown call), and says what became of it in files that its starter reads: `ready.json` once
it serves, `failure.json` when it refuses to go on. Its events go to `events.jsonl`; `tabletop log` puts them in words.

A cluster that belongs to a program (a test, the demonstration) names that program as its owner. The nodes look once a
second whether the owner still lives, and stop when it does not: even a kill -9 of the owner leaves nothing running.
They also stop when their folder is gone: without it nobody would find them any more.
"""

import argparse
import asyncio
import contextlib
import errno
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from cluster import processes
from cluster.folder import NodeConfig, NodeFolder, ReadyRecord, read_json
from cluster.processes import ProcessIdentity, ProcessState
from cluster.roles import CHUNKSERVER_ROLE
from cluster.servers import LEVELS, Server, make_server
from runtime.errors import InvalidRequest, TabletopError
from runtime.real.event_file import FileSink
from runtime.real.metrics import CallTimes, MetricsServer
from runtime.real.world import RealWorld

CHECK_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 writes a stack to the log: what does a node that hangs wait for?
    parser = argparse.ArgumentParser(prog="python -m cluster.program", description="Run one node of a cluster.")
    parser.add_argument("--config", required=True, type=Path, help="the node's configuration, a JSON file")
    path: Path = parser.parse_args(arguments).config
    folder = NodeFolder(path.parent)
    descriptors = processes.raise_descriptor_limit()
    try:
        asyncio.run(_serve(folder, descriptors))
    except TabletopError as error:
        folder.write_failure(type(error).__name__, error.message)
        print(f"refused to go on: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        folder.write_failure("NoSpace" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "DiskFailure", what)
        traceback.print_exc()
        return 1
    except Exception as error:
        folder.write_failure("InternalError", f"{type(error).__name__}: {error} (a bug; see {folder.log})")
        traceback.print_exc()
        return 70
    folder.forget_failure()
    return 0


async def _serve(folder: NodeFolder, descriptors: int) -> None:
    values = read_json(folder.config)
    if values is None:
        raise InvalidRequest(f"no configuration file {folder.config}")
    config = NodeConfig.from_json(values)
    token = (folder.path.parent.parent / "token").read_text(encoding="ascii").strip()
    calls = CallTimes()
    world = _world(config, folder, token, calls)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGINT, stopping.set)
    settings = config.settings
    if config.role == CHUNKSERVER_ROLE:
        settings = {**settings, "open_chunks": processes.open_chunks(descriptors)}
    server = make_server(world, config.role, settings)
    metrics = MetricsServer(token, calls, server.counters, server.measures, lambda name: name not in LEVELS)
    await server.start()
    try:
        await metrics.start()
        addresses = server.control_address, server.bulk_address, metrics.address
        folder.write_ready(ReadyRecord(processes.this_process(), *addresses))
        folder.forget_failure()
        await _until_stopped(world, server, stopping, config.owner, folder)
    finally:
        folder.forget_ready()
        await metrics.stop()
        await server.stop()
        await world.close()


def _world(config: NodeConfig, folder: NodeFolder, token: str, calls: CallTimes) -> RealWorld:
    sink = FileSink(folder.events)
    if not config.experiments:
        return RealWorld(node=config.node, root=folder.data, token=token, sink=sink, observer=calls)
    from cluster.experiments import experimental_world  # Nothing of it is loaded elsewhere.

    world = experimental_world(config, folder, token, sink, calls)
    world.watch_faults()
    return world


async def _until_stopped(
    world: RealWorld, server: Server, stopping: asyncio.Event, owner: ProcessIdentity | None, folder: NodeFolder
) -> None:
    waits = [
        world.spawn(stopping.wait(), "wait for a signal"),
        world.spawn(server.wait_for_shutdown(), "wait for Shutdown"),
        world.spawn(_until_removed(folder.path), "watch the folder"),
    ]
    if owner is not None:
        waits.append(world.spawn(_until_gone(owner), "watch the owner"))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)


async def _until_gone(owner: ProcessIdentity) -> None:
    while processes.state_of(owner) is not ProcessState.GONE:  # noqa: ASYNC110 - another process sets no event of ours
        await asyncio.sleep(CHECK_SECONDS)


async def _until_removed(folder: Path) -> None:
    """Return when the folder is gone, or another has its name."""
    mine = folder.stat()
    with contextlib.suppress(FileNotFoundError):
        while os.path.samestat(folder.stat(), mine):  # noqa: ASYNC110 - nobody sets an event when a folder goes
            await asyncio.sleep(CHECK_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main())
