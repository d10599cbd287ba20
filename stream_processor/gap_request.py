"""When to ask a gateway for missing batches: not at once (they may be on their way), then with back-off. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contracts.observation import NANOSECONDS_PER_SECOND
from stream_processor.gap_ledger import GapLedger

FIRST_REQUEST_NS: Final = 30 * NANOSECONDS_PER_SECOND
"""An agent sends again by itself what is not acknowledged; only a gap that outlives this is asked for."""
BACK_OFF_MAX_NS: Final = 600 * NANOSECONDS_PER_SECOND


@dataclass(slots=True)
class _Gap:
    due_ns: int
    back_off_ns: int


class GapRequests:
    """Remembers since when which epoch of which gateway has gaps."""

    def __init__(self) -> None:
        self._gaps: dict[str, dict[int, _Gap]] = {}
        """gateway_id → epoch."""

    def due(self, gateway_id: str, ledger: GapLedger, now_ns: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Gives (epoch, missing ranges) that should be asked for now."""
        missing = ledger.missing(gateway_id)
        if not missing:
            self._gaps.pop(gateway_id, None)
            return
        known = self._gaps.get(gateway_id, {})
        gaps = self._gaps[gateway_id] = {
            epoch: known.get(epoch) or _Gap(now_ns + FIRST_REQUEST_NS, FIRST_REQUEST_NS) for epoch in missing
        }
        for epoch, ranges in missing.items():
            gap = gaps[epoch]
            if now_ns >= gap.due_ns:
                gap.back_off_ns = min(2 * gap.back_off_ns, BACK_OFF_MAX_NS)
                gap.due_ns = now_ns + gap.back_off_ns
                yield epoch, ranges
