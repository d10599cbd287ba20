"""Stations that call an endpoint: an HJ 212-2017 data logger, and a GB/T 26875.3-2011 fire transmitter. Pure.

Each makes its reports when they are due, sends again what is not answered, does what it is asked, and says line by line
what went over the line: `->` from us, `<-` from the centre.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from simulators.gb26875_frame import make_component_state, make_transmitter_state
from simulators.gb26875_transmitter import FireTransmitter
from simulators.hj212_station import Hj212Station

CHINA: Final = dt.timezone(dt.timedelta(hours=8))
COMMANDS: Final = {"realtime": "2011", "minute": "2051", "hour": "2061", "day": "2031"}
"""HJ 212 command by the period of a report."""
STATES: Final = {"normal": 1, "fire": 2, "fault": 4, "shielded": 8, "supervisory": 16, "started": 32, "feedback": 64}
"""Bits of a component's state (GB/T 26875.3-2011, 8.2.1.2)."""
_ALL_IS_WELL: Final = 1
"""A transmitter's state: monitors normally (8.2.1.8, bit 0)."""
_READ_COMPONENTS: Final = 62
_READ_TRANSMITTER: Final = 81


class Caller(Protocol):
    """One station; every method gives the bytes that it puts on the line."""

    said: list[str]
    """What went over the line, for people; whoever shows it takes it away."""

    @property
    def is_done(self) -> bool:
        """Whether all that was to be reported is answered or given up."""

    @property
    def has_failed(self) -> bool:
        """Whether anything was given up, or not even begun."""

    def step(self, now_s: float, wall_ns: int) -> bytes:
        """What is due now: the next report, and what is sent again."""

    def receive(self, octets: bytes, now_s: float, wall_ns: int, /) -> bytes:
        """Takes what the centre says. Raises ValueError at bytes that are no right frame."""

    def sum_up(self) -> str:
        """What became of all reports."""


@dataclass(slots=True)
class Hj212Caller:
    """A data logger that reports the same factors again and again."""

    station: Hj212Station
    values: Mapping[str, str]
    """Number by factor."""
    period: str = "realtime"
    interval_s: float = 60.0
    count: int | None = None
    """Reports; None: without end."""
    flag: str = "N"
    is_check_wrong: bool = False
    """Each report has a wrong CRC the first time that it is sent."""
    said: list[str] = field(default_factory=list)
    _made: int = 0
    _due_s: float = 0.0
    _asked: int = 0

    @property
    def is_done(self) -> bool:
        """See Caller."""
        return self.count is not None and len(self.station.answered) + len(self.station.given_up) >= self.count

    @property
    def has_failed(self) -> bool:
        """See Caller."""
        return bool(self.station.given_up) or not self.station.answered

    def step(self, now_s: float, wall_ns: int) -> bytes:
        """See Caller."""
        given_up = len(self.station.given_up)
        again = self.station.tick(now_s)
        if again:
            self.said.append("-> the same again: no answer in time")
        for number in self.station.given_up[given_up:]:
            self.said.append(f"!! QN={number} was never answered: given up")
        if now_s < self._due_s or (self.count is not None and self._made >= self.count):
            return again
        self._due_s = now_s + self.interval_s
        self._made += 1
        return again + self._report(now_s, wall_ns)

    def receive(self, octets: bytes, _now_s: float, _wall_ns: int, /) -> bytes:
        """See Caller."""
        answered = len(self.station.answered)
        out = self.station.receive(octets)
        self.said += [f"<- QN={number} is answered (9014)" for number in self.station.answered[answered:]]
        for fields in self.station.requests[self._asked :]:
            self.said.append(f"<- the centre asks CN={fields['CN']} {fields['CP']}")
        self._asked = len(self.station.requests)
        return out

    def sum_up(self) -> str:
        """See Caller."""
        station = self.station
        return f"{self._made} reports made, {len(station.answered)} answered, {len(station.given_up)} given up"

    def _report(self, now_s: float, wall_ns: int) -> bytes:
        suffix = "Rtd" if self.period == "realtime" else "Avg"
        groups = [{"DataTime": china_time(wall_ns).strftime("%Y%m%d%H%M%S")}]
        groups += [{f"{code}-{suffix}": number, f"{code}-Flag": self.flag} for code, number in self.values.items()]
        number = china_time(wall_ns).strftime("%Y%m%d%H%M%S%f")[:17]
        shown = " ".join(f"{code}-{suffix}={value}" for code, value in self.values.items())
        self.said.append(f"-> QN={number} CN={COMMANDS[self.period]} {shown}")
        return self.station.report(number, COMMANDS[self.period], groups, now_s, is_check_wrong=self.is_check_wrong)


@dataclass(slots=True)
class FireCaller:
    """A fire transmitter that reports states of one component, one after another, and then stays on the line."""

    transmitter: FireTransmitter
    place: tuple[int, int, int]
    """System type, system address, component address."""
    states: Sequence[str]
    interval_s: float = 5.0
    component_kind: int = 40
    """40: a smoke detector."""
    text: str = "smoke detector"
    is_sum_wrong: bool = False
    said: list[str] = field(default_factory=list)
    _made: int = 0
    _due_s: float = 0.0
    _heard: int = 0

    @property
    def is_done(self) -> bool:
        """See Caller."""
        return len(self.transmitter.confirmed) + len(self.transmitter.given_up) >= len(self.states)

    @property
    def has_failed(self) -> bool:
        """See Caller."""
        return bool(self.transmitter.given_up) or not self.transmitter.confirmed

    def step(self, now_s: float, wall_ns: int) -> bytes:
        """See Caller."""
        self._set_clock(wall_ns)
        given_up = len(self.transmitter.given_up)
        again = self.transmitter.tick(now_s)
        if again:
            self.said.append("-> the same again: not confirmed in time")
        for serial in self.transmitter.given_up[given_up:]:
            self.said.append(f"!! number {serial} was never confirmed: given up")
        if now_s < self._due_s or self._made >= len(self.states):
            return again
        self._due_s = now_s + self.interval_s
        state = self.states[self._made]
        self._made += 1
        self.said.append(f"-> number {self.transmitter.next_serial}: component {self._place_text()} is {state}")
        return again + self.transmitter.send(self._component(state), now_s, is_sum_wrong=self.is_sum_wrong)

    def receive(self, octets: bytes, now_s: float, wall_ns: int, /) -> bytes:
        """See Caller."""
        self._set_clock(wall_ns)
        confirmed, denied = len(self.transmitter.confirmed), len(self.transmitter.denied)
        out = self.transmitter.receive(octets, now_s)
        self.said += [f"<- number {serial} is confirmed" for serial in self.transmitter.confirmed[confirmed:]]
        self.said += [f"<- number {serial} is denied" for serial in self.transmitter.denied[denied:]]
        for frame in self.transmitter.heard[self._heard :]:
            self.said.append(f"<- the centre asks type {frame.data[0]}")
        self._heard = len(self.transmitter.heard)
        return out

    def sum_up(self) -> str:
        """See Caller."""
        done = self.transmitter
        return f"{self._made} reports made, {len(done.confirmed)} confirmed, {len(done.given_up)} given up"

    def _set_clock(self, wall_ns: int) -> None:
        self.transmitter.clock = china_time(wall_ns).strftime("%Y-%m-%d %H:%M:%S")
        state = self.states[max(0, self._made - 1)]
        self.transmitter.answers[_READ_COMPONENTS] = self._component(state)
        self.transmitter.answers[_READ_TRANSMITTER] = bytes(
            make_transmitter_state(_ALL_IS_WELL, self.transmitter.clock)
        )

    def _component(self, state: str) -> bytes:
        kind, address, component = self.place
        return make_component_state(
            (kind, address), self.component_kind, component, STATES[state], self.text, self.transmitter.clock
        )

    def _place_text(self) -> str:
        return "/".join(map(str, self.place))


def china_time(wall_ns: int) -> dt.datetime:
    """The moment by China's clock, to the microsecond."""
    return dt.datetime.fromtimestamp(wall_ns // 1_000 / 1e6, CHINA)
