"""How a number by which a device tells its own state becomes a quality reason.

Rules are tried in order; the first that matches gives the reason, and `ok` stops the search.
"""

from __future__ import annotations

from typing import Annotated, Final

from contracts.plain_settings import Limits, plain_settings
from edge_agent.settings.reason_name import check_reason

DEFAULT_MASK: Final = 0xFFFF


@plain_settings
class StateRule:
    """One row of the table of a state: a register, a field of a frame."""

    mask: Annotated[int, Limits(ge=1, le=0xFFFFFFFF)] | None = None
    """Without it, the lower 16 bits."""
    equals: tuple[int, ...] = ()
    """Matches if the masked number is one of these."""
    minimum: int | None = None
    """Matches if the masked number is at least this."""
    any_bit: bool = False
    """Matches if any bit under the mask is set."""
    reason: str
    text: str = ""
    """What it means, for people: the device manual's words."""

    def __post_init__(self) -> None:
        if bool(self.equals) + (self.minimum is not None) + self.any_bit != 1:
            raise ValueError("a rule has exactly one of equals, minimum and any_bit")
        check_reason(self.reason)

    def is_matched_by(self, number: int) -> bool:
        """Whether the rule applies to this number."""
        masked = number & (DEFAULT_MASK if self.mask is None else self.mask)
        if self.any_bit:
            return masked != 0
        return masked >= self.minimum if self.minimum is not None else masked in self.equals
