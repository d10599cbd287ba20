"""Whether a reader of Kafka is stuck: there is something to read and it does not move. Pure."""

from __future__ import annotations


class ProgressWatch:
    """Looked at again and again; remembers since when nothing moved."""

    def __init__(self, patience_s: float, now_s: float) -> None:
        self._patience_s = patience_s
        self._taken_total = 0
        self._since_s = now_s

    def is_stuck(self, taken_total: int, lag: int | None, now_s: float) -> bool:
        """Whether the reader has not moved for `patience_s` although it should.

        Args:
            taken_total: messages taken since the service began.
            lag: messages that wait, those in hand included; None if nobody knows, which is no excuse.
            now_s: of a clock that is never set back.
        """
        if taken_total != self._taken_total or lag == 0:
            self.excuse(now_s)
        self._taken_total = taken_total
        return now_s - self._since_s >= self._patience_s

    def excuse(self, now_s: float) -> None:
        """It stands still for a good reason."""
        self._since_s = now_s
