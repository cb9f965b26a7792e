"""The words of the matrix: what is done, what strikes, what the struck node does, and what comes of it for everybody.

Local behaviours and global effects are those of the paper (Ganesan et al., FAST 2017, 3.2), but for two local ones that
it has no word for: an access that never happened, and a block that was written over before anybody read it.
"""

import enum
from dataclasses import dataclass

BLOCK_BYTES = 4096
"""A block of the file system below, as in the paper: the unit that one fault strikes."""


class Subject(enum.Enum):
    """What is struck: a cluster of the file system, or one tablet in a folder of a node."""

    FILES = "files"
    TABLET = "tablet"


class Workload(enum.Enum):
    """What is done while the fault is there. The values are the titles of the matrix."""

    READ = "read"
    WRITE = "write"
    APPEND = "append"
    NAMES = "names"
    RESTART = "restart"
    PUT = "put"
    GET = "get"
    SCAN = "scan"
    COMPACT = "compaction"
    REOPEN = "reopen"

    @property
    def subject(self) -> Subject:
        """To what it is done."""
        of_tablet = (Workload.PUT, Workload.GET, Workload.SCAN, Workload.COMPACT, Workload.REOPEN)
        return Subject.TABLET if self in of_tablet else Subject.FILES


class Fault(enum.Enum):
    """What is wrong with one block."""

    ZEROS = "zeros"
    GARBAGE = "garbage"
    READ_ERROR = "read error"
    WRITE_ERROR = "write error"
    NO_SPACE = "no space"

    @property
    def is_corruption(self) -> bool:
        """Whether the stored bytes change."""
        return self in (Fault.ZEROS, Fault.GARBAGE)


class Local(enum.Enum):
    """What the struck node does. The value is the symbol in the matrix."""

    NOT_ACCESSED = "·"
    OVERWRITTEN = "w"
    NO_DETECTION = "—"
    CRASH = "C"
    PARTIAL_CRASH = "P"
    RETRY = "R"
    INTERNAL_REDUNDANCY = "I"
    REPLICA = "M"
    TRUNCATED = "T"
    DETECTED = "D"

    @property
    def words(self) -> str:
        """What the symbol stands for."""
        return _LOCAL_WORDS[self]


_LOCAL_WORDS = {
    Local.NOT_ACCESSED: "not accessed: nobody read or wrote the block",
    Local.OVERWRITTEN: "written over: nobody read what was there",
    Local.NO_DETECTION: "no detection: the block was read and nothing was found",
    Local.CRASH: "crash: the node refuses to start, or ends",
    Local.PARTIAL_CRASH: "partial crash: it goes on without the files in question",
    Local.RETRY: "retry: what failed was tried again, there or elsewhere, and succeeded",
    Local.INTERNAL_REDUNDANCY: "internal redundancy: corrected from what the node itself has a second time",
    Local.REPLICA: "corrected from a replica on another node",
    Local.TRUNCATED: "truncated: what could not be read was cut off",
    Local.DETECTED: "detected: an error was found and told",
}


class Effect(enum.Enum):
    """What comes of it for the whole cluster, the worst first. The value is the symbol in the matrix."""

    CORRUPTION = "X"
    DATA_LOSS = "L"
    UNAVAILABLE = "U"
    WRITE_UNAVAILABLE = "W"
    QUERY_FAILURE = "Q"
    REDUCED_REDUNDANCY = "r"
    CORRECT = "ok"

    @property
    def words(self) -> str:
        """What the symbol stands for."""
        return _EFFECT_WORDS[self]


_EFFECT_WORDS = {
    Effect.CORRUPTION: "silent corruption: a wrong answer was given",
    Effect.DATA_LOSS: "data loss: something acknowledged is not there, or can be read nowhere any more",
    Effect.UNAVAILABLE: "unavailable: nobody is answered",
    Effect.WRITE_UNAVAILABLE: "writes unavailable: reads are answered, changes are not",
    Effect.QUERY_FAILURE: "query failure: an operation failed although it was tried again",
    Effect.REDUCED_REDUNDANCY: "reduced redundancy: the cluster goes on with a copy or a node less",
    Effect.CORRECT: "correct",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One block of one file; of a file that is there for a moment only (`is_passing`), by a pattern of its path.
    `known`: such a file is none of these; and then only the first one that comes is meant."""

    structure: str
    path: str
    offset: int
    count: int
    is_passing: bool = False
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}[{self.offset}:{self.offset + self.count}]"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: on which node which block is struck by what, while what is done."""

    node: str
    block: Block
    workload: Workload
    fault: Fault

    def __str__(self) -> str:
        return f"{self.node}: {self.block.structure} {self.block}, {self.fault.value} while {self.workload.value}"
