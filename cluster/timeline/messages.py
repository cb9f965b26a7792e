"""The messages of a simulation, in words: what a call asked for, and which chunks and files it was about.

A message is the serialised form of what its method takes or gives, so that the contracts (proto/) say what is in it.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

import runtime.wire.chunkserver_pb2
import runtime.wire.master_pb2
import runtime.wire.node_pb2  # noqa: F401  the contracts are known once these are imported
from cluster.timeline.model import Arrow, ArrowKind
from cluster.timeline.subjects import chunk, file
from runtime.faults.links import Kind
from runtime.simulated.messages import BULK_METHOD
from runtime.simulated.traffic import Passage
from runtime.wire import common_pb2

LONGEST_DETAIL = 200
_SHOWN_ITEMS = 3
_DEPTH = 3
_HEARTBEATS = ("ChunkserverRegistry/Heartbeat", "Node/Describe")
assert common_pb2  # Every contract stands on it.


def arrows_of(passage: Passage, lanes: dict[str, int], epoch: int) -> list[Arrow]:
    """One arrow for each arrival of a message, or one that ends nowhere. `epoch`: where virtual time begins, in
    microseconds."""
    if passage.source not in lanes or passage.target not in lanes:
        return []
    content = content_of(passage)
    is_bulk = passage.method == BULK_METHOD
    kind = ArrowKind.DATA if is_bulk else ArrowKind.CALL
    kind = ArrowKind.HEARTBEAT if passage.method in _HEARTBEATS else kind
    text = f"{len(passage.body)} bytes of data" if is_bulk else f"{passage.method} {passage.kind.value}"
    failed = passage.status not in ("", "OK")
    text += f": {passage.status}" if failed else ""
    about = tuple(dict.fromkeys(_subjects(content))) if content is not None else ()
    detail = shortened(content) if content is not None else ""
    ends: list[int | None] = [epoch + nanoseconds // 1000 for nanoseconds in passage.arrivals]
    return [
        Arrow(
            epoch + passage.sent // 1000,
            end,
            lanes[passage.source],
            lanes[passage.target],
            kind,
            text + ("" if end is not None else ", lost" if passage.lost is not None else ", never arrived"),
            detail,
            failed or end is None,
            about,
        )
        for end in (ends or [None])
    ]


def content_of(passage: Passage) -> Message | None:
    """What a message holds; None for bulk data, and for what no contract explains."""
    if passage.kind is Kind.BULK or not passage.body:
        return None
    service, _, name = passage.method.partition("/")
    try:
        method = descriptor_pool.Default().FindServiceByName(f"tabletop.{service}").methods_by_name[name]
        content = GetMessageClass(_type(method, passage.kind))()
        content.ParseFromString(bytes(passage.body))
    except (KeyError, DecodeError):
        return None
    return content


def _type(method: MethodDescriptor, kind: Kind) -> Any:
    is_asked = kind is Kind.REQUEST or (kind is Kind.STREAM and not method.server_streaming)
    return method.input_type if is_asked else method.output_type


def _subjects(content: Message) -> Iterator[str]:
    for field, value in content.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from _subjects(one)
            elif field.name == "handle" and isinstance(one, int):
                yield chunk(one)
            elif field.name in ("path", "source", "target") and isinstance(one, str) and one.startswith("/"):
                yield file(one)


def shortened(content: Message) -> str:
    """A message on one line, at most `LONGEST_DETAIL` characters.

    >>> shortened(common_pb2.Location(server="cs1", control_address="cs1:7001"))
    'server=cs1 control_address=cs1:7001'
    """
    text = _shown(content, _DEPTH)
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


def _shown(content: Message, depth: int) -> str:
    parts = []
    for field, value in content.ListFields():
        if field.is_repeated and not isinstance(value, str | bytes):
            items = [_value(field, one, depth) for one in list(value)[:_SHOWN_ITEMS]]
            more = [f"… {len(value)} in all"] if len(value) > _SHOWN_ITEMS else []
            parts.append(f"{field.name}=[{', '.join([*items, *more])}]")
        else:
            parts.append(f"{field.name}={_value(field, value, depth)}")
    return " ".join(parts)


def _value(field: FieldDescriptor, value: Any, depth: int) -> str:
    if isinstance(value, Message):
        return f"({_shown(value, depth - 1) if depth else '…'})"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if field.name == "handle":
        return f"{value:#x}"
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    return str(value)
