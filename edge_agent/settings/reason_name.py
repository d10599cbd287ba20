"""Quality reasons by their names in profiles and configurations. Pure."""

from __future__ import annotations

from typing import Final

from contracts.quality import Reason, parse_reason

REASON_NAMES: Final = frozenset(reason.wire_name for reason in Reason)


def check_reason(name: str) -> None:
    """Raises ValueError with what is allowed if no reason has this wire name."""
    if name not in REASON_NAMES:
        raise ValueError(f"reason {name!r} is not one of {', '.join(sorted(REASON_NAMES))}")


def reason_named(name: str) -> Reason:
    """The reason with a wire name that was checked when the profile was read."""
    reason = parse_reason(name)
    assert reason is not None, name
    return reason
