"""What a message of a file says, as plain values: for JSON, and for a line of text."""

from typing import Any

from google.protobuf.message import Message


def plain_values(message: Message) -> dict[str, Any]:
    """All fields by name, also those that have their default. Bytes become Latin-1 text, so that each value can be
    JSON; a message that is not there is left out."""
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        values[field.name] = [_plain(each) for each in value] if field.is_repeated else _plain(value)
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return plain_values(value)
    return value.decode("latin-1") if isinstance(value, bytes) else value
