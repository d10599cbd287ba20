"""Which decoder belongs to a name: a profile's, one of its models', or a protocol's. Pure.

A protocol that is no device profile (a listening endpoint) is one line in `_PROTOCOLS`; a kind of profile is one line
in `_SOURCE_OF_PROTOCOL`. Both give a `DecoderSource` (decoded.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.commands.decoded import DecoderSource
from edge_agent.frames.frame_decoder import frame_decoders
from edge_agent.gb26875.gb26875_decode import gb26875_decoders
from edge_agent.hj212.hj212_decode import hj212_decoders
from edge_agent.modbus.register_decode import RegisterDecoders, register_decoders
from edge_agent.settings.profile import AnyProfile

_PROTOCOLS: Final[Mapping[str, Callable[[], DecoderSource]]] = {
    "hj212": hj212_decoders,
    "gb26875_3": gb26875_decoders,
    "modbus": lambda: RegisterDecoders(None),
}
_SOURCE_OF_PROTOCOL: Final[Mapping[str, Callable[[Any], DecoderSource]]] = {
    "serial_frame": frame_decoders,
    "modbus": register_decoders,
}
"""By the protocol of a profile: what builds its source from it."""


class UnknownDeviceError(Exception):
    """No decoder has this name; the text says which are like it."""


@dataclass(frozen=True, slots=True)
class Decodable:
    """Something that bytes can be decoded as."""

    name: str
    models: tuple[str, ...]
    """Other names of it."""
    source: DecoderSource


def list_decodable(profiles: Mapping[str, AnyProfile]) -> list[Decodable]:
    """All that bytes can be decoded as, by name."""
    found = [Decodable(name, (), build()) for name, build in _PROTOCOLS.items()]
    for name, profile in profiles.items():
        build_source = _SOURCE_OF_PROTOCOL.get(profile.protocol)
        if build_source is not None:
            found.append(Decodable(name, profile.models, build_source(profile)))
    return sorted(found, key=lambda one: one.name)


def decoder_of(device: str, profiles: Mapping[str, AnyProfile]) -> Decodable:
    """What has this name; case and punctuation do not matter. Raises UnknownDeviceError."""
    by_name: dict[str, Decodable] = {}
    for one in list_decodable(profiles):
        for name in (one.name, *one.models):
            by_name.setdefault(_fold(name), one)
    for one in list_decodable(profiles):
        by_name[_fold(one.name)] = one  # a name of its own goes before a model of another's
    chosen = by_name.get(_fold(device))
    if chosen is None:
        near = difflib.get_close_matches(_fold(device), by_name, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(dict.fromkeys(by_name[name].name for name in near))}?" if near else ""
        raise UnknownDeviceError(f"{device!r} is no device that decode knows{hint} (decode --list names them all)")
    return chosen


def _fold(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
