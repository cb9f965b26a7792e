"""What happened in a run: counted for the line that is shown, and written down for whoever looks for a cause.

`history.jsonl` in the run's folder holds one line for each operation, fault and violation, with its time since the
beginning, beside the events of the nodes.
"""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from cluster.torture.contents import Contents
from runtime.errors import TabletopError


class History:
    """The account of one run. `echo` is called with each line in words."""

    def __init__(self, path: Path, echo: Any = None) -> None:
        self.acknowledged = 0
        self.reads = 0
        self.refused: Counter[str] = Counter()
        self.doubtful = 0
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        self.remarks: list[str] = []
        self._began = time.monotonic()
        self._echo = echo
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def operation(self, client: str, words: str, outcome: str) -> None:
        """A client was answered."""
        self._write("operation", client, f"{words}: {outcome}")

    def failure(self, client: str, words: str, error: TabletopError) -> None:
        """A client was refused, or not answered."""
        self.refused[type(error).__name__] += 1
        self.doubtful += not error.definite
        certainty = "definite" if error.definite else "indefinite"
        self._write("operation", client, f"{words}: {type(error).__name__}, {certainty}: {error.message}")

    def fault(self, kind: str, words: str) -> None:
        """Something was broken on purpose."""
        self.faults[kind] += 1
        self._write("fault", kind, words)

    def healed(self, words: str) -> None:
        """A fault is over."""
        self._write("healed", "", words)

    def violation(self, words: str) -> None:
        """A promise was broken."""
        self.violations.append(f"{self.seconds:.1f} s: {words}")
        self._write("VIOLATION", "", words)

    def remark(self, words: str) -> None:
        """Something worth a line that breaks no promise."""
        self.remarks.append(words)
        self._write("remark", "", words)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, kind: str, subject: str, words: str) -> None:
        line = {"seconds": round(self.seconds, 3), "kind": kind, "subject": subject, "words": words}
        self._file.write(json.dumps(line) + "\n")
        if self._echo is not None:
            self._echo(f"{self.seconds:7.2f} s  {kind} {subject}  {words}")


def now() -> float:
    """The loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


def in_words(contents: Contents) -> str:
    """A file's length for a message."""
    return f"{contents.length} bytes" if contents.defined else f"{contents.length} to {contents.longest} bytes"
