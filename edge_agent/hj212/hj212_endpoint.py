"""An endpoint that HJ 212-2017 stations report to: who may speak, what it means, what is answered. Pure.

    frame → known station (MN) with the right password (PW)? → packets put together → by command:
        report (2011 2031 2051 2061)   readings; 9014 once they are durable, if the station waits for an answer
        1013                           9013, and the clock is set
        1011 1061 1063                 its clock and intervals, which we asked for: noted, and compared with ours
        9011 9012 9013                 an answer to a request of ours
        anything else                  noted; 9014, if the station waits for an answer

A frame that is refused (unknown station, wrong password, corrupt) is noted and not answered: the station keeps its
data and tries again. Packets of an unfinished message are answered at once, since a station may send the next only
then; they wait in memory for at most `PATIENCE_S`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from edge_agent.commands.decoded import Rejected
from edge_agent.frames.frame_search import FoundFrame
from edge_agent.hj212.hj212_frame import build_search, segment_of
from edge_agent.hj212.hj212_packets import PacketAssembly
from edge_agent.hj212.hj212_report import PERIODS, Period, Report, read_report
from edge_agent.hj212.hj212_request import (
    ACCEPTED,
    ANSWERS,
    BEGIN_REALTIME,
    CLOCK_WANTED,
    DATA_ANSWER,
    DONE,
    END_REALTIME,
    NOTICE_ANSWER,
    READ_SETTINGS,
    REQUEST_ANSWER,
    SET_CLOCK,
    SET_MINUTE_INTERVAL,
    SET_REALTIME_INTERVAL,
    SET_TIMEOUTS,
    clock_parameters,
    encode_answer,
    encode_request,
    history_parameters,
)
from edge_agent.hj212.hj212_segment import Segment, SegmentError, format_time, parse_segment, parse_time
from edge_agent.lines.listen_configuration import Hj212BusSettings, Hj212NodeSettings
from edge_agent.lines.listen_effect import Deliver, Effect, Lane, Moment, Note, Send
from edge_agent.lines.reading_memory import SANE_SINCE_NS, ReadingMemory, Statement
from edge_agent.lines.request_queue import RequestQueue, StationRequest
from edge_agent.lines.silence_watch import SilenceWatch, WatchedNode

NOTED_OCTETS_MAX: Final = 64
NOTED_FACTORS_MAX: Final = 256
"""A station with more unknown factors than this is not noted any more, only counted."""
WORK_PATIENCE_S: Final = 60.0
"""How long a station may work on a request that it has accepted. This project's judgement."""
HISTORY_NS: Final = 86_400 * NANOSECONDS_PER_SECOND
"""How far back a station is asked of which nothing is known: a day."""
CLOCK_AGAIN_S: Final = 3600.0
"""A clock that stays wrong is set again after this time, not with every report."""


@dataclass(frozen=True, slots=True)
class NodeChannels:
    """A node with the aliases of its factors."""

    settings: Hj212NodeSettings
    alias_of: Mapping[str, int]
    """By code."""


@dataclass(slots=True)
class _Station:
    """One MN."""

    password: str
    nodes: list[NodeChannels] = field(default_factory=list)
    passed_over: set[str] = field(default_factory=set)
    """Pairs and factors that no node takes, and that were noted already."""
    clock_set_s: float | None = None
    is_greeted: bool = False
    """Whether it was told its intervals."""


class Hj212Endpoint:
    """All stations of one bus."""

    def __init__(self, settings: Hj212BusSettings, nodes: list[NodeChannels]) -> None:
        """Knows the stations and has heard of none.

        Args:
            settings: of the bus.
            nodes: its nodes with their channels.
        """
        self.settings = settings
        self.aliases = tuple(alias for node in nodes for alias in node.alias_of.values())
        self.memory = ReadingMemory()
        self.rejected_total = 0
        """Frames and other bytes that were refused."""
        self.passed_over_total = 0
        """Pairs of reports that no node takes: unknown factors, and known ones that nobody configured."""
        self._last_number_ns = 0
        self._stations: dict[str, _Station] = {}
        self._watch = SilenceWatch(
            [
                WatchedNode(node.settings.node_id, tuple(node.alias_of.values()), node.settings.patience_s)
                for node in nodes
            ]
        )
        for node in nodes:
            self._stations.setdefault(node.settings.mn, _Station(node.settings.password)).nodes.append(node)

    def begin(self) -> Hj212Conversation:
        """A new connection."""
        return Hj212Conversation(self)

    def tick(self, now: Moment) -> list[Effect]:
        """Silent nodes say so."""
        effects = self._watch.tick(now)
        for effect in effects:
            if isinstance(effect, Deliver):
                self.memory.forget(alias for alias, *_ in effect.readings)
        return effects

    def find_station(self, segment: Segment) -> _Station | Note:
        """The station that a segment is from, or why it is refused."""
        station = self._stations.get(segment.device)
        if station is None:
            return self.refuse("unknown_station", f"mn={segment.device!r}")
        if segment.fields.get("PW") != station.password:
            return self.refuse("wrong_password", f"mn={segment.device!r}")
        return station

    def refuse(self, event: str, detail: str) -> Note:
        """Counts what is refused."""
        self.rejected_total += 1
        return Note(event, f"{detail} total={self.rejected_total}")

    def heard(self, station: _Station, segment: Segment, now: Moment) -> list[Effect]:
        """The nodes live that want this kind of report; a station that only keeps its connection up brings no value."""
        period = PERIODS.get(segment.command)
        return [
            effect
            for node in station.nodes
            if node.settings.period is period
            for effect in self._watch.heard(node.settings.node_id, now)
        ]

    def report(self, station: _Station, segment: Segment, now: Moment) -> tuple[list[Effect], Deliver]:
        """What a report brings: notes, and its readings."""
        period = PERIODS[segment.command]
        report = read_report(segment.groups(), segment.fields.get("ST", ""))
        statements = _statements(station, report, period)
        readings = tuple(self.memory.news(statements, now.wall_ns))
        lane = Lane.LIVE if period is Period.REALTIME else Lane.HISTORY
        return self._note_passed_over(station, segment, report), Deliver(readings, lane)

    def number(self, now: Moment) -> str:
        """A request number that was not used before: the time, to the millisecond."""
        self._last_number_ns = max(now.wall_ns, self._last_number_ns + NANOSECONDS_PER_MILLISECOND)
        return format_time(self._last_number_ns, has_milliseconds=True)

    def _note_passed_over(self, station: _Station, segment: Segment, report: Report) -> list[Effect]:
        """Says once of each factor that nobody takes it, and counts it always."""
        wanted = {code for node in station.nodes for code in node.alias_of}
        kept = {one.code for one in report.under_code if one.code in wanted}
        unknown = [key for key in report.unknown if key.rpartition("-")[0] not in kept]
        passed_over = [*unknown, *(one.code for one in report.readings if one.code not in wanted)]
        self.passed_over_total += len(passed_over)
        fresh = sorted(set(passed_over) - station.passed_over)
        if not fresh or len(station.passed_over) >= NOTED_FACTORS_MAX:
            return []
        station.passed_over.update(fresh)
        detail = f"mn={segment.device} factors={','.join(fresh)!r} total={self.passed_over_total}"
        return [Note("factors_passed_over", detail)]


class Hj212Conversation:
    """One connection."""

    def __init__(self, endpoint: Hj212Endpoint) -> None:
        self._endpoint = endpoint
        self._search = build_search()
        self._packets = PacketAssembly()
        self.frames_total = 0
        self._requests = RequestQueue(endpoint.settings.timeout_s, endpoint.settings.retries)
        self._met: set[str] = set()
        """Stations that were heard on this connection."""

    def receive(self, octets: bytes, now: Moment) -> list[Effect]:
        """Takes what came."""
        return self._take(self._search.feed(octets), now)

    def pause(self, now: Moment) -> list[Effect]:
        """A frame that has begun will not be ended."""
        return self._take(self._search.finish(), now) if self._search.is_in_frame else []

    def tick(self, now: Moment) -> list[Effect]:
        """Requests and packets that waited for too long."""
        lost: list[Effect] = [Note("message_incomplete", detail) for detail in self._packets.tick(now.monotonic_s)]
        return lost + self._requests.tick(now)

    def _take(self, found_here: list[FoundFrame | Rejected], now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        for found in found_here:
            if isinstance(found, Rejected):
                shown = found.octets[:NOTED_OCTETS_MAX]
                detail = f"reason={found.reason.wire_name} detail={found.detail!r} octets={shown!r}"
                effects.append(self._endpoint.refuse("frame_rejected", detail))
                continue
            try:
                segment = parse_segment(segment_of(found.octets))
            except SegmentError as error:
                effects.append(self._endpoint.refuse("segment_rejected", f"detail={str(error)!r}"))
                continue
            effects += self._take_segment(segment, now)
        return effects

    def _take_segment(self, segment: Segment, now: Moment) -> list[Effect]:
        station = self._endpoint.find_station(segment)
        if isinstance(station, Note):
            return [station]
        self.frames_total += 1
        effects = self._endpoint.heard(station, segment, now)
        if segment.command in ANSWERS:
            effects += self._take_answer(segment, now)
        elif segment.command == CLOCK_WANTED:
            effects += self._take_clock_notice(station, segment, now)
        else:
            effects += self._take_data(station, segment, now)
        self._greet(station, segment, now)
        return effects + self._requests.tick(now)

    def _take_data(self, station: _Station, segment: Segment, now: Moment) -> list[Effect]:
        receipt = encode_answer(DATA_ANSWER, segment) if segment.wants_answer else b""
        message, lost = self._packets.add(segment, now.monotonic_s)
        effects: list[Effect] = [Note("message_incomplete", detail) for detail in lost]
        if message is None:
            return effects + ([Send(receipt)] if receipt else [])
        if message.command in READ_SETTINGS:
            return effects + self._take_settings(message, now) + ([Send(receipt)] if receipt else [])
        if message.command not in PERIODS:
            effects.append(Note("command_passed_over", f"mn={message.device} cn={message.command}", is_warning=False))
            return effects + ([Send(receipt)] if receipt else [])
        notes, brought = self._endpoint.report(station, message, now)
        if brought.readings or receipt:
            notes.append(Deliver(brought.readings, brought.lane, receipt))
        return effects + notes

    def _take_settings(self, segment: Segment, now: Moment) -> list[Effect]:
        """A station's clock or interval. One that is not as it should be is said; the clock is set, if that is ours."""
        said = {key: content for group in segment.groups() for key, content in group}
        settings = self._endpoint.settings
        wanted = {"RtdInterval": settings.realtime_interval_s, "MinInterval": settings.minute_interval_min}
        differs = [
            f"{name}={said[name]!r} wanted={value}"
            for name, value in wanted.items()
            if value is not None and name in said and said[name] != str(value)
        ]
        clock_ns = parse_time(said.get("SystemTime", ""))
        if clock_ns is not None and self._is_off(clock_ns, now):
            differs.append(f"SystemTime={said['SystemTime']!r} off_s={(clock_ns - now.wall_ns) / 1e9:.0f}")
            if settings.sets_clock:
                self._ask(segment, SET_CLOCK, clock_parameters(now.wall_ns), now)
        shown = f"mn={segment.device} cn={segment.command} says={segment.parameters!r}"
        if differs:
            return [Note("station_setting_differs", f"{shown} {' '.join(differs)}")]
        return [Note("station_setting", shown, is_warning=False)]

    def _take_clock_notice(self, station: _Station, segment: Segment, now: Moment) -> list[Effect]:
        if self._endpoint.settings.sets_clock:
            station.clock_set_s = now.monotonic_s
            self._ask(segment, SET_CLOCK, clock_parameters(now.wall_ns), now)
        return [Send(encode_answer(NOTICE_ANSWER, segment))] if segment.wants_answer else []

    def _take_answer(self, segment: Segment, now: Moment) -> list[Effect]:
        number = segment.fields.get("QN", "")
        said = {key: content for group in segment.groups() for key, content in group}
        is_accepted = segment.command == REQUEST_ANSWER and said.get("QnRtn") == ACCEPTED
        if is_accepted and not self._is_ended_by_acceptance():
            self._requests.extend(number, now, WORK_PATIENCE_S)
            return []
        ended = self._requests.answered(number)
        if ended is None:
            detail = f"mn={segment.device} cn={segment.command} qn={number}"
            return [Note("answer_unasked", detail, is_warning=False)]
        is_done = is_accepted or segment.command == NOTICE_ANSWER or said.get("ExeRtn") == DONE
        event = "request_done" if is_done else "request_refused"
        detail = f"mn={segment.device} request={ended.what} answer={segment.parameters!r}"
        return [Note(event, detail, is_warning=not is_done)]

    def _is_ended_by_acceptance(self) -> bool:
        return self._requests.asked is not None and self._requests.asked.what == _request_name(BEGIN_REALTIME)

    def _greet(self, station: _Station, segment: Segment, now: Moment) -> None:
        """Asks what is to be asked of this station now."""
        settings = self._endpoint.settings
        if not station.is_greeted:
            station.is_greeted = True
            if settings.sets_timeouts:
                self._ask(segment, SET_TIMEOUTS, {"OverTime": settings.timeout_s, "ReCount": settings.retries}, now)
            if settings.realtime_interval_s is not None:
                self._ask(segment, SET_REALTIME_INTERVAL, {"RtdInterval": settings.realtime_interval_s}, now)
            if settings.minute_interval_min is not None:
                self._ask(segment, SET_MINUTE_INTERVAL, {"MinInterval": settings.minute_interval_min}, now)
            if settings.reports_realtime is not None:
                self._ask(segment, BEGIN_REALTIME if settings.reports_realtime else END_REALTIME, {}, now)
            for command in READ_SETTINGS if settings.reads_settings else ():
                self._ask(segment, command, {}, now)
        if segment.device not in self._met:
            self._met.add(segment.device)
            if settings.reads_history:
                self._ask_history(station, segment, now)
        if settings.sets_clock and self._is_clock_wrong(station, segment, now):
            station.clock_set_s = now.monotonic_s
            self._ask(segment, SET_CLOCK, clock_parameters(now.wall_ns), now)

    def _ask_history(self, station: _Station, segment: Segment, now: Moment) -> None:
        """Asks for what may have been missed while the station was not connected."""
        for command, period in PERIODS.items():
            nodes = [node for node in station.nodes if node.settings.period is period]
            if period is Period.REALTIME or not nodes or now.wall_ns < SANE_SINCE_NS:
                continue
            newest_ns = self._endpoint.memory.newest_ns(alias for node in nodes for alias in node.alias_of.values())
            begin_ns = now.wall_ns - HISTORY_NS if newest_ns is None else newest_ns
            self._ask(segment, command, history_parameters(begin_ns, now.wall_ns), now)

    def _is_clock_wrong(self, station: _Station, segment: Segment, now: Moment) -> bool:
        """By the number of what the station itself began; never while our own clock was not set."""
        if segment.command in ANSWERS:
            return False
        if station.clock_set_s is not None and now.monotonic_s - station.clock_set_s < CLOCK_AGAIN_S:
            return False
        said_ns = parse_time(segment.fields.get("QN", ""))
        return said_ns is not None and self._is_off(said_ns, now)

    def _is_off(self, said_ns: int, now: Moment) -> bool:
        """Whether a station's time is further from ours than it may be; no time is, while our own clock was not set."""
        tolerance_ns = self._endpoint.settings.clock_tolerance_s * NANOSECONDS_PER_SECOND
        return now.wall_ns >= SANE_SINCE_NS and abs(said_ns - now.wall_ns) > tolerance_ns

    def _ask(self, to: Segment, command: str, parameters: dict[str, object], now: Moment) -> None:
        number = self._endpoint.number(now)
        octets = encode_request(
            number,
            command,
            parameters,
            system=to.fields.get("ST", ""),
            password=to.fields.get("PW", ""),
            device=to.device,
        )
        self._requests.ask(StationRequest(number, octets, _request_name(command)))


def _request_name(command: str) -> str:
    return f"cn-{command}"


def _statements(station: _Station, report: Report, period: Period) -> list[Statement]:
    """What the report says of channels that somebody wants."""
    return [
        Statement(node.alias_of[reading.code], *node.settings.value_of(reading), report.data_time_ns)
        for node in station.nodes
        if node.settings.period is period
        for reading in (*report.readings, *report.under_code)
        if reading.code in node.alias_of and reading.statistic is node.settings.chosen_statistic
    ]
