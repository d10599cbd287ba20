"""How a number by which a device tells its own state becomes a quality reason.

Rules are tried in order; the first that matches gives the reason, and `ok` stops the search.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.configuration import Settings
from edge_agent.settings.profile_head import check_reason


class StateRule(Settings):
    """One row of the table of a state: a register, a field of a frame."""

    mask: int = Field(default=0xFFFF, ge=1, le=0xFFFFFFFF)
    equals: tuple[int, ...] = ()
    """Matches if the masked number is one of these."""
    minimum: int | None = None
    """Matches if the masked number is at least this."""
    any_bit: bool = False
    """Matches if any bit under the mask is set."""
    reason: str
    text: str = ""
    """What it means, for people: the device manual's words."""

    @model_validator(mode="after")
    def _check(self) -> StateRule:
        if bool(self.equals) + (self.minimum is not None) + self.any_bit != 1:
            raise ValueError("a rule has exactly one of equals, minimum and any_bit")
        check_reason(self.reason)
        return self

    def is_matched_by(self, number: int) -> bool:
        """Whether the rule applies to this number."""
        masked = number & self.mask
        if self.any_bit:
            return masked != 0
        return masked >= self.minimum if self.minimum is not None else masked in self.equals
