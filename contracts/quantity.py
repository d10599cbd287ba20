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

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from contracts.substance import IN_AIR, IN_WATER


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

    @property
    def is_measured(self) -> bool:
        """Whether it is a size that may take any value: no state (0 or 1), nothing that is counted."""
        return self.unit not in _COUNTED_UNITS and (self.plausible_min, self.plausible_max) != (0.0, 1.0)

    def is_plausible(self, value: float) -> bool:
        """Whether `value` (in `unit`) can be true at all; False for NaN and infinities."""
        return self.plausible_min <= value <= self.plausible_max


_COUNTED_UNITS: Final = frozenset({"{cycles}", "{count}"})
WAVEFORM_QUANTITIES: Final = ("strain", "acceleration", "displacement")
"""What is sampled tens to hundreds of times a second: sent as arrays, with features of each second beside them."""
CYCLE_BINS_MAX: Final = 16
"""Bins of a rainflow count. A channel each: `strain_cycles_01` to `strain_cycles_16`."""


def cycle_quantity(quantity: str, bin_number: int) -> str:
    """The quantity that counts the cycles of one bin, from 1: `strain_cycles_01`."""
    return f"{quantity}_cycles_{bin_number:02d}"


def _feature_rows(base: Quantity) -> Iterator[Quantity]:
    """Features of a waveform of a quantity, in its unit; contracts.waveform has their formulas."""
    low, high, width = base.plausible_min, base.plausible_max, base.plausible_max - base.plausible_min
    for suffix, words, least, most in (
        ("rms", "rms without the mean", 0.0, width),
        ("peak", "peak from the mean", 0.0, width),
        ("peak_to_peak", "peak to peak", 0.0, width),
        ("minimum", "lowest of a second", low, high),
        ("maximum", "highest of a second", low, high),
    ):
        title = f"{base.title}, {words}"
        yield Quantity(f"{base.name}_{suffix}", title, base.unit, base.unit_symbol, least, most, base.decimals)
    for number in range(1, CYCLE_BINS_MAX + 1):
        title = f"{base.title} cycles, bin {number}"
        yield Quantity(cycle_quantity(base.name, number), title, "{cycles}", "", 0.0, 1e12, 1)


_STRAIN: Final = Quantity("strain", "Strain", "um/m", "µε", -20_000.0, 20_000.0, 1, flat_line_s=21_600.0)
_ACCELERATION: Final = Quantity("acceleration", "Acceleration", "m/s2", "m/s²", -400.0, 400.0, 3)
_DISPLACEMENT: Final = Quantity(
    "displacement", "Displacement", "mm", "mm", -10_000.0, 10_000.0, 2, flat_line_s=86_400.0
)


def _symbol(unit: str) -> str:
    """What a page shows for a concentration: µg/m³."""
    return unit.replace("u", "µ").replace("m3", "m³")


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
    _STRAIN,
    _ACCELERATION,
    _DISPLACEMENT,
    Quantity("tilt", "Tilt", "deg", "°", -180.0, 180.0, 3, max_rate=10.0),
    Quantity("level", "Level", "m", "m", -1.0, 100.0, 3, max_rate=0.5),
    Quantity("pressure", "Pressure", "kPa", "kPa", -110.0, 100_000.0, 1),
    Quantity("flow", "Flow", "m3/h", "m³/h", -100_000.0, 100_000.0, 2),
    Quantity("voltage", "Voltage", "V", "V", -100_000.0, 100_000.0, 1),
    Quantity("current", "Current", "A", "A", -100_000.0, 100_000.0, 1),
    Quantity("wind_speed", "Wind speed", "m/s", "m/s", 0.0, 120.0, 1, max_rate=10.0, flat_line_s=86_400.0),
    Quantity("wind_direction", "Wind direction", "deg", "°", 0.0, 360.0, 0),
    Quantity("fire_alarm", "Fire alarm", "1", "", 0.0, 1.0, 0),
    # what a fire panel and its transmitter report (GB/T 26875.3-2011, 8.2.1); 1: it is so, 0: it is not
    Quantity("fault", "Fault", "1", "", 0.0, 1.0, 0),
    Quantity("supervisory_alarm", "Supervisory alarm", "1", "", 0.0, 1.0, 0),
    Quantity("activation", "Started", "1", "", 0.0, 1.0, 0),
    Quantity("activation_feedback", "Feedback of what was started", "1", "", 0.0, 1.0, 0),
    Quantity("mains_failure", "Mains failure", "1", "", 0.0, 1.0, 0),
    Quantity("battery_failure", "Battery failure", "1", "", 0.0, 1.0, 0),
    Quantity("uplink_failure", "Failure of the way to the centre", "1", "", 0.0, 1.0, 0),
    Quantity("loop_failure", "Failure of the monitored line", "1", "", 0.0, 1.0, 0),
    Quantity("combustible_gas", "Combustible gas", "%{LEL}", "%LEL", -5.0, 105.0, 1, max_rate=50.0),
    Quantity("combustible_gas_path", "Combustible gas along a path", "{LEL}.m", "LEL·m", -0.5, 10.0, 2, max_rate=5.0),
    Quantity("sulfur_hexafluoride", "Sulfur hexafluoride", "[ppm]", "ppm", -10.0, 100_000.0, 0),
    Quantity("event_count", "Events", "{count}", "", 0.0, 1e9, 0),
    Quantity("duration", "Duration", "s", "s", 0.0, 1e9, 0),
    Quantity("water_flow", "Water flow", "L/s", "L/s", -100_000.0, 100_000.0, 2),
    # what stations of environmental monitoring report (HJ 212-2017, annex B); limits are this project's judgement
    Quantity("ph", "pH", "[pH]", "", -1.0, 15.0, 2),
    Quantity("chemical_oxygen_demand", "Chemical oxygen demand", "mg/L", "mg/L", 0.0, 200_000.0, 1),
    Quantity("biochemical_oxygen_demand", "Biochemical oxygen demand", "mg/L", "mg/L", 0.0, 100_000.0, 1),
    Quantity("permanganate_index", "Permanganate index", "mg/L", "mg/L", 0.0, 10_000.0, 1),
    Quantity("total_organic_carbon", "Total organic carbon", "mg/L", "mg/L", 0.0, 100_000.0, 1),
    Quantity("suspended_solids", "Suspended solids", "mg/L", "mg/L", 0.0, 100_000.0, 0),
    Quantity("dissolved_oxygen", "Dissolved oxygen", "mg/L", "mg/L", 0.0, 60.0, 1),
    Quantity("conductivity", "Conductivity", "uS/cm", "µS/cm", 0.0, 500_000.0, 1),
    Quantity("ammonia_nitrogen", "Ammonia nitrogen", "mg/L", "mg/L", 0.0, 10_000.0, 2),
    Quantity("total_nitrogen", "Total nitrogen", "mg/L", "mg/L", 0.0, 10_000.0, 2),
    Quantity("total_phosphorus", "Total phosphorus", "mg/L", "mg/L", 0.0, 10_000.0, 2),
    Quantity("water_volume", "Water volume", "m3", "m³", 0.0, 1e9, 2),
    Quantity("discharged_mass", "Discharged mass", "kg", "kg", 0.0, 1e9, 2),
    Quantity("sulfur_dioxide", "Sulfur dioxide", "ug/m3", "µg/m³", 0.0, 1e7, 1),
    Quantity("nitrogen_dioxide", "Nitrogen dioxide", "ug/m3", "µg/m³", 0.0, 1e7, 1),
    Quantity("nitrogen_monoxide", "Nitrogen monoxide", "ug/m3", "µg/m³", 0.0, 1e7, 1),
    Quantity("nitrogen_oxides", "Nitrogen oxides", "ug/m3", "µg/m³", 0.0, 1e7, 1),
    Quantity("ozone", "Ozone", "ug/m3", "µg/m³", 0.0, 100_000.0, 1),
    Quantity("carbon_monoxide_mass", "Carbon monoxide by mass", "mg/m3", "mg/m³", 0.0, 100_000.0, 2),
    Quantity("total_suspended_particles", "Total suspended particles", "ug/m3", "µg/m³", 0.0, 1e7, 0),
    Quantity("smoke_dust", "Smoke dust", "mg/m3", "mg/m³", 0.0, 100_000.0, 1),
    Quantity("non_methane_hydrocarbons", "Non-methane hydrocarbons", "mg/m3", "mg/m³", 0.0, 100_000.0, 2),
    Quantity("sound_level", "A-weighted sound level", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    # what dust, indoor-air and weather sensors report (device profiles name their sources); wide on purpose
    Quantity("pm4", "Particulate matter PM4", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("pm1_uncorrected", "PM1, factory calibration (CF=1)", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("pm2_5_uncorrected", "PM2.5, factory calibration (CF=1)", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("pm10_uncorrected", "PM10, factory calibration (CF=1)", "ug/m3", "µg/m³", 0.0, 10_000.0, 0),
    Quantity("particles_over_0_3um", "Particles over 0.3 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_over_0_5um", "Particles over 0.5 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_over_1um", "Particles over 1 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_over_2_5um", "Particles over 2.5 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_over_5um", "Particles over 5 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_over_10um", "Particles over 10 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_to_0_5um", "Particles of 0.3 to 0.5 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_to_1um", "Particles of 0.3 to 1 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_to_2_5um", "Particles of 0.3 to 2.5 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_to_4um", "Particles of 0.3 to 4 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particles_to_10um", "Particles of 0.3 to 10 µm", "/cm3", "/cm³", 0.0, 100_000.0, 1),
    Quantity("particle_size", "Typical particle size", "um", "µm", 0.0, 100.0, 2),
    Quantity("formaldehyde_mass", "Formaldehyde by mass", "ug/m3", "µg/m³", 0.0, 15_000.0, 0),
    Quantity("air_quality_index", "Indoor air quality index", "{index}", "", 0.0, 500.0, 0),
    Quantity("gas_resistance", "Resistance of a gas sensor", "kOhm", "kΩ", 0.0, 1_000_000.0, 1),
    Quantity("air_pressure", "Air pressure", "hPa", "hPa", 300.0, 1_100.0, 1),
    Quantity("altitude", "Altitude", "m", "m", -500.0, 9_000.0, 0),
    Quantity("wind_speed_min", "Wind speed, lowest", "m/s", "m/s", 0.0, 120.0, 1),
    Quantity("wind_speed_max", "Wind speed, highest", "m/s", "m/s", 0.0, 120.0, 1),
    Quantity("wind_direction_min", "Wind direction, lowest", "deg", "°", 0.0, 360.0, 0),
    Quantity("wind_direction_max", "Wind direction, highest", "deg", "°", 0.0, 360.0, 0),
    Quantity("dew_point", "Dew point", "Cel", "°C", -90.0, 60.0, 1),
    Quantity("water_temperature", "Water temperature", "Cel", "°C", -5.0, 100.0, 1),
    Quantity("indoor_temperature", "Indoor temperature", "Cel", "°C", -60.0, 100.0, 1),
    Quantity("indoor_relative_humidity", "Indoor relative humidity", "%", "%", 0.0, 100.0, 0),
    Quantity("device_temperature", "Temperature of the device", "Cel", "°C", -60.0, 150.0, 1),
    Quantity("heating_temperature", "Temperature of the heating", "Cel", "°C", -60.0, 150.0, 1),
    Quantity("heating_voltage", "Heating voltage", "V", "V", 0.0, 100.0, 1),
    Quantity("supply_voltage", "Supply voltage", "V", "V", 0.0, 100.0, 1),
    Quantity("reference_voltage", "Reference voltage", "V", "V", 0.0, 100.0, 3),
    Quantity("battery_voltage", "Battery voltage", "V", "V", 0.0, 100.0, 2),
    Quantity("rainfall", "Rainfall", "mm", "mm", 0.0, 100_000.0, 2),
    Quantity("rain_duration", "Duration of rain", "s", "s", 0.0, 1e9, 0),
    Quantity("rain_intensity", "Rain intensity", "mm/h", "mm/h", 0.0, 2_000.0, 1),
    Quantity("rain_intensity_peak", "Rain intensity, highest", "mm/h", "mm/h", 0.0, 2_000.0, 1),
    Quantity("hail", "Hail hits", "/cm2", "/cm²", 0.0, 100_000.0, 1),
    Quantity("hail_duration", "Duration of hail", "s", "s", 0.0, 1e9, 0),
    Quantity("hail_intensity", "Hail intensity", "/cm2/h", "/cm²h", 0.0, 100_000.0, 1),
    Quantity("hail_intensity_peak", "Hail intensity, highest", "/cm2/h", "/cm²h", 0.0, 100_000.0, 1),
    # what else stations of environmental monitoring report (HJ 212-2017, annex B)
    Quantity("water_colour", "Colour of water", "{PCU}", "°", 0.0, 100_000.0, 0),
    Quantity("faecal_coliforms", "Faecal coliforms", "/L", "/L", 0.0, 1e12, 0),
    Quantity("bacteria", "Bacteria", "/L", "/L", 0.0, 1e12, 0),
    Quantity("gross_alpha_activity", "Gross alpha activity", "Bq/L", "Bq/L", 0.0, 1e9, 2),
    Quantity("gross_beta_activity", "Gross beta activity", "Bq/L", "Bq/L", 0.0, 1e9, 2),
    Quantity("ringelmann_blackness", "Ringelmann blackness", "1", "", 0.0, 6.0, 2),
    Quantity("flue_gas_velocity", "Velocity of flue gas", "m/s", "m/s", -200.0, 200.0, 1),
    Quantity("flue_gas_humidity", "Humidity of flue gas", "%", "%", 0.0, 100.0, 1),
    Quantity("cooling_temperature", "Temperature of the gas cooler", "Cel", "°C", -60.0, 200.0, 1),
    Quantity("duct_area", "Cross-section of the duct", "m2", "m²", 0.0, 10_000.0, 2),
    Quantity("dynamic_pressure", "Dynamic pressure of flue gas", "kPa", "kPa", -110.0, 1_000.0, 3),
    Quantity("furnace_temperature", "Temperature of the furnace", "Cel", "°C", -60.0, 2_500.0, 1),
    Quantity("furnace_control_temperature", "Temperature of the furnace, DCS", "Cel", "°C", -60.0, 2_500.0, 1),
    Quantity("dustfall", "Dustfall", "t/km2/mo", "t/(km²·month)", 0.0, 10_000.0, 1),
    Quantity("sound_level_l5", "Sound level exceeded for 5 %", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_l10", "Sound level exceeded for 10 %", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_l50", "Sound level exceeded for 50 %", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_l90", "Sound level exceeded for 90 %", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_l95", "Sound level exceeded for 95 %", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_day_night", "Sound level of day and night", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_day", "Sound level by day", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_night", "Sound level by night", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_max", "Sound level, highest", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    Quantity("sound_level_min", "Sound level, lowest", "dB[SPL]", "dB(A)", 0.0, 200.0, 1),
    *(
        Quantity(f"{name}_in_water", f"{title} in water", unit, _symbol(unit), 0.0, 1e7, 3)
        for name, title, unit in IN_WATER
    ),
    *(Quantity(f"{name}_in_air", f"{title} in air", unit, _symbol(unit), 0.0, 1e7, 3) for name, title, unit in IN_AIR),
    Quantity("solar_radiation", "Solar radiation", "W/m2", "W/m²", 0.0, 2_000.0, 0),
    Quantity("uv_index", "UV index", "{index}", "", 0.0, 25.0, 1),
    # what is computed from a second of a waveform (contracts.waveform); its mean is the quantity itself
    *(row for base in (_STRAIN, _ACCELERATION, _DISPLACEMENT) for row in _feature_rows(base)),
)

UNKNOWN_FACTOR_PREFIX: Final = "hj212_"
"""Of quantities that a station reports under a code that nobody has told us the meaning of: `hj212_w99051`."""
_UNKNOWN_FACTOR: Final = re.compile(UNKNOWN_FACTOR_PREFIX + r"[0-9a-z]{2,12}")
_ANYTHING: Final = 1e15
"""Plausible is every number of a factor whose unit is not known."""


class QuantityTable(dict[str, Quantity]):
    """The rows by name. Beside them stands the open family `hj212_<code>`: kept as sent, in an unknown unit."""

    def __missing__(self, name: str) -> Quantity:
        """The row of an unknown factor. Raises KeyError for any other name."""
        if not self._is_unknown_factor(name):
            raise KeyError(name)
        code = name.removeprefix(UNKNOWN_FACTOR_PREFIX)
        return Quantity(name, f"HJ 212 factor {code}", "[arb'U]", "", -_ANYTHING, _ANYTHING, 3)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._is_unknown_factor(name)

    def get(self, name: str, default: Quantity | None = None) -> Quantity | None:  # type: ignore[override]
        """As of a dict, and an unknown factor's row."""
        try:
            return self[name]
        except KeyError:
            return default

    @staticmethod
    def _is_unknown_factor(name: object) -> bool:
        return isinstance(name, str) and _UNKNOWN_FACTOR.fullmatch(name) is not None


QUANTITIES: Final[Mapping[str, Quantity]] = MappingProxyType(QuantityTable((row.name, row) for row in _ROWS))
