"""An endpoint that GB/T 26875.3-2011 transmitters report to: the centre's side of the protocol. Pure.

    SEND (2)                readings; CONFIRM (3) with the same serial number once they are durable; DENY (6) if the
                            check or the data unit is wrong (6.3.2)
    REPLY (5), CONFIRM (3)  end a request of ours; a reply's states hold at the time that it was sent
    DENY (6)                a request of ours is made again (6.5)

Frames of an unknown transmitter are noted and not confirmed: whoever configured it must see that nobody listens.

A fire alarm always finds a node: that of its component, else of its system, else of its transmitter, which the
configuration demands. A node that stands for others is in alarm while it or one of those is; a state of its own
without fire ends it.

A transmitter tells in each frame when it sent it: if that is far from the gateway's time its clock is wrong, and its
times are set right by the difference. A state that is still far from now (the panel behind it has a clock of its own,
or the transmitter was cut off) is placed at now. Both are marked `clock_suspect`: an alarm that is told now is an
alarm of now. Analogue values keep the time of their sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import Reason
from edge_agent.commands.decoded import Rejected
from edge_agent.frames.frame_search import FoundFrame
from edge_agent.gb26875.gb26875_channel import (
    ANALOGUE_TYPES,
    SYSTEM_OPERATION_WORDS,
    TRANSMITTER_OPERATION_WORDS,
    words_of,
)
from edge_agent.gb26875.gb26875_data import (
    Content,
    DataUnit,
    DataUnitError,
    UnitType,
    decode_data_unit,
    decode_time,
    encode_data_unit,
    encode_time,
)
from edge_agent.gb26875.gb26875_frame import Command, Frame, build_search, decode_frame, decode_refused, encode_frame
from edge_agent.gb26875.gb26875_report import Place, PlaceReading, read_data_unit
from edge_agent.lines.listen_configuration import Gb26875BusSettings, Gb26875NodeSettings
from edge_agent.lines.listen_effect import Deliver, Effect, Lane, Moment, Note, Send
from edge_agent.lines.reading_memory import AHEAD_MAX_NS, SANE_SINCE_NS, ReadingMemory, Statement
from edge_agent.lines.request_queue import RequestQueue, StationRequest
from edge_agent.lines.silence_watch import SilenceWatch, WatchedNode

FIRE: Final = "fire_alarm"
SERIAL_NUMBERS: Final = 65_536
NOTED_OCTETS_MAX: Final = 64
READ_COMPONENTS_MAX: Final = 22
READ_ANALOGUES_MAX: Final = 63
_ANALOGUE_QUANTITIES: Final = frozenset(row.quantity for row in ANALOGUE_TYPES.values())
_OPERATION_WORDS: Final[Mapping[int, tuple[str, ...]]] = {
    UnitType.SYSTEM_OPERATION: SYSTEM_OPERATION_WORDS,
    UnitType.TRANSMITTER_OPERATION: TRANSMITTER_OPERATION_WORDS,
}


@dataclass(frozen=True, slots=True)
class NodeChannels:
    """A node with the aliases of its quantities."""

    settings: Gb26875NodeSettings
    alias_of: Mapping[str, int]


@dataclass(slots=True)
class _Transmitter:
    """One source address."""

    address: int
    nodes: dict[Place, NodeChannels] = field(default_factory=dict)
    in_alarm: dict[int, set[Place]] = field(default_factory=dict)
    """By alias of a fire alarm: the places in alarm that it stands for."""
    noted_unknown: set[Place] = field(default_factory=set)
    next_serial_number: int = 0


class Gb26875Endpoint:
    """All transmitters of one bus."""

    def __init__(self, settings: Gb26875BusSettings, nodes: Sequence[NodeChannels]) -> None:
        """Knows the transmitters and has heard of none.

        Args:
            settings: of the bus.
            nodes: its nodes with their channels.
        """
        self.settings = settings
        self.aliases = tuple(alias for node in nodes for alias in node.alias_of.values())
        self.rejected_total = 0
        self.unknown_places_total = 0
        """States of places that no node stands for, other than alarms, and analogue values that no node wants."""
        self._memory = ReadingMemory()
        self._transmitters: dict[int, _Transmitter] = {}
        for node in nodes:
            address = node.settings.transmitter
            self._transmitters.setdefault(address, _Transmitter(address)).nodes[node.settings.place] = node
        self._watch = SilenceWatch(
            [
                WatchedNode(node.settings.node_id, tuple(node.alias_of.values()), node.settings.silent_after_s)
                for node in nodes
            ]
        )

    def begin(self) -> Gb26875Conversation:
        """A new connection."""
        return Gb26875Conversation(self)

    def tick(self, now: Moment) -> list[Effect]:
        """Silent nodes say so."""
        effects = self._watch.tick(now)
        for effect in effects:
            if isinstance(effect, Deliver):
                self._memory.forget(alias for alias, *_ in effect.readings)
        return effects

    def find(self, address: int) -> _Transmitter | None:
        """The transmitter with this address."""
        return self._transmitters.get(address)

    def refuse(self, event: str, detail: str) -> Note:
        """Counts what is refused."""
        self.rejected_total += 1
        return Note(event, f"{detail} total={self.rejected_total}")

    def heard(self, transmitter: _Transmitter, now: Moment) -> list[Effect]:
        """All its nodes live: it watches over them."""
        return [
            effect for node in transmitter.nodes.values() for effect in self._watch.heard(node.settings.node_id, now)
        ]

    def report(self, transmitter: _Transmitter, frame: Frame, unit: DataUnit, now: Moment) -> list[Effect]:
        """What a data unit brings; its readings are the last effect."""
        notes: list[Effect] = list(_note_operations(transmitter, unit))
        statements: list[Statement] = []
        unknown: set[Place] = set()
        for reading in read_data_unit(unit):
            alias = _alias_for(transmitter, reading)
            if alias is None:
                if reading.place not in transmitter.nodes or reading.quantity in _ANALOGUE_QUANTITIES:
                    unknown.add(reading.place)
                continue
            value = _alarm_value(transmitter, alias, reading) if reading.quantity == FIRE else reading.value
            statements.append(_state(alias, value, reading, frame, now))
        notes += self._note_unknown(transmitter, unknown)
        readings = tuple(self._memory.news(statements, now.wall_ns))
        alarms = {one.alias for one in statements if one.value} & set(_fire_aliases(transmitter))
        is_urgent = any(reading[0] in alarms for reading in readings)
        if is_urgent:
            notes.append(Note("fire_alarm", f"transmitter={transmitter.address} {_texts(unit)}".rstrip()))
        return [*notes, Deliver(readings, Lane.URGENT if is_urgent else Lane.LIVE)]

    def _note_unknown(self, transmitter: _Transmitter, places: set[Place]) -> list[Effect]:
        self.unknown_places_total += len(places)
        fresh = places - transmitter.noted_unknown
        if not fresh:
            return []
        transmitter.noted_unknown |= fresh
        shown = ",".join("/".join(map(str, place)) for place in sorted(fresh))
        return [Note("unknown_places", f"transmitter={transmitter.address} places={shown}")]


class Gb26875Conversation:
    """One connection."""

    def __init__(self, endpoint: Gb26875Endpoint) -> None:
        self._endpoint = endpoint
        self._search = build_search()
        self.frames_total = 0
        self._queues: dict[int, RequestQueue] = {}
        """By transmitter that was heard on this connection."""
        self._our_address: dict[int, int] = {}
        self._read_due_s: dict[int, float] = {}
        self._duty_due_s: dict[int, float] = {}

    def receive(self, octets: bytes, now: Moment) -> list[Effect]:
        """Takes what came."""
        return self._take(self._search.feed(octets), now)

    def pause(self, now: Moment) -> list[Effect]:
        """A frame that has begun will not be ended."""
        return self._take(self._search.finish(), now) if self._search.is_in_frame else []

    def tick(self, now: Moment) -> list[Effect]:
        """Requests that are due, waited for too long, or given up."""
        effects: list[Effect] = []
        for address, queue in self._queues.items():
            transmitter = self._endpoint.find(address)
            if transmitter is not None:
                self._ask_what_is_due(transmitter, now)
            effects += queue.tick(now)
        return effects

    def _take(self, found_here: Iterable[FoundFrame | Rejected], now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        for found in found_here:
            if isinstance(found, Rejected):
                effects += self._take_reject(found, now)
            else:
                effects += self._take_frame(decode_frame(found.octets), now)
        return effects

    def _take_reject(self, reject: Rejected, now: Moment) -> list[Effect]:
        """6.3.2: what fails the check is thrown away and denied; only a frame with a whole head can be."""
        shown = reject.octets[:NOTED_OCTETS_MAX].hex()
        detail = f"reason={reject.reason.wire_name} detail={reject.detail!r} octets={shown}"
        note = self._endpoint.refuse("frame_rejected", detail)
        frame = decode_refused(reject.octets)
        if frame is None or frame.command in {Command.CONFIRM, Command.DENY}:
            return [note]
        if self._endpoint.find(frame.source) is None:
            return [note]
        return [note, Send(_answer(frame, Command.DENY, now))]

    def _take_frame(self, frame: Frame, now: Moment) -> list[Effect]:
        transmitter = self._endpoint.find(frame.source)
        if transmitter is None:
            return [self._endpoint.refuse("unknown_transmitter", f"source={frame.source} command={frame.command}")]
        self.frames_total += 1
        effects = self._endpoint.heard(transmitter, now)
        if frame.source not in self._queues or effects:
            self._greet(transmitter, frame, now)
        effects += self._obey(transmitter, frame, now)
        return effects + self._queues[frame.source].tick(now)

    def _obey(self, transmitter: _Transmitter, frame: Frame, now: Moment) -> list[Effect]:
        queue = self._queues[transmitter.address]
        key = str(frame.serial_number)
        match frame.command:
            case Command.SEND:
                return self._take_data(transmitter, frame, now, is_sent=True)
            case Command.REPLY:
                queue.answered(key)
                return self._take_data(transmitter, frame, now, is_sent=False) if frame.data_unit else []
            case Command.CONFIRM:
                queue.answered(key)
                return []
            case Command.DENY:
                return queue.refused(key, now)
            case _:
                detail = f"transmitter={transmitter.address} command={frame.command}"
                return [Note("command_passed_over", detail, is_warning=False)]

    def _take_data(self, transmitter: _Transmitter, frame: Frame, now: Moment, *, is_sent: bool) -> list[Effect]:
        try:
            unit = decode_data_unit(frame.data_unit)
        except DataUnitError as error:
            note = self._endpoint.refuse("data_unit_rejected", f"transmitter={transmitter.address} detail={error}")
            return [note, Send(_answer(frame, Command.DENY, now))] if is_sent else [note]
        *notes, brought = self._endpoint.report(transmitter, frame, unit, now)
        assert isinstance(brought, Deliver)
        receipt = _answer(frame, Command.CONFIRM, now) if is_sent else b""
        if brought.readings or receipt:
            notes.append(Deliver(brought.readings, brought.lane, receipt))
        return notes

    def _greet(self, transmitter: _Transmitter, frame: Frame, now: Moment) -> None:
        """A transmitter is met, or is back: its clock is set, and it is asked how everything stands."""
        settings, address = self._endpoint.settings, transmitter.address
        self._queues.setdefault(address, RequestQueue(settings.timeout_s, settings.retries))
        self._our_address[address] = frame.destination or settings.centre_address
        if settings.sets_clock and now.wall_ns >= SANE_SINCE_NS:
            unit = encode_data_unit(UnitType.SET_TRANSMITTER_CLOCK, [{"time_ns": now.wall_ns}])
            self._ask(transmitter, Command.CONTROL, unit, now)
        if settings.reads_on_contact:
            self._ask_states(transmitter, now)

    def _ask_what_is_due(self, transmitter: _Transmitter, now: Moment) -> None:
        settings, address = self._endpoint.settings, transmitter.address
        if _take_turn(self._read_due_s, address, settings.read_interval_s, now) and self._queues[address].is_idle:
            self._ask_states(transmitter, now)
        if _take_turn(self._duty_due_s, address, settings.duty_check_interval_s, now):
            unit = encode_data_unit(UnitType.DUTY_CHECK, [{"answer_min": settings.duty_check_answer_min}])
            self._ask(transmitter, Command.REQUEST, unit, now)

    def _ask_states(self, transmitter: _Transmitter, now: Moment) -> None:
        for unit in _state_requests(transmitter.nodes):
            self._ask(transmitter, Command.REQUEST, unit, now)

    def _ask(self, transmitter: _Transmitter, command: Command, unit: bytes, now: Moment) -> None:
        serial_number = transmitter.next_serial_number
        transmitter.next_serial_number = (serial_number + 1) % SERIAL_NUMBERS
        frame = Frame(
            serial_number,
            command,
            unit,
            source=self._our_address[transmitter.address],
            destination=transmitter.address,
            sent_at=encode_time(now.wall_ns),
        )
        request = StationRequest(str(serial_number), encode_frame(frame), f"type-{unit[0]}")
        self._queues[transmitter.address].ask(request)


def _take_turn(due_s: dict[int, float], address: int, interval_s: float | None, now: Moment) -> bool:
    """Whether a turn has come; the first comes an interval after the transmitter was met."""
    if not interval_s:
        return False
    if now.monotonic_s < due_s.setdefault(address, now.monotonic_s + interval_s):
        return False
    due_s[address] = now.monotonic_s + interval_s
    return True


def _state_requests(nodes: Mapping[Place, NodeChannels]) -> list[bytes]:
    """The data units that ask for all that the nodes want to know."""
    units = [encode_data_unit(UnitType.READ_TRANSMITTER_STATE, [{"reserved": 0}])]
    systems = [place for place in nodes if len(place) == 2]  # (type, address)
    components = [(place, node) for place, node in nodes.items() if len(place) == 3]
    states = [place for place, node in components if set(node.alias_of) - _ANALOGUE_QUANTITIES]
    analogues = [place for place, node in components if set(node.alias_of) & _ANALOGUE_QUANTITIES]
    for kind, places, count_max in (
        (UnitType.READ_SYSTEM_STATE, systems, 102),
        (UnitType.READ_COMPONENT_STATE, states, READ_COMPONENTS_MAX),
        (UnitType.READ_ANALOGUE_VALUE, analogues, READ_ANALOGUES_MAX),
    ):
        units += [
            encode_data_unit(kind, [_place_object(place) for place in places[at : at + count_max]])
            for at in range(0, len(places), count_max)
        ]
    return units


def _place_object(place: Place) -> Mapping[str, Content]:
    return dict(zip(("system_type", "system_address", "component_address"), place, strict=False))


def _answer(to: Frame, command: Command, now: Moment) -> bytes:
    """CONFIRM or DENY: without a data unit, with the serial number and version of what it answers."""
    return encode_frame(
        Frame(
            to.serial_number,
            command,
            source=to.destination,
            destination=to.source,
            sent_at=encode_time(now.wall_ns),
            main_version=to.main_version,
            user_version=to.user_version,
        )
    )


def _alias_for(transmitter: _Transmitter, reading: PlaceReading) -> int | None:
    """The channel that a reading belongs to; an alarm goes up to the node that stands for its place."""
    place = reading.place
    node = transmitter.nodes.get(place)
    if node is not None and reading.quantity in node.alias_of:
        return node.alias_of[reading.quantity]
    if reading.quantity != FIRE:
        return None
    for end in (2, 0):
        above = transmitter.nodes.get(place[:end]) if end < len(place) else None
        if above is not None and FIRE in above.alias_of:
            return above.alias_of[FIRE]
    return None


def _alarm_value(transmitter: _Transmitter, alias: int, reading: PlaceReading) -> float:
    """The alarm of a node: its own, and those of the places that it stands for."""
    places = transmitter.in_alarm.setdefault(alias, set())
    node = transmitter.nodes.get(reading.place)
    is_own = node is not None and node.alias_of.get(FIRE) == alias
    if reading.value and (is_own or reading.reason is Reason.OK):
        places.add(reading.place)
    elif is_own:
        places.clear()
    else:
        places.discard(reading.place)
    return float(bool(places))


def _fire_aliases(transmitter: _Transmitter) -> list[int]:
    return [node.alias_of[FIRE] for node in transmitter.nodes.values() if FIRE in node.alias_of]


def _state(alias: int, value: float, reading: PlaceReading, frame: Frame, now: Moment) -> Statement:
    sent_ns = decode_time(frame.sent_at)
    claimed_ns = reading.time_ns
    if claimed_ns is None or (frame.command == Command.REPLY and reading.quantity not in _ANALOGUE_QUANTITIES):
        claimed_ns = sent_ns
    clock_error_ns = _clock_error_ns(claimed_ns, sent_ns, reading.quantity not in _ANALOGUE_QUANTITIES, now.wall_ns)
    reason = Reason.OK if value and reading.quantity == FIRE and not reading.value else reading.reason
    return Statement(alias, value, reason, claimed_ns, clock_error_ns, reading.place)


def _clock_error_ns(claimed_ns: int | None, sent_ns: int | None, is_state: bool, wall_ns: int) -> int:
    """What to add to a claimed time; 0 where it can be believed, or where the gateway knows no better."""
    if claimed_ns is None or wall_ns < SANE_SINCE_NS:
        return 0
    error_ns = 0 if sent_ns is None or abs(wall_ns - sent_ns) <= AHEAD_MAX_NS else wall_ns - sent_ns
    if is_state and abs(wall_ns - claimed_ns - error_ns) > AHEAD_MAX_NS:
        error_ns = wall_ns - claimed_ns
    return error_ns // NANOSECONDS_PER_MILLISECOND * NANOSECONDS_PER_MILLISECOND


def _note_operations(transmitter: _Transmitter, unit: DataUnit) -> Iterable[Note]:
    words = _OPERATION_WORDS.get(unit.type)
    if words is None:
        return
    for one in unit.objects:
        named = ",".join(words_of(int(one["operation"] or 0), words))
        place = "/".join(str(one[name]) for name in ("system_type", "system_address") if name in one)
        detail = f"transmitter={transmitter.address} system={place or '-'} operation={named} by={one['operator']}"
        yield Note("fire_panel_operated", detail, is_warning=False)


def _texts(unit: DataUnit) -> str:
    texts = [str(one["text"]) for one in unit.objects if one.get("text")]
    return f"text={', '.join(texts)!r}" if texts else ""
