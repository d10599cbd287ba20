"""Bad input as it stands on topic `quarantine`. Pure."""

from __future__ import annotations

from typing import Final

from contracts.notice import Quarantined
from contracts.query import QuarantineRow

PAYLOAD_BYTES_MAX: Final = 4_096
"""Of a payload that is larger the beginning is kept: enough to see what it is."""
_TEXT_LENGTH_MAX: Final = 1_000


def quarantine_row(bad: Quarantined) -> QuarantineRow:
    """Bad input with at most 4 KiB of its payload."""
    return QuarantineRow(
        received_ns=max(0, bad.received_ns),
        topic=bad.topic[:_TEXT_LENGTH_MAX],
        reason=bad.reason,
        detail=bad.detail[:_TEXT_LENGTH_MAX],
        payload_hex=bad.payload[:PAYLOAD_BYTES_MAX].hex(),
    )
