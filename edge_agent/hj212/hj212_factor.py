"""What stations report under which code: factor → quantity and unit. Pure; a table and its lookup.

Codes and units are those of HJ 212-2017 annex B, as transcribed in github.com/srdgame/lua-HJ212@f7c2e7d3
hj212/tags/info.lua (380 rows) and in github.com/lingkejia/bocon-operation-app@378d6a72 src/lib/polcodeList17.js (216
rows), which agree on the unit of every code of water and gas; and compared with the published frames in
shared/vectors/hj212.json. Where the annex and the frames disagree the unit of the frames counts, and that is said here:

- Ambient air (ST 22) reports sulfur dioxide, nitrogen oxides, ozone and particles in micrograms per cubic metre and
  carbon monoxide in milligrams (GB 3095-2012, tables 1 and 2); the annex prints milligrams for the former, which is
  the unit of emission (ST 31). The frame `air-9241` (SO2 22.25, CO 0.36) can only be meant so.
- The annex prints nanograms for PM10, PM2.5, PM1 and TSP; a station's PM2.5 of 4 is micrograms (the same frame).
- It prints nanograms, too, for methane, ammonia, and for arsenic, mercury, cadmium and lead in air (`DOUBTFUL`). Which
  unit a station sends then stands in no frame that we know: it is not guessed, its node says it (`units`).

Any code that is not here is kept under its code (`hj212_w99051`), as it was sent, if a node lists it among its
`other_factors`: those of treatment plants and of equipment (e, g, i; e701xx and g119xx stand twice in the standard), a
province's own, those of HJ/T 212-2005. Ozone (a05024) is not in the annex but in published frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from contracts.quantity import UNKNOWN_FACTOR_PREFIX
from contracts.substance import IN_AIR, IN_WATER

AMBIENT_AIR: Final = "22"
"""ST whose concentrations of gases are in micrograms."""
_CODE: Final = re.compile(r"[0-9A-Za-z]{2,12}")
_SCALES: Final = (
    {"ng/L": 1, "ug/L": 1_000, "mg/L": 1_000_000, "g/L": 1_000_000_000},
    {"ng/m3": 1, "ug/m3": 1_000, "mg/m3": 1_000_000, "g/m3": 1_000_000_000},
    {"L/s": 3_600, "m3/h": 1_000, "m3/s": 3_600_000},
    {"Pa": 1, "hPa": 100, "kPa": 1_000, "MPa": 1_000_000},
)
"""Units of one dimension, as multiples of its smallest."""


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
    total_factor: float = 1.0
    """A total, times this, is in that quantity's unit."""

    def factor_for(self, system: str) -> float:
        """The factor for a station of this kind (ST)."""
        if system == AMBIENT_AIR and self.ambient_factor is not None:
            return self.ambient_factor
        return self.factor


def convert(number: float, unit: str, into: str) -> float | None:
    """A number in another unit of its dimension; None if the two have none in common."""
    for scales in _SCALES:
        if unit in scales and into in scales:
            return number * scales[unit] / scales[into]
    return number if unit == into else None


def units_like(unit: str) -> tuple[str, ...]:
    """All units that `convert` can turn into this one."""
    return next((tuple(scales) for scales in _SCALES if unit in scales), (unit,))


def is_code(text: str) -> bool:
    """Whether a factor may have this code."""
    return _CODE.fullmatch(text) is not None


def unknown_quantity(code: str) -> str:
    """The quantity of a code that is not in the table: the code itself."""
    return f"{UNKNOWN_FACTOR_PREFIX}{code.lower()}"


_MASS: Final = "discharged_mass"
_VOLUME: Final = "water_volume"
_MASS_OF_TOTAL: Final = MappingProxyType({"mg/L": 1.0, "ug/L": 1e-3, "mg/m3": 1.0})
"""Kilograms in a total, by the unit of the concentration: the annex counts those of micrograms in grams. Of nanograms
the two transcriptions disagree (milligrams or kilograms of alkyl mercury)."""


def _water(code: str, quantity: str, *, has_total: bool = True) -> Factor:
    return Factor(code, quantity, "mg/L", total_quantity=_MASS if has_total else None)


def _gas(code: str, quantity: str) -> Factor:
    """Milligrams in emission, micrograms in ambient air; the quantity is in micrograms."""
    return Factor(code, quantity, "mg/m3", factor=1000.0, ambient_factor=1.0, total_quantity=_MASS)


def _substance(code: str, name: str, units: Mapping[str, str], place: str) -> Factor:
    unit = units[name]
    kilograms = _MASS_OF_TOTAL.get(unit)
    total = None if kilograms is None else _MASS
    return Factor(code, f"{name}_in_{place}", unit, total_quantity=total, total_factor=kilograms or 1.0)


_WATER_UNITS: Final = {name: unit for name, _, unit in IN_WATER}
_AIR_UNITS: Final = {name: unit for name, _, unit in IN_AIR}
_SUBSTANCES_IN_WATER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "w01006": "dissolved_solids",
        "w19001": "surfactants",
        "w19002": "anionic_surfactants",
        "w20012": "barium",
        "w20023": "boron",
        "w20038": "cobalt",
        "w20061": "molybdenum",
        "w20089": "thallium",
        "w20092": "tin",
        "w20111": "total_mercury",
        "w20113": "alkyl_mercury",
        "w20115": "total_cadmium",
        "w20116": "total_chromium",
        "w20117": "hexavalent_chromium",
        "w20119": "total_arsenic",
        "w20120": "total_lead",
        "w20121": "total_nickel",
        "w20122": "total_copper",
        "w20123": "total_zinc",
        "w20124": "total_manganese",
        "w20125": "total_iron",
        "w20126": "total_silver",
        "w20127": "total_beryllium",
        "w20128": "total_selenium",
        "w20138": "copper",
        "w20139": "zinc",
        "w20140": "selenium",
        "w20141": "arsenic",
        "w20142": "mercury",
        "w20143": "cadmium",
        "w20144": "lead",
        "w21004": "kjeldahl_nitrogen",
        "w21006": "nitrite",
        "w21007": "nitrate",
        "w21016": "cyanide",
        "w21017": "fluoride",
        "w21019": "sulfide",
        "w21022": "chloride",
        "w21038": "sulfate",
        "w22001": "petroleum",
        "w23002": "volatile_phenols",
        "w25043": "benzo_a_pyrene",
        "w33001": "hexachlorocyclohexane",
        "w33007": "ddt",
        "w99001": "organic_nitrogen",
    }
)
_SUBSTANCES_IN_AIR: Final[Mapping[str, str]] = MappingProxyType(
    {
        "a20091": "tin",
        "a21017": "cyanide",
        "a21018": "fluoride",
        "a25044": "benzo_a_pyrene",
        "a05001": "carbon_dioxide",
        "a05008": "trichlorofluoromethane",
        "a05009": "dichlorodifluoromethane",
        "a05013": "trichlorotrifluoroethane",
        "a20016": "beryllium_compounds",
        "a20025": "cadmium_compounds",
        "a20043": "lead_compounds",
        "a20057": "mercury_compounds",
        "a20063": "nickel_compounds",
        "a21022": "chlorine",
        "a21024": "hydrogen_chloride",
        "a21028": "hydrogen_sulfide",
        "a23001": "phenols",
        "a24003": "dichloromethane",
        "a24004": "trichloromethane",
        "a24005": "tetrachloromethane",
        "a24006": "dibromochloromethane",
        "a24007": "bromodichloromethane",
        "a24008": "bromomethane",
        "a24009": "tribromomethane",
        "a24015": "chloroethane",
        "a24016": "dichloroethane_1_1",
        "a24017": "dichloroethane_1_2",
        "a24018": "trichloroethane_1_1_1",
        "a24019": "trichloroethane_1_1_2",
        "a24020": "tetrachloroethane_1_1_2_2",
        "a24027": "dichloropropane_1_2",
        "a24034": "dibromoethane_1_2",
        "a24036": "cyclohexane",
        "a24042": "n_hexane",
        "a24043": "n_heptane",
        "a24046": "vinyl_chloride",
        "a24047": "dichloroethylene_1_1",
        "a24049": "trichloroethylene",
        "a24050": "tetrachloroethylene",
        "a24053": "propylene",
        "a24054": "dichloropropene_1_3",
        "a24072": "dioxane_1_4",
        "a24078": "butadiene_1_3",
        "a24087": "hydrocarbons",
        "a24099": "chloromethane",
        "a24110": "trans_dichloroethylene_1_2",
        "a24111": "cis_dichloroethylene_1_2",
        "a24112": "trans_dichloropropene_1_3",
        "a24113": "hexachlorobutadiene_1_3",
        "a25002": "benzene",
        "a25003": "toluene",
        "a25004": "ethylbenzene",
        "a25005": "xylene",
        "a25006": "o_xylene",
        "a25007": "m_xylene",
        "a25008": "p_xylene",
        "a25010": "chlorobenzene",
        "a25011": "dichlorobenzene_1_2",
        "a25012": "dichlorobenzene_1_3",
        "a25013": "dichlorobenzene_1_4",
        "a25014": "ethyl_4_methylbenzene_1",
        "a25015": "trichlorobenzene_1_2_4",
        "a25019": "trimethylbenzene_1_2_4",
        "a25020": "trimethylbenzene_1_2_3",
        "a25021": "trimethylbenzene_1_3_5",
        "a25023": "nitrobenzene",
        "a25038": "styrene",
        "a25072": "tetrahydrofuran",
        "a26001": "anilines",
        "a29017": "ethyl_acetate",
        "a29026": "vinyl_acetate",
        "a30001": "methanol",
        "a30008": "isopropanol",
        "a30022": "mercaptans",
        "a31001": "formaldehyde",
        "a31002": "acetaldehyde",
        "a31024": "acetone",
        "a31025": "butanone_2",
        "a31030": "methyl_isobutyl_ketone",
        "a34017": "carbon_black",
        "a34038": "asphalt_fume",
        "a34039": "sulfuric_acid_mist",
        "a34040": "chromic_acid_mist",
        "a99010": "acrylonitrile",
        "a99049": "phosgene",
        "a99051": "carbon_disulfide",
    }
)
DOUBTFUL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "a05002": "methane_in_air",
        "a20007": "arsenic_in_air",
        "a20026": "cadmium_in_air",
        "a20044": "lead_in_air",
        "a20058": "mercury_in_air",
        "a21001": "ammonia_in_air",
    }
)
"""Code → quantity of factors whose unit the annex prints as ng/m3, which cannot be meant: a node must say it."""

_ROWS: Final = (
    Factor("w00000", "water_flow", "L/s", total_quantity=_VOLUME),
    Factor("w01001", "ph", "[pH]"),
    Factor("w01002", "water_colour", "{PCU}"),
    _water("w01009", "dissolved_oxygen", has_total=False),
    Factor("w01010", "water_temperature", "Cel"),
    _water("w01012", "suspended_solids"),
    Factor("w01014", "conductivity", "uS/cm"),
    _water("w01017", "biochemical_oxygen_demand"),
    _water("w01018", "chemical_oxygen_demand"),
    _water("w01019", "permanganate_index"),
    _water("w01020", "total_organic_carbon"),
    Factor("w02003", "faecal_coliforms", "/L"),
    Factor("w02006", "bacteria", "/L"),
    Factor("w03001", "gross_alpha_activity", "Bq/L"),
    Factor("w03002", "gross_beta_activity", "Bq/L"),
    _water("w21001", "total_nitrogen"),
    _water("w21003", "ammonia_nitrogen"),
    _water("w21011", "total_phosphorus"),
    Factor("a00000", "flow", "m3/s", factor=3600.0),
    Factor("a01001", "temperature", "Cel"),
    Factor("a01002", "relative_humidity", "%"),
    Factor("a01006", "pressure", "kPa"),
    Factor("a01007", "wind_speed", "m/s"),
    Factor("a01008", "wind_direction", "deg"),
    Factor("a01010", "ringelmann_blackness", "1"),
    Factor("a01011", "flue_gas_velocity", "m/s"),
    Factor("a01012", "temperature", "Cel"),
    Factor("a01013", "pressure", "kPa"),
    Factor("a01014", "flue_gas_humidity", "%"),
    Factor("a01015", "cooling_temperature", "Cel"),
    Factor("a01016", "duct_area", "m2"),
    Factor("a01017", "dynamic_pressure", "kPa"),
    Factor("a01901", "furnace_temperature", "Cel"),
    Factor("a01902", "furnace_control_temperature", "Cel"),
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
    Factor("a34011", "dustfall", "t/km2/mo"),
    Factor("a34013", "smoke_dust", "mg/m3", total_quantity=_MASS),
    Factor("LA", "sound_level", "dB[SPL]"),
    Factor("Leq", "sound_level", "dB[SPL]"),
    Factor("L5", "sound_level_l5", "dB[SPL]"),
    Factor("L10", "sound_level_l10", "dB[SPL]"),
    Factor("L50", "sound_level_l50", "dB[SPL]"),
    Factor("L90", "sound_level_l90", "dB[SPL]"),
    Factor("L95", "sound_level_l95", "dB[SPL]"),
    Factor("Ldn", "sound_level_day_night", "dB[SPL]"),
    Factor("Ld", "sound_level_day", "dB[SPL]"),
    Factor("Ln", "sound_level_night", "dB[SPL]"),
    Factor("LMx", "sound_level_max", "dB[SPL]"),
    Factor("LMn", "sound_level_min", "dB[SPL]"),
    *(_substance(code, name, _WATER_UNITS, "water") for code, name in _SUBSTANCES_IN_WATER.items()),
    *(_substance(code, name, _AIR_UNITS, "air") for code, name in _SUBSTANCES_IN_AIR.items()),
)

FACTORS: Final[Mapping[str, Factor]] = MappingProxyType({row.code: row for row in _ROWS})
"""By code."""
