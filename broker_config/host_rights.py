"""What a Sparkplug host application hears and commands, as topic filters; the same for every kind of broker. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from broker_config.configuration import HostUser
from contracts.sparkplug.topic import NAMESPACE, STATE, MessageType


def heard_by(host: HostUser) -> Iterator[str]:
    """Its districts, and every host's STATE; or the whole namespace."""
    if not host.districts:
        yield f"{NAMESPACE}/#"
        return
    yield f"{NAMESPACE}/{STATE}/#"
    for district in host.districts:
        yield f"{NAMESPACE}/{district}/#"


def commanded_by(host: HostUser) -> Iterator[str]:
    """Commands to the edge nodes and devices of its districts, or to all."""
    for district in host.districts or ("+",):
        yield f"{NAMESPACE}/{district}/{MessageType.NCMD}/+"
        yield f"{NAMESPACE}/{district}/{MessageType.DCMD}/+/+"
