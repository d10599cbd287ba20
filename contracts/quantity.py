"""The table of quantities: what a channel can measure, in which unit, within which plausible range.

Units are UCUM case-sensitive codes (https://ucum.org). The plausible range is what the physical world of a
city can show, not what one instrument can measure (that range stands in the device profile): a value outside
of it is a fault of the measurement, whatever the instrument says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the table."""

    name: str
    title: str
    """For people, in English."""
    unit: str
    """UCUM code."""
    unit_symbol: str
    """What a page shows for the unit."""
    plausible_min: float
    plausible_max: float
    decimals: int
    """Digits after the point that a page shows."""

    def is_plausible(self, value: float) -> bool:
        """Whether `value` (in `unit`) can be true at all; False for NaN and infinities."""
        return self.plausible_min <= value <= self.plausible_max


_ROWS: Final = (
    # name, title, UCUM code, symbol, plausible minimum, plausible maximum, digits
    Quantity("methane_lel", "Methane", "%{LEL}", "%LEL", -5.0, 105.0, 1),
    Quantity("carbon_monoxide", "Carbon monoxide", "[ppm]", "ppm", -10.0, 10_000.0, 0),
    Quantity("carbon_dioxide", "Carbon dioxide", "[ppm]", "ppm", 0.0, 100_000.0, 0),
    Quantity("hydrogen_sulfide", "Hydrogen sulfide", "[ppm]", "ppm", -2.0, 1_000.0, 1),
    Quantity("oxygen", "Oxygen", "%", "%vol", 0.0, 100.0, 1),
    Quantity("formaldehyde", "Formaldehyde", "[ppb]", "ppb", 0.0, 10_000.0, 0),
    Quantity("pm1", "Particulate matter PM1", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("pm2_5", "Particulate matter PM2.5", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("pm10", "Particulate matter PM10", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("temperature", "Temperature", "Cel", "°C", -60.0, 1_200.0, 1),
    Quantity("relative_humidity", "Relative humidity", "%", "%", 0.0, 100.0, 0),
    Quantity("strain", "Strain", "um/m", "µε", -20_000.0, 20_000.0, 1),
    Quantity("acceleration", "Acceleration", "m/s2", "m/s²", -400.0, 400.0, 3),
    Quantity("displacement", "Displacement", "mm", "mm", -10_000.0, 10_000.0, 2),
    Quantity("tilt", "Tilt", "deg", "°", -180.0, 180.0, 3),
    Quantity("level", "Level", "m", "m", -1.0, 100.0, 3),
    Quantity("pressure", "Pressure", "kPa", "kPa", -110.0, 100_000.0, 1),
    Quantity("flow", "Flow", "m3/h", "m³/h", -100_000.0, 100_000.0, 2),
    Quantity("wind_speed", "Wind speed", "m/s", "m/s", 0.0, 120.0, 1),
    Quantity("fire_alarm", "Fire alarm", "1", "", 0.0, 1.0, 0),
)

QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType({row.name: row for row in _ROWS})
