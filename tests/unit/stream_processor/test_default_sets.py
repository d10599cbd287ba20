"""The detectors of every domain's default set, together, stay within the state that a channel may have."""

from __future__ import annotations

import pytest

from contracts.detector_set import DEFAULT_SCORES, GROUP_CHANNELS_MAX, GROUP_CHANNELS_MIN
from contracts.fleet import Domain
from contracts.score import GROUP_SCORES, STANDARD
from stream_processor.detectors import DETECTORS, GROUP_DETECTORS

STATE_BYTES_MAX = 2_000
"""Of a channel, in a default set."""


def bytes_a_channel(kind):
    """Of a group's detector: the share of each channel in the group where it is largest."""
    name = kind.value.removeprefix("score_")
    if kind not in GROUP_SCORES:
        return DETECTORS[name].STATE_BYTES
    counts = range(GROUP_CHANNELS_MIN, GROUP_CHANNELS_MAX + 1)
    return max(GROUP_DETECTORS[name](width_of(count)).state_bytes / count for count in counts)


def width_of(count):
    """Places for the channels of a group: at worst some 8, and twice as many as it has up to the longest group."""
    return min(max(8, 2 * count), GROUP_CHANNELS_MAX)


@pytest.mark.parametrize("domain", Domain)
def test_a_default_set_takes_at_most_2_kb_a_channel(domain):
    kinds = (STANDARD, *DEFAULT_SCORES[domain])
    shares = {kind.value: bytes_a_channel(kind) for kind in kinds}
    assert sum(shares.values()) <= STATE_BYTES_MAX, shares
