"""Plans as text: frozen values as JSON, in which each object names its type."""

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any


class Codec:
    """Writes values of these types down, and reads them back. The names are those that the text uses."""

    def __init__(self, types: Mapping[str, type[Any]]) -> None:
        self._types = dict(types)
        self._names = {kind: name for name, kind in types.items()}

    def to_json(self, value: Any) -> str:
        """A value as text."""
        return json.dumps(self._encoded(value), indent=1)

    def from_json(self, text: str) -> Any:
        """The value that `to_json` wrote."""
        return self._decoded(json.loads(text))

    def _encoded(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: self._encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return {"is": self._names[type(value)], **fields}
        if isinstance(value, enum.Enum):
            return {"is": self._names[type(value)], "value": value.value}
        if isinstance(value, tuple | list):
            return [self._encoded(one) for one in value]
        return value

    def _decoded(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(self._decoded(one) for one in value)
        if not isinstance(value, dict):
            return value
        kind = self._types[value["is"]]
        if issubclass(kind, enum.Enum):
            return kind(value["value"])
        return kind(**{name: self._decoded(one) for name, one in value.items() if name != "is"})


def types_in(modules: Iterable[ModuleType]) -> dict[str, type[Any]]:
    """The dataclasses and enumerations of modules, by their names. What is called Kind in several of them is left out:
    it needs another name."""
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum)) and name != "Kind"
    }
