"""Which TCP port each program gets: its preferred one, or the next free one above."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

PREFERRED_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "console": 18080,
        "alarm-service": 18081,
        "device-registry": 18082,
        "stream-processor": 18083,
        "broker": 18883,
        "broker-v311": 18884,
        "gas-tcp": 18501,
        "tanks-tcp": 18502,
        "fire-tcp": 18503,
    }
)
SEARCH_SPAN: Final = 400
"""How far above the preferred port we look."""


def choose_ports(preferred: Mapping[str, int], is_free: Callable[[int], bool]) -> dict[str, int]:
    """A free port for each name, no two alike.

    Raises:
        ValueError: no free port within SEARCH_SPAN of a preferred one.
    """
    chosen: dict[str, int] = {}
    for name, wanted in preferred.items():
        taken = set(chosen.values())
        candidates = range(wanted, min(wanted + SEARCH_SPAN, 65_536))
        port = next((port for port in candidates if port not in taken and is_free(port)), None)
        if port is None:
            raise ValueError(f"no free port for {name} from {wanted} to {candidates[-1]}")
        chosen[name] = port
    return chosen
