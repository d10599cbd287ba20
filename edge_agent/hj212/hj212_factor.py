"""What stations report under which code: factor → quantity and unit. Pure; a table and its lookup.

Codes and units are those of HJ 212-2017 annex B, as transcribed in github.com/srdgame/lua-HJ212@2997b3f0
hj212/tags/info.lua, and compared with the published frames in shared/vectors/hj212.json. Where they disagree
the unit of the frames counts, and that is said here:

- Ambient air (ST 22) reports sulfur dioxide, nitrogen oxides, ozone and particles in micrograms per cubic metre and
  carbon monoxide in milligrams (GB 3095-2012, tables 1 and 2); the annex prints milligrams for the former, which is
  the unit of emission (ST 31). The frame `air-9241` (SO2 22.25, CO 0.36) can only be meant so.
- The annex prints nanograms for PM10, PM2.5, PM1 and TSP; a station's PM2.5 of 4 is micrograms (the same frame).

Codes that are not here, or whose unit is not certain, are reported as unknown factors and are never guessed. The
codes that the standard uses twice (e701xx, g119xx) are among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

AMBIENT_AIR: Final = "22"
"""ST whose concentrations of gases are in micrograms."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One code."""

    code: str
    quantity: str
    unit: str
    """UCUM code of what the station sends."""
    factor: float = 1.0
    """What is sent, times this, is in the quantity's unit."""
    ambient_factor: float | None = None
    """The same for ST 22, where that sends another unit."""
    total_quantity: str | None = None
    """Quantity of `-Cou`, the total of the interval; None: its unit is not certain."""

    def factor_for(self, system: str) -> float:
        """The factor for a station of this kind (ST)."""
        if system == AMBIENT_AIR and self.ambient_factor is not None:
            return self.ambient_factor
        return self.factor


_MASS: Final = "discharged_mass"
_VOLUME: Final = "water_volume"


def _water(code: str, quantity: str, *, has_total: bool = True) -> Factor:
    return Factor(code, quantity, "mg/L", total_quantity=_MASS if has_total else None)


def _gas(code: str, quantity: str) -> Factor:
    """Milligrams in emission, micrograms in ambient air; the quantity is in micrograms."""
    return Factor(code, quantity, "mg/m3", factor=1000.0, ambient_factor=1.0, total_quantity=_MASS)


_ROWS: Final = (
    Factor("w00000", "water_flow", "L/s", total_quantity=_VOLUME),
    Factor("w01001", "ph", "[pH]"),
    _water("w01009", "dissolved_oxygen", has_total=False),
    Factor("w01010", "water_temperature", "Cel"),
    _water("w01012", "suspended_solids"),
    Factor("w01014", "conductivity", "uS/cm"),
    _water("w01017", "biochemical_oxygen_demand"),
    _water("w01018", "chemical_oxygen_demand"),
    _water("w01019", "permanganate_index"),
    _water("w01020", "total_organic_carbon"),
    _water("w21001", "total_nitrogen"),
    _water("w21003", "ammonia_nitrogen"),
    _water("w21011", "total_phosphorus"),
    Factor("a00000", "flow", "m3/s", factor=3600.0),
    Factor("a01001", "temperature", "Cel"),
    Factor("a01002", "relative_humidity", "%"),
    Factor("a01006", "pressure", "kPa"),
    Factor("a01007", "wind_speed", "m/s"),
    Factor("a01008", "wind_direction", "deg"),
    Factor("a01012", "temperature", "Cel"),
    Factor("a01013", "pressure", "kPa"),
    Factor("a19001", "oxygen", "%"),
    _gas("a05024", "ozone"),
    _gas("a21002", "nitrogen_oxides"),
    _gas("a21003", "nitrogen_monoxide"),
    _gas("a21004", "nitrogen_dioxide"),
    _gas("a21026", "sulfur_dioxide"),
    Factor("a21005", "carbon_monoxide_mass", "mg/m3", total_quantity=_MASS),
    Factor("a24088", "non_methane_hydrocarbons", "mg/m3", total_quantity=_MASS),
    Factor("a34001", "total_suspended_particles", "ug/m3"),
    Factor("a34002", "pm10", "ug/m3"),
    Factor("a34004", "pm2_5", "ug/m3"),
    Factor("a34005", "pm1", "ug/m3"),
    Factor("a34013", "smoke_dust", "mg/m3", total_quantity=_MASS),
    Factor("LA", "sound_level", "dB[SPL]"),
    Factor("Leq", "sound_level", "dB[SPL]"),
)

FACTORS: Final[Mapping[str, Factor]] = MappingProxyType({row.code: row for row in _ROWS})
"""By code."""
