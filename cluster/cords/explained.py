"""Why some cells are not "correct", each by name. What is not explained here is a mistake of the servers.

An explanation is no excuse: it names what a reader who builds such a system must decide, and what was decided. None can
stand for silent corruption or for the loss of acknowledged data: those are never explained.
"""

from dataclasses import dataclass

from cluster.cords.terms import Effect, Fault, Workload

NEVER_EXPLAINED = (Effect.CORRUPTION, Effect.DATA_LOSS)
WRITING = (Fault.WRITE_ERROR, Fault.NO_SPACE)
_ANY_FAULT = tuple(Fault)
_ANY_WORK = tuple(Workload)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of cells with this effect at these nodes and structures."""

    name: str
    nodes: tuple[str, ...]
    structures: tuple[str, ...]
    effect: Effect
    reason: str
    faults: tuple[Fault, ...] = _ANY_FAULT
    workloads: tuple[Workload, ...] = _ANY_WORK

    def covers(self, node: str, structure: str, workload: Workload, fault: Fault, effect: Effect) -> bool:
        """Whether it is about this cell."""
        return (
            node in self.nodes
            and structure in self.structures
            and workload in self.workloads
            and fault in self.faults
            and effect is self.effect
        )


_CORRUPTED_OR_UNREADABLE = (Fault.ZEROS, Fault.GARBAGE, Fault.READ_ERROR)
_TABLETS = ("tablet that syncs", "tablet closed in order")
_OPENING = (Workload.PUT, Workload.COMPACT, Workload.REOPEN)
_OF_THREE = ("acting master of three", "shadow master of three")

EXPLANATIONS = (
    Explanation(
        "the folder is not known to be ours",
        ("chunkserver",),
        ("format", "identity"),
        Effect.REDUCED_REDUNDANCY,
        "Without these two small files nobody knows to which namespace the chunks belong, and a server that guessed "
        "could have them deleted (docs/decisions/0009). It does not start; what it held is copied elsewhere. It "
        "comes back on an empty folder.",
        (Fault.ZEROS, Fault.GARBAGE, Fault.READ_ERROR),
        (Workload.RESTART,),
    ),
    Explanation(
        "no life without its number",
        ("chunkserver",),
        ("new identity",),
        Effect.REDUCED_REDUNDANCY,
        "A server that cannot write down that another life begins could be taken for the one before. It does not "
        "start while the disk refuses that; what it held is copied elsewhere.",
        WRITING,
        (Workload.RESTART,),
    ),
    Explanation(
        "the paper's only master",
        ("only master",),
        ("operation log",),
        Effect.UNAVAILABLE,
        "A log that is damaged before its end, or ends before its mark, has lost what was answered. The only copy "
        "cannot be mended, and a master that went on without it would lose acknowledged names in silence: it "
        "refuses. Copies of the log are what GFS 2.6.3 keeps elsewhere: with three masters the same fault costs "
        "nothing.",
        (Fault.ZEROS, Fault.GARBAGE, Fault.READ_ERROR),
        (Workload.RESTART,),
    ),
    Explanation(
        "a full disk takes no changes",
        ("only master", "acting master of three"),
        ("operation log",),
        Effect.WRITE_UNAVAILABLE,
        "There is no room for the next record. Each change is refused for certain, nothing of it is done, and reads "
        "go on, until there is room, or the master is started again: the only one goes on in another log then, and of "
        "three another one takes over. One of three does not stand down by itself for this.",
        (Fault.NO_SPACE,),
        (Workload.READ, Workload.WRITE, Workload.APPEND, Workload.NAMES),
    ),
    Explanation(
        "one master goes, two go on",
        _OF_THREE,
        ("operation log",),
        Effect.REDUCED_REDUNDANCY,
        "A master whose log cannot be read, or ends before its mark, ends, so that it never takes over with less "
        "than was answered; and so does one whose log cannot be written. The others have every answered record. It "
        "comes back on an empty folder, and gets the whole state.",
    ),
    Explanation(
        "the lock service is one process",
        ("lock service",),
        ("lock service's log",),
        Effect.UNAVAILABLE,
        "Chubby has five replicas, ours has one (docs/decisions/0024). While it is down nobody may take over, so "
        "that after a start of all nodes no master acts. While masters run they go on until their session is over.",
        workloads=(Workload.RESTART,),
    ),
    Explanation(
        "one copy on one disk",
        _TABLETS,
        ("SSTable, whole", "SSTable data block"),
        Effect.QUERY_FAILURE,
        "What a block held cannot be had from anywhere else. Reads of its rows are refused, with the file and the "
        "offset; an older value, from an older file, is never given in its place. All other rows are served, writes go "
        "on, and compactions leave the file alone and tell of it. In GFS each block has three copies.",
        _CORRUPTED_OR_UNREADABLE,
    ),
    Explanation(
        "an SSTable without its index",
        _TABLETS,
        ("SSTable, whole", "SSTable index", "SSTable footer"),
        Effect.UNAVAILABLE,
        "Without the index nobody knows which rows the file has, and a tablet that was opened without the file would "
        "give older values, or none. It is not opened until the file is restored. Filters and properties are another "
        "matter: it is opened without the first, and has the second once more in the manifest.",
        _CORRUPTED_OR_UNREADABLE,
        _OPENING,
    ),
    Explanation(
        "the only copy of the log",
        _TABLETS,
        ("commit log",),
        Effect.UNAVAILABLE,
        "A log that is damaged before its end, or ends before its mark, has lost what was acknowledged; to go on "
        "without it would be to lose that in silence. The tablet is not opened. Removing the mark, or putting an empty "
        "file in the log's place, says that one can do without those rows.",
        _CORRUPTED_OR_UNREADABLE,
        _OPENING,
    ),
    Explanation(
        "the only manifest",
        _TABLETS,
        ("manifest",),
        Effect.UNAVAILABLE,
        "The manifest alone says which files make up the tablet; the one before it may name files that are gone. In "
        "the paper METADATA has this state, in GFS.",
        _CORRUPTED_OR_UNREADABLE,
        (Workload.REOPEN,),
    ),
)


def explanation_of(node: str, structure: str, workload: Workload, fault: Fault, effect: Effect) -> Explanation | None:
    """The first that is about a cell; None if there is none, or its effect is one that is never explained."""
    if effect in NEVER_EXPLAINED:
        return None
    found = (one for one in EXPLANATIONS if one.covers(node, structure, workload, fault, effect))
    return next(found, None)
