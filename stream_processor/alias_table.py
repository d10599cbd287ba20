"""The channels of many Sparkplug aliases at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from contracts.record import Int64s, UInt32s

_BEYOND: Final = 2**63 - 1
"""No alias of a plain metric: it ends the table, so that whatever is looked up has a place in it."""


class AliasTable:
    """alias → channel_id, by sorted columns. Aliases from 2^63 - 1 on are left out: no plain metric has one."""

    def __init__(self, channel_of: Mapping[int, int]) -> None:
        known = sorted(alias for alias in channel_of if alias < _BEYOND)
        self._aliases = np.array([*known, _BEYOND], dtype=np.int64)
        self._channels = np.array([*(channel_of[alias] for alias in known), 0], dtype=np.uint32)

    def look_up(self, aliases: Int64s) -> UInt32s:
        """Their channels, in their order. Raises KeyError if one is not in the table."""
        places = self._aliases.searchsorted(aliases)
        if np.count_nonzero(self._aliases[places] == aliases) != len(aliases):
            raise KeyError(f"{len(aliases)} aliases, not all of them born")
        return self._channels[places]
