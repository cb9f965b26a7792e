"""Running the command line on a folder of its own: as a program where signals matter, within the test otherwise."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cluster import processes
from tabletop.application import app

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Desk:
    """One home for clusters, and the command `tabletop` on it."""

    home: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tabletop.main", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {"TABLETOP_HOME": str(self.home), "TABLETOP_CLUSTER": "desk", "NO_COLOR": "1"}

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a command to its end; returns all it printed, standard output first."""
        done = CliRunner().invoke(app, list(arguments), env=self.environment)
        printed = done.stdout + done.stderr
        assert done.exit_code == expect, f"{arguments}: exit code {done.exit_code}, expected {expect}:\n{printed}"
        return printed

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command and go on."""
        return subprocess.Popen(
            self.command(*arguments),
            env={**os.environ, **self.environment, "TMPDIR": str(self.home.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def status(self) -> dict[str, Any]:
        """The master's report."""
        found: dict[str, Any] = json.loads(self.run("status", "--json"))
        return found

    def programs(self) -> list[processes.ProcessIdentity]:
        """The living nodes of all clusters in this home."""
        return processes.find_programs(self.home.resolve())

    def files(self) -> list[Path]:
        """All files in this home."""
        return [path for path in self.home.rglob("*") if path.is_file()]


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        pause.wait(0.05)
