"""One fault in one block of a simulated disk, and who comes upon it.

Stored bytes are changed once, behind the server's back. Errors last: every read, or every write, that touches the block
fails, as a bad sector's does; whatever else the disk is asked for, it does.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random

from cluster.cords.terms import Block, Fault
from runtime.errors import DiskFailure, NoSpace, TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.disk import SimulatedDisk

NO_BLOCK = Block("", "", 0, 0)


@dataclass(slots=True)
class Strike:
    """A fault that is there. `changed`: whether any stored byte is another one now, or an error was met. `reads` and
    `writes` count the accesses to the block since; `read_first`: the first of them was a read."""

    block: Block
    fault: Fault
    changed: bool = False
    reads: int = 0
    writes: int = 0
    read_first: bool = False
    _first_path: str = ""
    _is_gone: bool = False

    def on_operation(self, operation: Operation) -> TabletopError | None:
        """Count the accesses to the block, and refuse those that the fault is about."""
        block, begin = self.block, operation.offset
        if operation.verb == "remove" and operation.path == self._first_path:
            self._is_gone = True
        if operation.verb not in ("read", "write") or not operation.count:
            return None
        if begin >= block.offset + block.count or begin + operation.count <= block.offset:
            return None
        if not self._is_meant(operation.path):
            return None
        if operation.verb == "read":
            self.read_first = self.read_first or not self.writes
            self.reads += 1
        else:
            self.writes += 1
        return self._refusal(operation)

    def _is_meant(self, path: str) -> bool:
        block = self.block
        if not block.is_passing or not fnmatchcase(path, block.path):
            return path == block.path
        if not block.known:
            return True
        if not self._first_path and path not in block.known:
            self._first_path = path
        return path == self._first_path and not self._is_gone

    def _refusal(self, operation: Operation) -> TabletopError | None:
        what = f"cannot {operation.verb} {operation.path} at {operation.offset}"
        if (operation.verb, self.fault) in (("read", Fault.READ_ERROR), ("write", Fault.WRITE_ERROR)):
            self.changed = True
            return DiskFailure(f"{what}: Input/output error")
        if operation.verb == "write" and self.fault is Fault.NO_SPACE:
            self.changed = True
            return NoSpace(f"{what}: No space left on device")
        return None


def strike(disk: SimulatedDisk, block: Block, fault: Fault) -> Strike:
    """Let the fault be there from now on."""
    found = Strike(block, fault)
    if fault.is_corruption and not block.is_passing:
        before = disk.stored(block.path)[block.offset : block.offset + block.count]
        after = bytes(len(before)) if fault is Fault.ZEROS else Random(len(before)).randbytes(len(before))
        if before != after:
            disk.damage(block.path, block.offset, after)
            found.changed = True
    disk.on_operation(found.on_operation)
    return found
