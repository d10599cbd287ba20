"""LZ4 as fast as it was meant to be (shell: sets a default of aiokafka's).

aiokafka 0.14 compresses with level 9, the slow variant (LZ4 HC), and has no setting for it: 566 microseconds of a core
for a scored message of 500 readings, more than to score it. Level 1 takes 34 and makes messages a third longer.

Source: LZ4 frame format 1.6.1 is the same for all levels; KIP-390 (Kafka) names 9 as the default of brokers.
"""

from __future__ import annotations

from typing import Final

from aiokafka import codec

LZ4_LEVEL: Final = 1
_KNOWN_DEFAULTS: Final = (9,)


def use_fast_lz4() -> None:
    """For all producers of this process. An aiokafka that is not as known is left as it is: slow, and right."""
    if codec.lz4_encode.__defaults__ == _KNOWN_DEFAULTS:
        codec.lz4_encode.__defaults__ = (LZ4_LEVEL,)
