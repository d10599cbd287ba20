"""Noise that can be computed again: the same key and time give the same number, in any process.

Keys come from BLAKE2b of names, numbers from the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, 2014). Not for secrets.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

NOISE_STEP_NS: Final = 100_000_000
"""White noise keeps its value for 100 ms: a plausible sampling interval of an instrument."""
_MASK: Final = 2**64 - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_UNIT_VARIANCE: Final = 3.0**0.5
"""The sum of four uniform numbers has the variance 4/12."""


@lru_cache(maxsize=4096)
def make_key(seed: int, *names: str) -> int:
    """A 64-bit key for a named thing under a seed."""
    digest = blake2b("\x1f".join((str(seed), *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def mix(key: int, index: int) -> int:
    """64 well-mixed bits for the `index`-th number of a key."""
    bits = (key + index * _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


def uniform(key: int, index: int) -> float:
    """The `index`-th number of a key, in [0, 1)."""
    return (mix(key, index) >> 11) / 2**53


def white(key: int, time_ns: int) -> float:
    """Nearly normal noise (mean 0, variance 1, within ±3.47), constant for `NOISE_STEP_NS`."""
    bits = mix(key, time_ns // NOISE_STEP_NS)
    total = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48)
    return (total / 0xFFFF - 2.0) * _UNIT_VARIANCE


def wander(key: int, time_ns: int, period_ns: int) -> float:
    """Smooth drift in [-1, 1]: a new random knot each period, joined by a cubic without a kink."""
    knot, offset_ns = divmod(time_ns, period_ns)
    fraction = offset_ns / period_ns
    left, right = (2.0 * uniform(key, index) - 1.0 for index in (knot, knot + 1))
    return left + (right - left) * fraction * fraction * (3.0 - 2.0 * fraction)
