"""Configuration of buses that listen: HJ 212-2017 and GB/T 26875.3-2011 stations call us. Pure.

[[bus]]  kind = "hj212" or "gb26875_3"
  [bus.endpoint]  kind = "tcp" (host, port) or "serial" (port, baud_rate, parity, stop_bits)
  [[bus.node]]  what one station, or one part of it, is to the platform
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Annotated, Final, Literal

from contracts.identifiers import Identifier
from contracts.plain_settings import BY_KIND, Limits, plain_settings
from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.gb26875.gb26875_channel import COMPONENT_QUANTITIES, SYSTEM_QUANTITIES, TRANSMITTER_QUANTITIES
from edge_agent.hj212.hj212_factor import DOUBTFUL, FACTORS, is_code, units_like, unknown_quantity
from edge_agent.hj212.hj212_report import FactorReading, Period, Statistic
from edge_agent.settings.serial_port import SerialPortSettings

SILENT_AFTER_S: Final = MappingProxyType(
    {Period.REALTIME: 900.0, Period.MINUTE: 7_200.0, Period.HOUR: 3.0 * 3_600.0, Period.DAY: 49.0 * 3_600.0}
)
"""Two missed reports and some, of the longest interval that is usual. This project's judgement."""

SilenceSeconds = Annotated[float, Limits(ge=1.0, le=864_000.0)]
Byte = Annotated[int, Limits(ge=0, le=255)]
TransmitterAddress = Annotated[int, Limits(ge=0, le=2**48 - 1)]


@plain_settings
class _EndpointSettings:
    frame_pause_s: Annotated[float, Limits(ge=0.05, le=60.0)] = 2.0
    """Bytes that stop in the middle of a frame for so long are no frame any more."""


@plain_settings
class TcpEndpointSettings(_EndpointSettings):
    """A TCP server."""

    kind: Literal["tcp"]
    host: Annotated[str, Limits(min_length=1)] = "127.0.0.1"
    """Address to listen at: "0.0.0.0" for all; the protocols know no encryption, so choose the narrowest."""
    port: Annotated[int, Limits(ge=1, le=65535)]
    connections_max: Annotated[int, Limits(ge=1, le=10_000)] = 64
    """Connections at a time; one more is closed at once."""
    idle_s: Annotated[float, Limits(ge=1.0, le=86_400.0)] = 600.0
    """A connection on which no whole frame came for so long is closed, however many bytes did."""


@plain_settings
class SerialEndpointSettings(_EndpointSettings, SerialPortSettings):
    """A serial port with one station."""

    kind: Literal["serial"]


EndpointSettings = Annotated[TcpEndpointSettings | SerialEndpointSettings, BY_KIND]


@plain_settings
class _ListeningBusSettings:
    bus_id: Identifier
    """Sparkplug device id."""
    endpoint: EndpointSettings
    retries: Annotated[int, Limits(ge=0, le=20)] = 3
    """How often a request of ours is made again (GB/T 26875.3, 6.5.5: 3)."""


@plain_settings
class Hj212NodeSettings:
    """One kind of report of one station; several nodes may share a station."""

    node_id: Identifier
    mn: Annotated[str, Limits(pattern=r"^[0-9A-Za-z_-]{1,24}$")]
    password: Annotated[str, Limits(pattern=r"^[0-9A-Za-z]{1,16}$")]
    period: Period = Period.REALTIME
    statistic: Statistic | None = None
    """Which number of each factor; without it the real-time value, or the mean of the interval."""
    factors: tuple[str, ...] = ()
    """Codes of the standard's annex B; each is a channel of its quantity."""
    other_factors: tuple[str, ...] = ()
    """Any other codes; each is a channel, too: what it brings is kept under the code (`hj212_w99051`), as sent."""
    units: Mapping[str, str] = field(default_factory=dict)
    """By code, where the station sends another unit than the standard prints: `{ w20120 = "mg/L" }`."""
    silent_after_s: SilenceSeconds | None = None
    """No report for so long: the channels are stale. Without it, by the period (`SILENT_AFTER_S`)."""

    @property
    def codes(self) -> tuple[str, ...]:
        """All factors that the node takes."""
        return (*self.factors, *self.other_factors)

    @property
    def patience_s(self) -> float:
        """How long the node may be silent."""
        return self.silent_after_s or SILENT_AFTER_S[self.period]

    @property
    def chosen_statistic(self) -> Statistic:
        """Which number counts."""
        return self.statistic or (Statistic.RTD if self.period is Period.REALTIME else Statistic.AVG)

    def __post_init__(self) -> None:
        taken: dict[str, str] = {}
        if not self.codes:
            raise ValueError("factors: there is none, and nothing in other_factors")
        for code in self.codes:
            quantity = self.quantity_of(code)
            if quantity in taken:
                raise ValueError(f"factors: {code!r} and {taken[quantity]!r} are both {quantity}: use two nodes")
            taken[quantity] = code
        for code, unit in self.units.items():
            self._check_unit(code, unit)

    def quantities(self) -> tuple[str, ...]:
        """Its channels."""
        return tuple(self.quantity_of(code) for code in self.factors)

    def quantity_of(self, code: str) -> str:
        """The quantity of a factor in this node. Raises ValueError with what is allowed."""
        if code in self.other_factors:
            return self._other_quantity(code)
        factor, is_total = FACTORS.get(code), self.chosen_statistic is Statistic.COU
        if code in DOUBTFUL and not is_total:
            if code not in self.units:
                raise ValueError(f'factors: {code!r} needs its unit, which the standard misprints: units.{code} = "…"')
            return DOUBTFUL[code]
        if factor is None:
            raise ValueError(f"factors: {code!r} is none of annex B: other_factors keeps it under its code")
        quantity = factor.total_quantity if is_total else factor.quantity
        if quantity is None:
            raise ValueError(f"factors: {code!r} has no total of a known unit")
        return quantity

    def _other_quantity(self, code: str) -> str:
        if not is_code(code):
            raise ValueError(f"other_factors: {code!r} is no code: 2 to 12 letters and digits")
        if code in FACTORS or code in DOUBTFUL:
            raise ValueError(f"other_factors: {code!r} is of annex B: it belongs into factors")
        return unknown_quantity(code)

    def value_of(self, reading: FactorReading) -> tuple[float | None, Reason]:
        """Value and reason of a reading of one of this node's factors."""
        unit = self.units.get(reading.code)
        if unit is None:
            return reading.value, reading.reason
        return reading.in_unit(unit, self.quantity_of(reading.code))

    def _check_unit(self, code: str, unit: str) -> None:
        if code not in self.factors or self.chosen_statistic is Statistic.COU:
            raise ValueError(f"units: {code!r} is not one of the factors whose unit can be said")
        allowed = units_like(QUANTITIES[self.quantity_of(code)].unit)
        if unit not in allowed:
            raise ValueError(f"units: {code!r} in {unit!r}: not one of {', '.join(allowed)}")


@plain_settings
class Hj212BusSettings(_ListeningBusSettings):
    """An endpoint that HJ 212-2017 stations report to."""

    kind: Literal["hj212"]
    timeout_s: Annotated[int, Limits(ge=1, le=60)] = 5
    """How long a station may take to answer; sent to it as OverTime if `sets_timeouts`."""
    sets_timeouts: bool = False
    """Tell each station timeout_s and retries (CN 1000) when it is first heard of."""
    sets_clock: bool = True
    """Set the clock of a station (CN 1012) that is wrong by more than clock_tolerance_s, or that asks for it."""
    clock_tolerance_s: Annotated[float, Limits(ge=1.0, le=86_400.0)] = 60.0
    realtime_interval_s: Annotated[int, Limits(ge=30, le=3600)] | None = None
    """Tell each station how often to report (CN 1062)."""
    minute_interval_min: Annotated[int, Limits(ge=1, le=60)] | None = None
    """Tell each station the interval of its minute data (CN 1064)."""
    reports_realtime: bool | None = None
    """Tell each station to begin (CN 2011) or to end (CN 2012) its real-time data; without it, leave it as it is."""
    reads_settings: bool = False
    """Ask each station for its clock and intervals (CN 1011, 1061, 1063) when it is first heard of, after they were
    set: what differs from what is wanted here is in the log (`station_setting_differs`)."""
    reads_history: bool = False
    """Ask a station that connects for the minute, hour and day data since the last that came (CN 2051, 2061, 2031)."""
    node: Annotated[tuple[Hj212NodeSettings, ...], Limits(min_length=1)]

    def __post_init__(self) -> None:
        passwords: dict[str, str] = {}
        for node in self.node:
            if passwords.setdefault(node.mn, node.password) != node.password:
                raise ValueError(f"node: the station {node.mn!r} has two different passwords")


@plain_settings
class Gb26875NodeSettings:
    """A transmitter, a fire system behind it, or a component of such a system."""

    node_id: Identifier
    silent_after_s: SilenceSeconds = 900.0
    """Nothing heard of the transmitter for so long: the channels are stale. Three missed reads: our judgement."""
    transmitter: TransmitterAddress
    """Source address of its frames: their six bytes, low byte first, as one number."""
    system_type: Byte | None = None
    system_address: Byte | None = None
    """Which system; both or none."""
    component_address: Annotated[int, Limits(ge=0, le=2**32 - 1)] | None = None
    channels: Annotated[tuple[str, ...], Limits(min_length=1)] = ("fire_alarm",)
    """Quantities."""

    def quantities(self) -> tuple[str, ...]:
        """Its channels."""
        return self.channels

    @property
    def place(self) -> tuple[int, ...]:
        """() for the transmitter itself, (type, address) for a system, and the component's address behind it."""
        found = (self.system_type, self.system_address, self.component_address)
        return tuple(part for part in found if part is not None)

    def __post_init__(self) -> None:
        if (self.system_type is None) != (self.system_address is None):
            raise ValueError("system_type and system_address stand together")
        if self.component_address is not None and self.system_type is None:
            raise ValueError("component_address needs system_type and system_address")
        allowed = (TRANSMITTER_QUANTITIES, (), SYSTEM_QUANTITIES, COMPONENT_QUANTITIES)[len(self.place)]
        for quantity in self.channels:
            if quantity not in allowed:
                raise ValueError(f"channels: {quantity!r} is not one of {', '.join(allowed)}")
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels: {', '.join(self.channels)}: one stands there twice")


@plain_settings
class Gb26875BusSettings(_ListeningBusSettings):
    """An endpoint that GB/T 26875.3-2011 transmitters report to."""

    kind: Literal["gb26875_3"]
    timeout_s: Annotated[float, Limits(ge=0.5, le=10.0)] = 10.0
    """How long an answer may take (6.5.4: not more than 10 s)."""
    centre_address: TransmitterAddress = 0
    """Our address, for requests; answers bear the address that was asked."""
    sets_clock: bool = True
    """Set a transmitter's clock (type 90) when it is first heard of."""
    reads_on_contact: bool = True
    """Ask for all configured states (types 81, 61 and 62) when it is first heard of, and when it is back."""
    read_interval_s: Annotated[float, Limits(ge=0.0, le=86_400.0)] = 300.0
    """Ask for them again so often, which also shows that the transmitter lives; 0: never."""
    duty_check_interval_s: Annotated[float, Limits(ge=60.0, le=86_400.0)] | None = None
    """Check so often that somebody is there (type 91)."""
    duty_check_answer_min: Annotated[int, Limits(ge=1, le=255)] = 5
    """Minutes that the person on duty has to answer."""
    node: Annotated[tuple[Gb26875NodeSettings, ...], Limits(min_length=1)]

    def __post_init__(self) -> None:
        seen: dict[tuple[int, ...], str] = {}
        for node in self.node:
            place = (node.transmitter, *node.place)
            if place in seen:
                raise ValueError(f"node: {node.node_id!r} and {seen[place]!r} are the same place {place}")
            seen[place] = node.node_id
        heads = {node.transmitter for node in self.node if not node.place and "fire_alarm" in node.channels}
        for node in self.node:
            if node.transmitter not in heads:
                raise ValueError(
                    f"node: the transmitter {node.transmitter} needs a node of its own, without system_type and with "
                    "fire_alarm: it takes the alarms of components that no node stands for"
                )


ListeningBusSettings = Hj212BusSettings | Gb26875BusSettings
