"""Sparkplug B topics (Sparkplug 3.0, chapter 4).

    spBv1.0/<group_id>/<NBIRTH|NDEATH|NDATA|NCMD>/<edge_node_id>
    spBv1.0/<group_id>/<DBIRTH|DDEATH|DDATA|DCMD>/<edge_node_id>/<device_id>
    spBv1.0/STATE/<sparkplug_host_id>

An element may hold any UTF-8 character but `+`, `/` and `#` (section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.errors import TopicError

NAMESPACE: Final = "spBv1.0"
STATE: Final = "STATE"


class MessageType(StrEnum):
    """The third element of a topic."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    NDATA = "NDATA"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    DDATA = "DDATA"
    DCMD = "DCMD"

    @property
    def is_of_device(self) -> bool:
        """Whether the topic ends with a device."""
        return self.value.startswith("D")

    @property
    def is_command(self) -> bool:
        """Whether it goes from a host to an edge node."""
        return self.value.endswith("CMD")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of an edge node or of one of its devices."""

    message_type: MessageType
    group_id: str
    edge_node_id: str
    device_id: str | None = None

    def __post_init__(self) -> None:
        if self.message_type.is_of_device != (self.device_id is not None):
            wanted = "needs" if self.message_type.is_of_device else "must not have"
            raise TopicError(f"{self.message_type} {wanted} a device id")
        for element in (self.group_id, self.edge_node_id, self.device_id):
            if element is not None:
                _check_element(element)
        if self.group_id == STATE:
            raise TopicError("a group must not be named STATE")

    def __str__(self) -> str:
        base = f"{NAMESPACE}/{self.group_id}/{self.message_type}/{self.edge_node_id}"
        return base if self.device_id is None else f"{base}/{self.device_id}"


@dataclass(frozen=True, slots=True)
class StateTopic:
    """The birth and death topic of a host application."""

    host_id: str

    def __post_init__(self) -> None:
        _check_element(self.host_id)

    def __str__(self) -> str:
        return f"{NAMESPACE}/{STATE}/{self.host_id}"


def parse_topic(text: str) -> Topic | StateTopic:
    """Parses a topic name. Raises TopicError with what is wrong."""
    elements = text.split("/")
    if elements[0] != NAMESPACE:
        raise TopicError(f"{text!r}: not in the namespace {NAMESPACE}")
    match elements[1:]:
        case ["STATE", host_id]:
            return StateTopic(host_id)
        case [group_id, message_type, edge_node_id, *rest] if len(rest) <= 1:
            if message_type not in MessageType.__members__:
                raise TopicError(f"{text!r}: {message_type!r} is no Sparkplug message type")
            return Topic(MessageType(message_type), group_id, edge_node_id, rest[0] if rest else None)
    raise TopicError(f"{text!r}: {len(elements)} elements are no Sparkplug topic")


def _check_element(element: str) -> None:
    if not element or any(character in element for character in "+/#\0"):
        raise TopicError(f"{element!r} is no topic element: it must not be empty nor hold +, / or #")
