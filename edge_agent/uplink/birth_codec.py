"""Births with very many metrics, encoded a few at a time: ten thousand at once would take 15 MB for a moment. Pure.

The octets of a protocol-buffer message are those of its parts, one after the other (Protocol Buffers, "Encoding": Last
One Wins), so that the result is the same as of `encode_payload`, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from contracts.sparkplug.payload import Metric, Payload, encode_payload

METRICS_AT_ONCE: Final = 100


def encode_birth(metrics: Iterable[Metric], now_ms: int, seq: int) -> bytes:
    """A payload with these metrics; they may be made one by one."""
    parts = [encode_payload(Payload(timestamp_ms=now_ms))]
    left = iter(metrics)
    while some := list(islice(left, METRICS_AT_ONCE)):
        parts.append(encode_payload(Payload(metrics=some)))
    parts.append(encode_payload(Payload(seq=seq)))
    return b"".join(parts)
