"""Scored messages, each taken once. Pure.

A message may stand twice in `observations.scored`, and Kafka may give it again after a rebalance; `source_offset` says
so. Numbers that begin anew (the topic `observations` was made again) look the same: then its readers must be restarted.
"""

from __future__ import annotations

from contracts.record_message import ScoredMessage, decode_scored


class ScoredSource:
    """Remembers what was taken of each partition."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self.skipped_total = 0
        """Messages that came again."""

    def take(self, partition: int, value: bytes) -> ScoredMessage | None:
        """The message, or None if it was taken before. Raises RecordError if it is none."""
        message = decode_scored(value)
        if message.source_offset <= self._taken.get(partition, -1):
            self.skipped_total += 1
            return None
        self._taken[partition] = message.source_offset
        return message
