"""Which chunks, files and tablets an event is about, and which belong to which.

>>> chunk(42), file("/a")
('chunk 0x2a', 'file /a')
"""

import dataclasses
from collections.abc import Iterable

from runtime.events import Event

_PATHS = ("path", "hidden")


def chunk(handle: int) -> str:
    """A chunk, as it is called in sentences."""
    return f"chunk {handle:#x}"


def file(path: str) -> str:
    """A file or directory."""
    return f"file {path}"


def subjects_of(event: Event) -> tuple[str, ...]:
    """What an event is about, by the fields that all rooms use for it."""
    values = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    found: list[str] = []
    if isinstance(handle := values.get("handle"), int):
        found.append(chunk(handle))
    if isinstance(handles := values.get("handles"), tuple):
        found += [chunk(int(text, 16)) for text in handles if _is_hexadecimal(text)]
    paths = [values[name] for name in _PATHS if isinstance(values.get(name), str)]
    if type(event).__name__ == "EntryRenamed":
        paths += [values["source"], values["target"]]
    found += [file(path) for path in paths if path.startswith("/")]
    if isinstance(tablet := values.get("tablet"), str):
        found.append(f"tablet {tablet}")
    return tuple(dict.fromkeys(found))


def parts_of(events: Iterable[Event]) -> dict[str, tuple[str, ...]]:
    """The chunks of each file, and for a file that was renamed those of its earlier name too."""
    parts: dict[str, dict[str, None]] = {}
    for event in events:
        found = subjects_of(event)
        if type(event).__name__ == "ChunkCreated":
            handle, path = found
            parts.setdefault(path, {})[handle] = None
        elif type(event).__name__ == "EntryRenamed":
            source, target = found[0], found[-1]
            parts.setdefault(target, {}).update({source: None, **parts.get(source, {})})
    return {whole: tuple(found) for whole, found in parts.items()}


def _is_hexadecimal(text: object) -> bool:
    try:
        return isinstance(text, str) and int(text, 16) >= 0
    except ValueError:
        return False
