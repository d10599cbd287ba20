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
from edge_agent.hj212.hj212_factor import FACTORS, Factor
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
_STATISTICS: Final = {name.capitalize(): Statistic(name) for name in Statistic}
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FLAG: Final = "Flag"
_BESIDE: Final = frozenset({_FLAG, "SampleTime"})
"""What stands beside a factor's numbers. When an analyser took its sample is for people; DataTime is the reading's."""


@dataclass(frozen=True, slots=True)
class FactorReading:
    """One number of a report."""

    code: str
    statistic: Statistic
    quantity: str
    value: float | None
    """In the quantity's unit; None: the station sent no number."""
    reason: Reason


@dataclass(slots=True)
class Report:
    """A report, taken apart."""

    data_time_ns: int | None
    readings: list[FactorReading] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    """Pairs that are no known factor's: said to people, counted, never lost in silence."""


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
        reading = _read_pair(code, _STATISTICS.get(suffix), content, flags.get(code, ""), system)
        if reading is None:
            report.unknown[key] = content
        else:
            report.readings.append(reading)
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
    value, reason = _judge(_parse_number(content), judge_flag(flag), quantity, scale)
    return FactorReading(code, statistic, quantity, value, reason)


def _unit_of(factor: Factor, statistic: Statistic, system: str) -> tuple[str | None, float]:
    if statistic is Statistic.COU:
        return factor.total_quantity, 1.0
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
