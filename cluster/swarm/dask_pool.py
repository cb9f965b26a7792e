"""The workers of a sweep on the machines of a Dask cluster, when one machine is not enough.

    pool, jobs = await dask_pool("tcp://desk-1:8786", files=[Path("drills.py")])

Every task of Dask is one batch: it starts the same process there that a sweep starts here, and brings its lines back.
So a batch is as alone there as here, and the seeds give the same runs: what a seed decides does not depend on the
machine. Tabletop must be installed on the machines. Files that the swarm is made of are sent along with every batch.

What we simplify. The lines of a batch come when all of it is done, so progress moves by batches. Versions of Python
and of Tabletop are not compared: Dask itself warns of other versions of its own.
"""

import json
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.swarm.sweep import PROCESSOR_SECONDS, SILENCE_SECONDS, Batch, WorkerEnded, worker_environment
from runtime.errors import InvalidRequest, Unavailable

CONNECT_SECONDS = 10.0


class DaskPool:
    """The workers of one Dask cluster. `files`: what every batch finds in its working folder, by name."""

    def __init__(self, client: Any, files: Mapping[str, bytes]) -> None:
        self._client = client
        self._files = dict(files)

    async def lines(self, batch: Batch) -> AsyncGenerator[dict[str, Any], None]:
        """See cluster/swarm/sweep.py."""
        future = self._client.submit(run_batch, batch, self._files, pure=False)
        try:
            lines, exit_code = await future
        finally:
            if not future.done():
                await future.cancel()
        for line in lines:
            yield line
        if exit_code is None:
            raise TimeoutError
        if exit_code:
            raise WorkerEnded(f"the process ended with exit code {exit_code}")

    async def close(self) -> None:
        """Let go of the Dask cluster."""
        await self._client.close()


async def dask_pool(address: str, files: Sequence[Path] = ()) -> tuple[DaskPool, int]:
    """A pool on the Dask cluster whose scheduler is at this address, and how many batches it can run at a time.

    Raises InvalidRequest (Dask is not installed, or is no address), Unavailable (nobody answers, or it has no
    worker)."""
    try:
        from distributed import Client
    except ImportError:
        raise InvalidRequest("--dask needs Dask: install it with `pip install 'tabletop-cluster[dask]'`") from None
    try:
        client = await Client(address, asynchronous=True, timeout=CONNECT_SECONDS)
    except ValueError as error:
        raise InvalidRequest(f"--dask {address}: {error}; expected an address such as tcp://desk-1:8786") from None
    except OSError as error:
        raise Unavailable(f"no Dask scheduler at {address}: {error}; start one with `dask scheduler`") from None
    threads = sum((await client.ncores()).values())
    if not threads:
        await client.close()
        raise Unavailable(f"the Dask cluster at {address} has no worker; start some with `dask worker {address}`")
    return DaskPool(client, {path.name: path.read_bytes() for path in files}), threads


def run_batch(batch: Batch, files: Mapping[str, bytes]) -> tuple[list[dict[str, Any]], int | None]:
    """Run a batch in a process of its own, wherever this is called. Returns its lines and its exit code, None for
    one that did not end in time."""
    with tempfile.TemporaryDirectory(prefix="tabletop-batch-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        worker = subprocess.Popen(batch.arguments(), stdout=subprocess.PIPE, cwd=folder, env=worker_environment())
        try:
            output, _ = worker.communicate(timeout=batch.count * PROCESSOR_SECONDS + SILENCE_SECONDS)
            exit_code: int | None = worker.returncode
        except subprocess.TimeoutExpired:
            worker.kill()
            output, exit_code = worker.communicate()[0], None
    return [json.loads(line) for line in output.splitlines()], exit_code
