"""Which broker to try next, and with which version of MQTT. Pure.

Sparkplug 3.0, 5.4 and 5.14: an edge node has a list of MQTT servers and is connected to one of them at a time; when a
connection ends it goes on to the next. With `protocol = "auto"` MQTT 5 is tried first. A broker that knows no 5 either
says so (CONNACK 0x84, or return code 1 of MQTT 3.1.1) or closes the connection without an answer: the same broker is
then tried once with the other version, before the next broker has its turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

MQTT_5: Final = "5"
MQTT_3: Final = "3.1.1"


class EndKind(Enum):
    """How a connection ended."""

    UNREACHABLE = auto()
    """No TCP or TLS connection came about."""
    VERSION_REFUSED = auto()
    """The broker says that it does not speak this version of MQTT."""
    CLOSED_EARLY = auto()
    """The broker closed the connection before it had answered the CONNECT."""
    REFUSED = auto()
    """CONNACK or SUBACK says no: user name, password, authorisation, server busy."""
    LOST = auto()
    """It stood, and ended: the network, the broker, or we ourselves."""


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """What the next connection is to be."""

    broker: int = 0
    """Place in the list of brokers."""
    protocol: str = MQTT_5
    has_changed_version: bool = False
    """This broker has already been tried with the other version since the last connection that stood."""
    is_version_told: bool = False
    """The broker itself has refused the other version; else that it knows no other is a guess."""


def first_choice(protocol: str) -> BrokerChoice:
    """The first broker; `protocol` is "auto", "5" or "3.1.1"."""
    return BrokerChoice(protocol=MQTT_3 if protocol == MQTT_3 else MQTT_5)


def after_end(choice: BrokerChoice, kind: EndKind, broker_count: int, protocol: str) -> BrokerChoice:
    """What to try after a connection of `choice` has ended.

    Args:
        choice: what was tried.
        kind: how it ended.
        broker_count: length of the list.
        protocol: "auto", or the only version to be used.
    """
    has_no_answer = kind in (EndKind.VERSION_REFUSED, EndKind.CLOSED_EARLY)
    if protocol == "auto" and has_no_answer and not choice.has_changed_version:
        other = MQTT_3 if choice.protocol == MQTT_5 else MQTT_5
        is_told = kind is EndKind.VERSION_REFUSED
        return replace(choice, protocol=other, has_changed_version=True, is_version_told=is_told)
    broker = (choice.broker + 1) % broker_count
    if broker == choice.broker and kind is EndKind.LOST and choice.is_version_told:
        return replace(choice, has_changed_version=False)  # it has said what it does not understand
    return replace(first_choice(protocol), broker=broker)
