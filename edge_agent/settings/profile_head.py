"""What every device profile has, whatever its protocol: a head, and channels that measure quantities."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings
from contracts.quantity import QUANTITIES
from edge_agent.lines.calibration import Calibration

Bounds = tuple[FiniteFloat, FiniteFloat]
CalibrationKind = Literal["linear", "polynomial", "steinhart_hart", "vibrating_wire", "lookup"]


class MeasuredChannel(Settings):
    """A quantity that an instrument measures."""

    quantity: str
    range: Bounds | None = None
    """What the instrument can measure, in the quantity's unit; outside of it the value is `out_of_range`."""
    calibration: Calibration | None = None
    """Of every instrument of this kind; a node's own calibration goes before."""
    required_calibration: CalibrationKind | None = None
    """Every node must bring its own calibration of this kind."""

    @model_validator(mode="after")
    def _check_quantity(self) -> MeasuredChannel:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(QUANTITIES)}")
        return self


class DeviceProfile(Settings):
    """What the instrument is, and who says so."""

    title: str
    source: str = Field(min_length=10)
    """Where the map is from: manual, page, address."""
    note: str = ""
    models: tuple[str, ...] = ()
    """Names by which people know the instrument; `decode --device` takes them as well."""
