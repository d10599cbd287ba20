"""What a gateway is to be told about its batches: on its way from a job to the bridge, which sends it as NCMD."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

from contracts.errors import PayloadError
from contracts.identifiers import Identifier
from contracts.ranges import BATCH_MAX, RangeSet


class UplinkCommandKind(StrEnum):
    """What the gateway is told."""

    ACKNOWLEDGE = "acknowledge"
    """These batches are durably stored (NCMD `Uplink/AckRanges`)."""
    RESEND = "resend"
    """These batches are missing (NCMD `Uplink/ResendRanges`)."""


class UplinkCommand(BaseModel):
    """One message of topic `uplink.commands`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: UplinkCommandKind
    district_id: Identifier
    gateway_id: Identifier
    epoch: int = Field(ge=0, le=BATCH_MAX)
    flat_ranges: tuple[int, ...]
    """from, to, from, to, …"""

    @field_validator("flat_ranges")
    @classmethod
    def _check_ranges(cls, flat: tuple[int, ...]) -> tuple[int, ...]:
        try:
            RangeSet.from_flat(flat)
        except PayloadError as error:
            raise ValueError(str(error)) from error
        return flat
