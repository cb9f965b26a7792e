"""Simulated runs in a process of their own: `python -m labs.worker`.

What is run may be a student's scenario, which is foreign code, or a server with a bug planted in it. So it runs in a
fresh process with limits of time, memory and files, an empty environment, an empty folder of its own, and a fixed seed
of hashes. That ends what never ends and keeps accidents small. It is no prison: the process has the account of whoever
runs it, may read what this account may read, and may use the network (docs/drills.md).

The request comes as one JSON object on standard input; the answer goes to the file descriptor that the request names no
scenario of, the original standard output, which the code that is run does not have as its standard output.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from labs.drills.catalogue import drill_of
from labs.drills.drill import Answered, Simulated
from runtime.errors import InternalError, TimedOut

SECONDS = 120.0
MEMORY_BYTES = 4 << 30
FILE_BYTES = 64 << 20
LARGEST_ANSWER = 64 << 20


def run_apart(drill: str, parameters: dict[str, Any], *, seconds: float = SECONDS) -> Answered:
    """Run a simulated drill in a process of its own. Raises TimedOut, and InternalError with its last words."""
    rooms = str(Path(__file__).resolve().parent.parent)
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": rooms, "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory(prefix="tabletop-drill-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "labs.worker"],
                input=json.dumps({"drill": drill, "parameters": parameters, "seconds": seconds}),
                capture_output=True,
                text=True,
                cwd=folder,
                env={**environment, "HOME": folder, "TMPDIR": folder},
                timeout=seconds,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise TimedOut(f"the run of drill {drill} took longer than {seconds:g} seconds", definite=True) from None
    try:
        values = json.loads(done.stdout[:LARGEST_ANSWER])
        return Answered(values["facts"], values["files"])
    except (ValueError, KeyError, TypeError):
        words = done.stderr.strip().splitlines() or ["nothing"]
        raise InternalError(
            f"the run of drill {drill} ended with exit code {done.returncode}; its last words: {words[-1][:300]}"
        ) from None


def main() -> int:
    """Read a request, run it, answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What is run may print; that is no answer.
    request = json.load(sys.stdin)
    _limit(request["seconds"])
    stage = drill_of(request["drill"]).stage
    assert isinstance(stage, Simulated)
    found = stage.run(request["parameters"])
    json.dump({"facts": found.facts, "files": found.files}, answers)
    answers.close()
    return 0


def _limit(seconds: float) -> None:
    wanted = {
        resource.RLIMIT_CPU: int(seconds) + 1,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for what, limit in wanted.items():
        with contextlib.suppress(OSError, ValueError):  # macOS does not know all of them.
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
