"""What a station's report says: measured values with unit, statistic, quality and time. Pure.

A report is the upload of real-time (CN 2011), minute (2051), hour (2061) or day data (2031). Its parameters hold
`DataTime` and, for each factor, `<code>-<statistic>=<number>` with `<code>-Flag=<letter>` beside, in any order.

The flag is the station's own judgement (annex: N normal, F stopped, M maintained, S set by hand, D faulty,
C calibrating, T above the range, B no communication). What is not N is bad, with the reason that comes nearest: a
number that was set by hand was not measured. A letter that is not in the table is not trusted either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.hj212.hj212_factor import FACTORS, Factor, convert, is_code, unknown_quantity
from edge_agent.hj212.hj212_segment import Group, parse_time


class Period(StrEnum):
    """What a report speaks of."""

    REALTIME = "realtime"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


class Statistic(StrEnum):
    """Which number of a factor."""

    RTD = "rtd"
    MIN = "min"
    AVG = "avg"
    MAX = "max"
    COU = "cou"
    """The total of the interval."""
    ZS_RTD = "zs_rtd"
    """Converted (to the reference oxygen content, dry gas, 273 K), as the next three."""
    ZS_MIN = "zs_min"
    ZS_AVG = "zs_avg"
    ZS_MAX = "zs_max"

    @property
    def suffix(self) -> str:
        """What stands behind the code: `Rtd`, `ZsAvg`."""
        return "".join(part.capitalize() for part in self.value.split("_"))


PERIODS: Final[Mapping[str, Period]] = MappingProxyType(
    {"2011": Period.REALTIME, "2051": Period.MINUTE, "2061": Period.HOUR, "2031": Period.DAY}
)
"""By command."""

FLAG_REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "": Reason.OK,
        "N": Reason.OK,
        "F": Reason.INHIBITED,
        "M": Reason.INHIBITED,
        "S": Reason.INHIBITED,
        "D": Reason.DEVICE_FAULT,
        "C": Reason.CALIBRATION,
        "T": Reason.OUT_OF_RANGE,
        "B": Reason.NO_ANSWER,
    }
)
_STATISTICS: Final = {statistic.suffix: statistic for statistic in Statistic}
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FLAG: Final = "Flag"
_BESIDE: Final = frozenset({_FLAG, "EFlag", "SampleTime"})
"""What stands beside a factor's numbers: its flag, the analyser's own (each maker's), and when the analyser took its
sample. The latter two are for people; DataTime is the reading's."""


@dataclass(frozen=True, slots=True)
class FactorReading:
    """One number of a report."""

    code: str
    statistic: Statistic
    quantity: str
    value: float | None
    """In the quantity's unit; None: the station sent no number."""
    reason: Reason
    number: float | None
    """As it was sent."""
    said: Reason
    """What the station's flag says of it."""

    def in_unit(self, unit: str, quantity: str) -> tuple[float | None, Reason]:
        """Value and reason if the station sends another unit than the standard prints.

        Args:
            unit: that it sends.
            quantity: in whose unit the value is to be.
        """
        into = QUANTITIES[quantity].unit
        scale = convert(1.0, unit, into)
        assert scale is not None, f"{unit} is no {into}: the settings have checked it"
        return _judge(self.number, self.said, quantity, scale)


@dataclass(slots=True)
class Report:
    """A report, taken apart."""

    data_time_ns: int | None
    readings: list[FactorReading] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    """Pairs that are no known factor's: said to people, counted, never lost in silence."""
    under_code: list[FactorReading] = field(default_factory=list)
    """What of them is a number of a code: kept as sent, where a node lists the code."""


def read_report(groups: Iterable[Group], system: str) -> Report:
    """Reads the groups of a report.

    Args:
        groups: of the parameters.
        system: ST of the station, which decides on some units.
    """
    pairs = [pair for group in groups for pair in group]
    times = [content for key, content in pairs if key == "DataTime"]
    report = Report(parse_time(times[0]) if times else None)
    flags = {key.rpartition("-")[0]: content for key, content in pairs if key.endswith(f"-{_FLAG}")}
    for key, content in pairs:
        code, _, suffix = key.rpartition("-")
        if key == "DataTime" or (suffix in _BESIDE and code in FACTORS):
            continue
        statistic, letter = _STATISTICS.get(suffix), flags.get(code, "")
        reading = _read_pair(code, statistic, content, letter, system)
        if reading is not None:
            report.readings.append(reading)
            continue
        report.unknown[key] = content
        if statistic is not None and is_code(code):
            quantity = unknown_quantity(code)
            report.under_code.append(_reading(code, statistic, quantity, 1.0, (_parse_number(content), letter)))
    return report


def judge_flag(letter: str) -> Reason:
    """What a data flag says of its number."""
    return FLAG_REASONS.get(letter.strip().upper(), Reason.DEVICE_FAULT)


def joined_parameters(packets: Sequence[str]) -> str:
    """The parameters of a message that came in several packets, in their order."""
    return ";".join(part.strip(";") for part in packets if part.strip(";"))


def _read_pair(code: str, statistic: Statistic | None, content: str, flag: str, system: str) -> FactorReading | None:
    factor = FACTORS.get(code)
    if factor is None or statistic is None:
        return None
    quantity, scale = _unit_of(factor, statistic, system)
    if quantity is None:
        return None
    return _reading(code, statistic, quantity, scale, (_parse_number(content), flag))


def _reading(
    code: str, statistic: Statistic, quantity: str, scale: float, sent: tuple[float | None, str]
) -> FactorReading:
    number, letter = sent
    said = judge_flag(letter)
    value, reason = _judge(number, said, quantity, scale)
    return FactorReading(code, statistic, quantity, value, reason, number, said)


def _unit_of(factor: Factor, statistic: Statistic, system: str) -> tuple[str | None, float]:
    if statistic is Statistic.COU:
        return factor.total_quantity, factor.total_factor
    return factor.quantity, factor.factor_for(system)


def _judge(number: float | None, reason: Reason, quantity: str, scale: float) -> tuple[float | None, Reason]:
    if number is None:
        return None, Reason.NOT_A_NUMBER if reason is Reason.OK else reason
    value = number * scale
    if reason is Reason.OK and not QUANTITIES[quantity].is_plausible(value):
        reason = Reason.OUT_OF_RANGE
    return value, reason


def _parse_number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
