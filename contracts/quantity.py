"""The table of quantities: unit, plausible range, greatest rate, longest rest of what a channel can measure.

Units are UCUM case-sensitive codes (https://ucum.org). The plausible range is what the physical world of a
city can show, not what one instrument can measure (that range stands in the device profile): a value outside
of it is a fault of the measurement, whatever the instrument says.

Greatest rates mark a jump that no event in a city makes. Only the first two have a published source; the others
are this project's judgement, wide on purpose:
- temperature 32 K/s: the steepest point, at its begin, of the hydrocarbon fire curve (EN 1363-2), 31 K/s;
- relative humidity 5 % and wind 20 m/s within 2 s: I. Zahumensky, Guidelines on Quality Control Procedures for
  Data from Automatic Weather Stations, WMO 2004, there for two samples that are two seconds apart;
- gases: the plausible range within two seconds. Catalytic and electrochemical detectors need tens of seconds for
  90 % of a step, the fastest optical ones one or two: what is faster is the line or the electronics;
- level 0.5 m/s; tilt 10 degrees a second (a falling mast).
Strain, acceleration, displacement, pressure, flow and dust may jump: traffic, water hammer, a valve, a lorry.

Flat lines. The same guidelines expect 0.1 degrees, 1 % or 0.5 m/s of change within an hour outdoors; indoors, in
fog and in calm all three rest for longer, so the times here are this project's judgement of the longest rest.
Gases whose zero is clean air (methane, carbon monoxide, hydrogen sulfide, formaldehyde), oxygen, tilt, acceleration,
levels, pressures, flows and a fire alarm rest by right.
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
    max_rate: float | None = None
    """The fastest that it can move, in `unit` per second; None where it may jump."""
    flat_line_s: float | None = None
    """A sensor that shows no change for this long is stuck, in seconds; None where the quantity itself may rest."""

    def is_plausible(self, value: float) -> bool:
        """Whether `value` (in `unit`) can be true at all; False for NaN and infinities."""
        return self.plausible_min <= value <= self.plausible_max


_ROWS: Final = (
    # name, title, UCUM code, symbol, plausible minimum, plausible maximum, digits
    Quantity("methane_lel", "Methane", "%{LEL}", "%LEL", -5.0, 105.0, 1, max_rate=50.0),
    Quantity("carbon_monoxide", "Carbon monoxide", "[ppm]", "ppm", -10.0, 10_000.0, 0, max_rate=5_000.0),
    Quantity(
        "carbon_dioxide", "Carbon dioxide", "[ppm]", "ppm", 0.0, 100_000.0, 0, max_rate=50_000.0, flat_line_s=21_600.0
    ),
    Quantity("hydrogen_sulfide", "Hydrogen sulfide", "[ppm]", "ppm", -2.0, 1_000.0, 1, max_rate=500.0),
    Quantity("oxygen", "Oxygen", "%", "%vol", 0.0, 100.0, 1, max_rate=10.0),
    Quantity("formaldehyde", "Formaldehyde", "[ppb]", "ppb", 0.0, 10_000.0, 0, max_rate=5_000.0),
    Quantity("pm1", "Particulate matter PM1", "ug/m3", "µg/m³", 0.0, 10_000.0, 0, flat_line_s=86_400.0),
    Quantity("pm2_5", "Particulate matter PM2.5", "ug/m3", "µg/m³", 0.0, 10_000.0, 0, flat_line_s=86_400.0),
    Quantity("pm10", "Particulate matter PM10", "ug/m3", "µg/m³", 0.0, 10_000.0, 0, flat_line_s=86_400.0),
    Quantity("temperature", "Temperature", "Cel", "°C", -60.0, 1_200.0, 1, max_rate=32.0, flat_line_s=21_600.0),
    Quantity("relative_humidity", "Relative humidity", "%", "%", 0.0, 100.0, 0, max_rate=2.5, flat_line_s=86_400.0),
    Quantity("strain", "Strain", "um/m", "µε", -20_000.0, 20_000.0, 1, flat_line_s=21_600.0),
    Quantity("acceleration", "Acceleration", "m/s2", "m/s²", -400.0, 400.0, 3),
    Quantity("displacement", "Displacement", "mm", "mm", -10_000.0, 10_000.0, 2, flat_line_s=86_400.0),
    Quantity("tilt", "Tilt", "deg", "°", -180.0, 180.0, 3, max_rate=10.0),
    Quantity("level", "Level", "m", "m", -1.0, 100.0, 3, max_rate=0.5),
    Quantity("pressure", "Pressure", "kPa", "kPa", -110.0, 100_000.0, 1),
    Quantity("flow", "Flow", "m3/h", "m³/h", -100_000.0, 100_000.0, 2),
    Quantity("wind_speed", "Wind speed", "m/s", "m/s", 0.0, 120.0, 1, max_rate=10.0, flat_line_s=86_400.0),
    Quantity("fire_alarm", "Fire alarm", "1", "", 0.0, 1.0, 0),
)

QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType({row.name: row for row in _ROWS})
