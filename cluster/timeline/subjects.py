"""Which chunks, files and tablets an event is about, and which belong to which.

>>> chunk(42), file("/a")
('chunk 0x2a', 'file /a')
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from sortedcontainers import SortedDict

from runtime.events import Event

_PATHS = ("path", "hidden")
_TABLETS = ("tablet", "lower", "upper")  # The last two: the halves of a tablet that was split.


def chunk(handle: int) -> str:
    """A chunk, as it is called in sentences."""
    return f"chunk {handle:#x}"


def file(path: str) -> str:
    """A file or directory."""
    return f"file {path}"


def subjects_of(event: Event) -> tuple[str, ...]:
    """What an event is about, by the fields that all rooms use for it."""
    values = _fields(event)
    found: list[str] = []
    if isinstance(handle := values.get("handle"), int):
        found.append(chunk(handle))
    if isinstance(handles := values.get("handles"), tuple):
        found += [chunk(int(text, 16)) for text in handles if _is_hexadecimal(text)]
    paths = [values[name] for name in _PATHS if isinstance(values.get(name), str)]
    if type(event).__name__ == "EntryRenamed":
        paths += [values["source"], values["target"]]
    found += [file(path) for path in paths if path.startswith("/")]
    tablets = [values[name] for name in _TABLETS if isinstance(values.get(name), str)]
    found += [f"tablet {tablet}" for tablet in tablets]
    return tuple(dict.fromkeys(found))


def parts_of(events: Iterable[Event]) -> dict[str, tuple[str, ...]]:
    """The chunks of each file, and the earlier names of one that was renamed, also with a directory above it. A name
    stands for all files that ever had it."""
    parts: SortedDict[str, dict[str, None]] = SortedDict()
    for event in events:
        kind, values = type(event).__name__, _fields(event)
        if kind == "FileCreated":
            parts.setdefault(file(values["path"]), {})
        elif kind == "ChunkCreated":
            parts.setdefault(file(values["path"]), {})[chunk(values["handle"])] = None
        elif kind == "EntryRenamed":
            source, target = file(values["source"]), file(values["target"])
            below = parts.irange(f"{source}/", f"{source}0", inclusive=(True, False))  # "0" comes after "/".
            for name in [*([source] if source in parts else []), *below]:
                new = target + name.removeprefix(source)
                parts.setdefault(new, {}).update({name: None, **parts[name]})
    return {whole: tuple(found) for whole, found in parts.items() if found}


def _fields(event: Event) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}


def _is_hexadecimal(text: object) -> bool:
    try:
        return isinstance(text, str) and int(text, 16) >= 0
    except ValueError:
        return False
