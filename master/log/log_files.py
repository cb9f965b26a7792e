"""Names of the files in the operation log's folder.

>>> log_path(5211), checkpoint_path(5211)
('log/00000000000000005211.log', 'log/00000000000000005211.checkpoint')
>>> sequence_of("00000000000000005211.checkpoint")
5211
"""

from runtime.errors import IncompatibleFormat, shown

FOLDER = "log"
LOG_SUFFIX = ".log"
CHECKPOINT_SUFFIX = ".checkpoint"
PART_SUFFIX = ".part"
_DIGITS = 20


def log_path(sequence: int) -> str:
    """The log file that begins with this record."""
    return f"{FOLDER}/{sequence:0{_DIGITS}d}{LOG_SUFFIX}"


def checkpoint_path(sequence: int) -> str:
    """The checkpoint of the state before this record."""
    return f"{FOLDER}/{sequence:0{_DIGITS}d}{CHECKPOINT_SUFFIX}"


def without_hidden(names: list[str]) -> list[str]:
    """The names that may be ours: what begins with a dot is the system's, such as .DS_Store and .nfs0001."""
    return [name for name in names if not name.startswith(".")]


def sequence_of(name: str) -> int:
    """The record number in a file's name. Raises IncompatibleFormat for a name that is none of ours."""
    digits = name.partition(".")[0]
    if len(digits) != _DIGITS or not digits.isdecimal():
        raise IncompatibleFormat(f"{FOLDER}/{shown(name)} does not belong to a master's log; move it away")
    return int(digits)
