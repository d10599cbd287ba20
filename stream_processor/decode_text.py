"""A Sparkplug topic and payload as text for people: one JSON object, and every fault with its place.

What is checked beyond the encoding are the rules that a single message can break (Sparkplug 3.0, sections 6.4.2 to
6.4.24): which messages carry seq and bdSeq, and what a birth must say of each metric. Aliases without name stay
numbers: what they mean stands in a birth, which is another message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contracts.errors import PayloadError, TopicError
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload
from contracts.sparkplug.topic import MessageType, StateTopic, Topic, parse_topic
from stream_processor.decode_fault import Fault, find_wire_fault

SEQ_MODULUS: Final = 256
BIRTHS: Final = frozenset({MessageType.NBIRTH, MessageType.DBIRTH})
WITHOUT_SEQ: Final = frozenset({MessageType.NDEATH, MessageType.NCMD, MessageType.DCMD})
WITH_BD_SEQ: Final = frozenset({MessageType.NBIRTH, MessageType.NDEATH})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a message says, and what is wrong with it."""

    text: str | None
    """The message as JSON; None if nothing could be read of it."""
    faults: tuple[Fault, ...]


def decode_message(topic_name: str, payload: bytes) -> Decoded:
    """Decodes one message as it was on the broker."""
    try:
        topic = parse_topic(topic_name)
    except TopicError as error:
        return Decoded(None, (Fault("topic", str(error)),))
    if isinstance(topic, StateTopic):
        return _decode_state(topic, payload)
    fault = find_wire_fault(payload)
    if fault is not None:
        return Decoded(None, (fault,))
    try:
        decoded = decode_payload(payload)
    except PayloadError as error:
        return Decoded(None, (Fault("$", str(error)),))
    faults = tuple(_find_faults(topic.message_type, decoded))
    return Decoded(_as_json({"topic": _topic(topic), "payload": _payload(decoded), "faults": _texts(faults)}), faults)


def parse_hex(text: str) -> bytes:
    """Bytes from hexadecimal digits, spaces allowed. Raises PayloadError with the place of the first that is none."""
    for index, character in enumerate(text):
        if character not in "0123456789abcdefABCDEF" and not character.isspace():
            raise PayloadError(f"character {index + 1} of the payload, {character!r}, is no hexadecimal digit")
    digits = "".join(text.split())
    if len(digits) % 2:
        raise PayloadError(f"{len(digits)} hexadecimal digits: a byte has two")
    return bytes.fromhex(digits)


# --- rules ---------------------------------------------------------------------------------------------------------


def _find_faults(message_type: MessageType, payload: Payload) -> Iterator[Fault]:
    if payload.timestamp_ms is None and message_type is not MessageType.NDEATH:
        yield Fault("$.timestamp_ms", f"{message_type} must carry a timestamp")
    yield from _seq_faults(message_type, payload.seq)
    names = {metric.name for metric in payload.metrics}
    if message_type in WITH_BD_SEQ and "bdSeq" not in names:
        yield Fault("$.metrics", f"{message_type} must carry the metric bdSeq")
    if message_type is MessageType.NBIRTH and "Node Control/Rebirth" not in names:
        yield Fault("$.metrics", "NBIRTH must carry the metric Node Control/Rebirth")
    for index, metric in enumerate(payload.metrics):
        path = f"$.metrics[{index}]"
        if metric.fault is not None:
            yield Fault(f"{path}.value", metric.fault)
        if metric.name is None and metric.alias is None:
            yield Fault(path, "neither a name nor an alias")
        if message_type in BIRTHS:
            yield from _birth_faults(metric, path)


def _seq_faults(message_type: MessageType, seq: int | None) -> Iterator[Fault]:
    if message_type in WITHOUT_SEQ:
        if seq is not None:
            yield Fault("$.seq", f"{message_type} must not carry a seq")
    elif seq is None:
        yield Fault("$.seq", f"{message_type} must carry a seq")
    elif seq >= SEQ_MODULUS:
        yield Fault("$.seq", f"{seq} is not within 0..255")


def _birth_faults(metric: Metric, path: str) -> Iterator[Fault]:
    if metric.name is None and metric.alias is not None:
        yield Fault(f"{path}.name", "a birth names each metric")
    if metric.datatype is None and metric.fault is None:
        yield Fault(f"{path}.datatype", "a birth says the data type of each metric")
    if metric.timestamp_ms is None and metric.name != "bdSeq":
        yield Fault(f"{path}.timestamp_ms", "a birth says the time of each metric")


def _decode_state(topic: StateTopic, payload: bytes) -> Decoded:
    try:
        state = json.loads(payload)
    except UnicodeDecodeError as error:
        return Decoded(None, (Fault("$", f"a STATE payload is JSON in UTF-8: {error.reason}", error.start),))
    except json.JSONDecodeError as error:
        return Decoded(None, (Fault("$", f"a STATE payload is JSON: {error.msg}", error.pos),))
    except RecursionError:
        return Decoded(None, (Fault("$", "nested too deep"),))
    faults = tuple(_state_faults(state))
    described = {"message_type": "STATE", "host_id": topic.host_id}
    return Decoded(_as_json({"topic": described, "payload": state, "faults": _texts(faults)}), faults)


def _state_faults(state: object) -> Iterator[Fault]:
    if not isinstance(state, dict):
        yield Fault("$", 'a STATE payload is an object: {"online":true,"timestamp":1761955200000}')
        return
    if not isinstance(state.get("online"), bool):
        yield Fault("$.online", "must be true or false")
    timestamp = state.get("timestamp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int):
        yield Fault("$.timestamp", "must be milliseconds since 1970, UTC")


# --- JSON ------------------------------------------------------------------------------------------------------------


def _topic(topic: Topic) -> dict[str, object]:
    return {
        "message_type": topic.message_type.value,
        "group_id": topic.group_id,
        "edge_node_id": topic.edge_node_id,
        "device_id": topic.device_id,
    }


def _payload(payload: Payload) -> dict[str, object]:
    described: dict[str, object] = {
        "timestamp_ms": payload.timestamp_ms,
        "time": _time(payload.timestamp_ms),
        "seq": payload.seq,
        "metrics": [_metric(metric) for metric in payload.metrics],
    }
    return described | _said(uuid=payload.uuid, body=payload.body)


def _metric(metric: Metric) -> dict[str, object]:
    described = _said(
        name=metric.name,
        alias=metric.alias,
        timestamp_ms=metric.timestamp_ms,
        time=_time(metric.timestamp_ms),
        datatype=metric.datatype,
    )
    described["value"] = _plain(metric.value)
    return described | _said(
        is_historical=metric.is_historical or None,
        is_transient=metric.is_transient or None,
        properties=metric.properties or None,
        metadata=metric.metadata,
        fault=metric.fault,
    )


def _said(**parts: object) -> dict[str, object]:
    """The parts that a message has."""
    return {name: _plain(value) for name, value in parts.items() if value is not None}


def _plain(value: Any) -> Any:  # noqa: ANN401, PLR0911  # one return a family of types reads best
    """A value as JSON has it: bytes as hexadecimal digits, NaN and infinities as texts."""
    if isinstance(value, DataType):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Metric):
        return _metric(value)
    if is_dataclass(value):
        return _said(**{field.name: getattr(value, field.name) for field in fields(value)})
    return value


def _time(time_ms: int | None) -> str | None:
    """ISO 8601 in UTC, or None where a calendar has no such day."""
    if time_ms is None:
        return None
    try:
        return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")
    except OverflowError:
        return None


def _texts(faults: tuple[Fault, ...]) -> list[str]:
    return [str(fault) for fault in faults]


def _as_json(described: dict[str, object]) -> str:
    return json.dumps(described, indent=2, ensure_ascii=False)
