"""The Sparkplug host's state of all edge nodes, as a pure state machine (Sparkplug 3.0, chapters 5 and 6).

`HostSession.step` takes one received message and returns effects: records to store, commands to publish, channels that
nobody speaks for any more, bad input to quarantine. It knows births, aliases, bdSeq and seq of each edge node.

What cannot be understood without a birth is refused unacknowledged, a rebirth is asked for (with back-off), and the
agent sends the batch again. A message that arrives before its turn by `seq` waits for the missing one, at most the
reorder timeout, after which `tick` asks for a rebirth and takes what waits. A batch of our own agents never waits for
that: it is understood by itself, its identity makes order irrelevant. See docs/adr/0008-reordering.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from contracts import uplink
from contracts.errors import ContractError, PayloadError
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from contracts.quality import Level, Reason, level_of, reason_of_sparkplug
from contracts.query import AgentLosses
from contracts.ranges import BATCH_MAX, RangeSet
from contracts.record import UInt32s
from contracts.sparkplug.datatype import INTEGER_TYPES, REAL_TYPES, DataType, from_wire
from contracts.sparkplug.payload import (
    MAX_ELEMENTS,
    MAX_PAYLOAD_BYTES,
    Metric,
    Payload,
    Property,
    decode_payload,
    encode_payload,
)
from contracts.sparkplug.topic import MessageType, StateTopic, Topic, parse_topic
from contracts.uplink import BatchIdentity
from contracts.waveform import channel_metric_name
from contracts.waveform_message import Waveform
from stream_processor.agent_losses import read_losses
from stream_processor.alias_table import AliasTable
from stream_processor.batch_identity import read_batch_identity
from stream_processor.batch_record import PlainValues, Row, build_record
from stream_processor.effects import BatchReceived, CommandDue, Effect
from stream_processor.fleet_index import UNKNOWN_GATEWAY, FleetIndex, Unresolved
from stream_processor.pipeline.quality_control import CLOCK_TOLERANCE_NS
from stream_processor.ranges_payload import encode_ranges_payload
from stream_processor.sequence_window import SEQ_MODULUS, SequenceWindow
from stream_processor.value_run import ValueRun, split_payload
from stream_processor.waveform_metric import ARRAY_TYPES, read_waveform

REBIRTH: Final = "Node Control/Rebirth"
BD_SEQ: Final = "bdSeq"
REORDER_TIMEOUT_NS: Final = 2 * NANOSECONDS_PER_SECOND
REBIRTH_BACK_OFF_FIRST_NS: Final = 2 * NANOSECONDS_PER_SECOND
REBIRTH_BACK_OFF_MAX_NS: Final = 120 * NANOSECONDS_PER_SECOND
TIME_MAX_MS: Final = 7_258_118_400_000
"""2200-01-01: later times do not fit nanoseconds in 64 bits everywhere."""
TIMESTAMP_FROM_FUTURE: Final = "timestamp_from_future"
CLOCK_REPORT_INTERVAL_NS: Final = 3_600 * NANOSECONDS_PER_SECOND
"""How often a gateway whose clock runs ahead is put into quarantine's list: its readings are kept, see `_row`."""
_DATA: Final = frozenset({MessageType.NDATA, MessageType.DDATA})
_parse_topic = lru_cache(maxsize=65_536)(parse_topic)
"""Topics are few, and their messages many."""
VALUE_TYPES: Final = INTEGER_TYPES | REAL_TYPES | {DataType.BOOLEAN}


# --- state -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class BornMetric:
    """What a birth said of one alias, and the channel that it is."""

    name: str
    datatype: DataType
    channel: int | Unresolved
    """channel_id, or why there is none."""


@dataclass(slots=True)
class Device:
    """What the host knows of one Sparkplug device of an edge node: a bus, if the edge node is ours."""

    is_online: bool = False
    changed_ns: int = 0
    """When it was born or died, by the clock that Sparkplug says: ours for a birth and a gateway's death, the edge
    node's own for a DDEATH."""
    names: set[str] = field(default_factory=set)
    """Metric names of its last DBIRTH."""


@dataclass(slots=True)
class EdgeNode:
    """What the host knows of one edge node."""

    district_id: str
    gateway_id: str
    is_online: bool = False
    changed_ns: int = 0
    """Our clock when it was born or died."""
    bd_seq: int | None = None
    window: SequenceWindow[_Message] = field(default_factory=SequenceWindow)
    epoch: int | None = None
    """None until a birth with `Uplink/Epoch`: a third-party edge node never sends one."""
    last_payload_ns: int | None = None
    losses: AgentLosses | None = None
    """What the agent says that it had to give up."""
    aliases: dict[int, BornMetric] = field(default_factory=dict)
    names: dict[str, BornMetric] = field(default_factory=dict)
    datatypes: dict[int, DataType] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    lanes: dict[DataType, AliasTable] = field(default_factory=dict)
    """Channels by alias, for the data types of the plain values that were seen."""
    future_readings_total: int = 0
    clock_reported_ns: int | None = None
    rebirth_asked_ns: int | None = None
    rebirth_back_off_ns: int = REBIRTH_BACK_OFF_FIRST_NS

    def forget_births(self) -> None:
        """An NBIRTH replaces all that births said before (tck-id-payloads-nbirth…, aliases are per birth)."""
        self.aliases.clear()
        self.names.clear()
        self.datatypes.clear()
        self.lanes.clear()
        self.devices.clear()

    def channels_of(self, run: ValueRun) -> UInt32s:
        """The channels of plain metrics. Raises KeyError if one is none of ours, or its birth named another type."""
        datatype = run.shape.datatype
        lane = self.lanes.get(datatype)
        if lane is None:
            lane = self.lanes[datatype] = AliasTable(
                {
                    alias: born.channel
                    for alias, born in self.aliases.items()
                    if born.datatype is datatype and not isinstance(born.channel, Unresolved)
                }
            )
        return lane.look_up(run.aliases)

    def go_offline(self, now_ns: int) -> None:
        """The edge node and each of its devices."""
        self.is_online = False
        self.changed_ns = now_ns
        for device in self.devices.values():
            if device.is_online:
                device.is_online = False
                device.changed_ns = now_ns


class HostSession:
    """All edge nodes. One caller at a time; owns no clock and no socket.

    Args:
        fleet: what the registry knows.
        reorder_timeout_ns: how long a missing message is waited for; 0 asks for a rebirth at once.
    """

    def __init__(self, fleet: FleetIndex, reorder_timeout_ns: int = REORDER_TIMEOUT_NS) -> None:
        self._fleet = fleet
        self._reorder_timeout_ns = reorder_timeout_ns
        self.edge_nodes: dict[tuple[str, str], EdgeNode] = {}

    def take_fleet(self, fleet: FleetIndex) -> None:
        """A new fleet revision: every born metric is looked up anew."""
        self._fleet = fleet
        for edge_node in self.edge_nodes.values():
            for born in {id(metric): metric for metric in edge_node.names.values()}.values():
                born.channel = self._channel(edge_node.gateway_id, born.name)
            edge_node.lanes.clear()

    def step(self, topic_name: str, payload: bytes, received_ns: int) -> list[Effect]:
        """Takes one message from the broker and says what follows from it."""
        try:
            topic = _parse_topic(topic_name)
        except ContractError as error:
            return [Quarantined(received_ns, topic_name, "not_sparkplug", str(error), payload)]
        if isinstance(topic, StateTopic) or topic.message_type.is_command:
            return []
        if not self._fleet.knows_gateway(topic.group_id, topic.edge_node_id):
            detail = f"the registry knows no gateway {topic.edge_node_id!r} in district {topic.group_id!r}"
            return [Quarantined(received_ns, topic_name, UNKNOWN_GATEWAY, detail, payload)]
        key = (topic.group_id, topic.edge_node_id)
        edge_node = self.edge_nodes.get(key)
        if edge_node is None:
            edge_node = self.edge_nodes[key] = EdgeNode(*key)
        if topic.message_type in _DATA and (
            taken := self._take_plain(topic, topic_name, payload, edge_node, received_ns)
        ):
            return taken
        try:
            decoded = decode_payload(payload, edge_node.datatypes)
        except PayloadError as error:
            return [Quarantined(received_ns, topic_name, "not_a_payload", str(error), payload)]
        edge_node.last_payload_ns = received_ns
        return list(self._receive(_Message(topic, topic_name, decoded, payload, received_ns), edge_node))

    def tick(self, now_ns: int) -> list[Effect]:
        """What is due by the clock: reorder windows that have elapsed, rebirth requests that nobody has followed."""
        effects: list[Effect] = []
        for edge_node in self.edge_nodes.values():
            if edge_node.window.is_elapsed(now_ns, self._reorder_timeout_ns):
                effects += self._give_up_order(edge_node, now_ns)
            elif edge_node.is_online and edge_node.rebirth_asked_ns is not None:
                effects += self._ask_rebirth(edge_node, now_ns)
        return effects

    def lose_connection(self, now_ns: int) -> list[Effect]:
        """Our own connection to the broker was lost: no edge node is known to be there until it is born again."""
        effects: list[Effect] = []
        for edge_node in self.edge_nodes.values():
            effects += self._take_all(edge_node.window.close(), edge_node)
            if edge_node.is_online:
                lost = tuple(self._fleet.channels_of(edge_node.gateway_id))
                effects.append(ChannelsLost(edge_node.gateway_id, lost, Reason.STALE, now_ns))
            edge_node.go_offline(now_ns)
        return [effect for effect in effects if not isinstance(effect, CommandDue)]

    # --- order -------------------------------------------------------------------------------------------------

    def _receive(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        match message.topic.message_type:
            case MessageType.NBIRTH:
                yield from self._take_node_birth(message, edge_node)
            case MessageType.NDEATH:
                yield from self._take_node_death(message, edge_node)
            case _ if edge_node.is_online:
                yield from self._take_in_order(message, edge_node)
            case _:
                yield from self._take(message, edge_node)

    def _take_in_order(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        seq, window = message.payload.seq, edge_node.window
        if seq is None or seq >= SEQ_MODULUS:
            yield from self._take(message, edge_node)
            yield from self._ask_rebirth(edge_node, message.received_ns)
            return
        if window.holds(seq):
            yield from self._give_up_order(edge_node, message.received_ns)
        if window.is_next(seq):
            window.advance(seq)
            yield from self._take(message, edge_node)
            yield from self._take_all(window.pop_next(), edge_node)
            return
        if self._needs_no_order(message, edge_node):
            window.note_ahead(seq, None, 0, message.received_ns)
            yield from self._take(message, edge_node)
        else:
            window.note_ahead(seq, message, len(message.payload_bytes), message.received_ns)
        if window.is_full or self._reorder_timeout_ns == 0:
            yield from self._give_up_order(edge_node, message.received_ns)

    def _needs_no_order(self, message: _Message, edge_node: EdgeNode) -> bool:
        """Whether a message that came before its turn can be taken at once: a birth or a batch of our own agents."""
        if edge_node.epoch is None or message.topic.message_type is MessageType.DDEATH:
            return False
        if message.topic.message_type is MessageType.DBIRTH:
            return True
        channels = _channel_metrics(message.payload)
        if any(_born(metric, edge_node) is None for metric in channels):
            return False
        return not channels or self._identity(message.payload, edge_node) is not None

    def _give_up_order(self, edge_node: EdgeNode, now_ns: int) -> Iterable[Effect]:
        """A message is missing for good: a rebirth is asked for, and what waited for it is taken."""
        waiting = edge_node.window.close()
        yield from self._ask_rebirth(edge_node, now_ns)
        yield from self._take_all(waiting, edge_node)

    def _take_all(self, waiting: Iterable[_Message], edge_node: EdgeNode) -> Iterable[Effect]:
        """Takes what waited, decoded anew: births that came meanwhile may have named its data types."""
        for message in waiting:
            payload = decode_payload(message.payload_bytes, edge_node.datatypes)
            yield from self._take(replace(message, payload=payload), edge_node)

    def _take(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        match message.topic.message_type:
            case MessageType.DBIRTH:
                yield from self._take_device_birth(message, edge_node)
            case MessageType.DDEATH:
                yield from self._take_device_death(message, edge_node)
            case _:
                yield from self._take_values(message, edge_node)

    # --- births and deaths -------------------------------------------------------------------------------------

    def _take_node_birth(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        bd_seq = _integer(message.payload, BD_SEQ)
        if bd_seq is None:
            yield message.quarantined("birth_without_bdseq", "an NBIRTH must carry bdSeq")
            return
        waiting = edge_node.window.close()
        earlier = [each for each in waiting if not _is_after(each.payload, message.payload)]
        overtook = [each for each in waiting if _is_after(each.payload, message.payload)]
        yield from self._take_all(earlier, edge_node)
        edge_node.forget_births()
        edge_node.is_online = True
        edge_node.changed_ns = message.received_ns
        edge_node.bd_seq = bd_seq
        edge_node.epoch = _integer(message.payload, uplink.EPOCH)
        edge_node.losses = read_losses(message.payload, edge_node.losses, message.received_ns)
        edge_node.rebirth_asked_ns = None
        edge_node.rebirth_back_off_ns = REBIRTH_BACK_OFF_FIRST_NS
        if message.payload.seq is not None and message.payload.seq < SEQ_MODULUS:
            edge_node.window.advance(message.payload.seq)
        self._learn_births(message, edge_node)
        yield from self._birth_values(message, edge_node)
        for each in overtook:
            yield from self._take_in_order(each, edge_node)

    def _take_device_birth(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        if not edge_node.is_online:
            yield from self._ask_rebirth(edge_node, message.received_ns)
            return
        names = {metric.name for metric in message.payload.metrics if metric.name is not None}
        edge_node.devices[message.bus_id] = Device(is_online=True, changed_ns=message.received_ns, names=names)
        self._learn_births(message, edge_node)
        yield from self._birth_values(message, edge_node)

    def _take_node_death(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        bd_seq = _integer(message.payload, BD_SEQ)
        if bd_seq is None or bd_seq != edge_node.bd_seq:
            return  # the death of an earlier connection: the node has been born again since
        yield from self._take_all(edge_node.window.close(), edge_node)
        edge_node.bd_seq = None  # a broker repeats the death after "Disconnect with Will Message" of MQTT 5
        edge_node.go_offline(message.received_ns)
        edge_node.rebirth_asked_ns = None
        lost = tuple(self._fleet.channels_of(edge_node.gateway_id))
        yield ChannelsLost(edge_node.gateway_id, lost, Reason.GATEWAY_LOST, message.received_ns)

    def _take_device_death(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        device = edge_node.devices.setdefault(message.bus_id, Device())
        device.is_online = False
        device.changed_ns = _death_ns(message)
        of_registry = self._fleet.channels_of(edge_node.gateway_id, message.bus_id)
        born = (edge_node.names[name].channel for name in device.names if name in edge_node.names)
        of_birth = [channel for channel in born if not isinstance(channel, Unresolved)]
        lost = tuple(sorted({*of_registry, *of_birth}))
        yield ChannelsLost(edge_node.gateway_id, lost, Reason.BUS_LOST, device.changed_ns)

    def _learn_births(self, message: _Message, edge_node: EdgeNode) -> None:
        edge_node.lanes.clear()
        for metric in message.payload.metrics:
            if metric.name is None or metric.datatype is None:
                continue
            born = BornMetric(metric.name, metric.datatype, self._channel(edge_node.gateway_id, metric.name))
            edge_node.names[metric.name] = born
            if metric.alias is not None:
                edge_node.aliases[metric.alias] = born
                edge_node.datatypes[metric.alias] = metric.datatype

    def _birth_values(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        """A birth's values are news only from an edge node that has no spool: ours repeats what it spooled."""
        if edge_node.epoch is None:
            channels = _channel_metrics(message.payload)
            if channels:
                yield self._batch(message, edge_node, channels, None)

    def _channel(self, gateway_id: str, metric_name: str) -> int | Unresolved:
        context = self._fleet.resolve(gateway_id, channel_metric_name(metric_name))
        return context if isinstance(context, Unresolved) else context.channel.channel_id

    # --- values ------------------------------------------------------------------------------------------------

    def _take_plain(
        self, topic: Topic, topic_name: str, payload: bytes, edge_node: EdgeNode, received_ns: int
    ) -> list[Effect] | None:
        """Takes data that are in order, of born channels and mostly plain, by column. None: everything else.

        What follows is the same as on the long way, see tests/property/test_plain_values.py.
        """
        if not edge_node.is_online or edge_node.window.opened_ns is not None or len(payload) > MAX_PAYLOAD_BYTES:
            return None
        split = split_payload(payload)
        if split is None or len(split) > MAX_ELEMENTS:
            return None
        try:
            channels = [edge_node.channels_of(run) for run in split.runs]
            rest = read_batch_identity(split.rest) or decode_payload(split.rest, edge_node.datatypes)
        except (KeyError, PayloadError):
            return None
        if rest.seq is None or rest.seq >= SEQ_MODULUS or not edge_node.window.is_next(rest.seq):
            return None
        metrics = _channel_metrics(rest)
        if any(_born(metric, edge_node) is None for metric in metrics) or len(split) + len(rest.metrics) > MAX_ELEMENTS:
            return None
        edge_node.last_payload_ns = received_ns
        edge_node.window.advance(rest.seq)
        message = _Message(topic, topic_name, rest, payload, received_ns)
        identity = self._identity(rest, edge_node)
        batch = self._batch(message, edge_node, metrics, identity, PlainValues(split.runs, channels))
        return [*_lost_batches(rest, edge_node.gateway_id), batch]

    def _take_values(self, message: _Message, edge_node: EdgeNode) -> Iterable[Effect]:
        identity = self._identity(message.payload, edge_node)
        if message.topic.message_type is MessageType.NDATA:
            edge_node.losses = read_losses(message.payload, edge_node.losses, message.received_ns)
        yield from _lost_batches(message.payload, edge_node.gateway_id)
        channels = _channel_metrics(message.payload)
        if not channels and identity is None:
            return
        if not edge_node.is_online or any(_born(metric, edge_node) is None for metric in channels):
            yield from self._ask_rebirth(edge_node, message.received_ns)
            if identity is None:
                yield message.quarantined("no_birth", "values without the birth that names them")
            return
        yield self._batch(message, edge_node, channels, identity)

    def _identity(self, payload: Payload, edge_node: EdgeNode) -> BatchIdentity | None:
        batch = _integer(payload, uplink.BATCH)
        epoch = _integer(payload, uplink.EPOCH)
        epoch = edge_node.epoch if epoch is None else epoch
        if batch is None or epoch is None or max(batch, epoch) > BATCH_MAX:
            return None
        return BatchIdentity(edge_node.gateway_id, epoch, batch)

    def _batch(
        self,
        message: _Message,
        edge_node: EdgeNode,
        metrics: list[Metric],
        identity: BatchIdentity | None,
        plain: PlainValues | None = None,
    ) -> BatchReceived:
        rows: list[Row] = []
        places: list[int] = []
        blocks: list[Waveform] = []
        refused: list[Quarantined] = []
        for place, metric in enumerate(message.payload.metrics):
            if _is_of_sparkplug(metric):
                continue
            born = _born(metric, edge_node)
            assert born is not None  # checked for data, and a birth's own metrics have just been learnt
            if isinstance(born.channel, Unresolved):
                refused.append(message.quarantined(born.channel.reason, born.channel.detail, metric))
                continue
            if born.datatype in ARRAY_TYPES:
                block = _block(metric, born.channel, message)
                if isinstance(block, str):
                    refused.append(message.quarantined("wrong_waveform", f"{born.name}: {block}", metric))
                elif block is not None:
                    blocks.append(block)
                continue
            row = _row(metric, born, born.channel, message)
            if isinstance(row, str):
                refused.append(message.quarantined("wrong_type", f"{born.name}: {row}", metric))
            else:
                rows.append(row)
                places.append(place)
        refused.extend(_report_clock(message, edge_node, metrics, plain))
        record = build_record(rows, places, plain, identity, message.received_ns)
        thinned = _thinned(message.payload)
        return BatchReceived(edge_node.gateway_id, identity, record, tuple(refused), thinned, tuple(blocks))

    # --- rebirth -----------------------------------------------------------------------------------------------

    def _ask_rebirth(self, edge_node: EdgeNode, now_ns: int) -> Iterable[Effect]:
        asked_ns = edge_node.rebirth_asked_ns
        if asked_ns is not None and 0 <= now_ns - asked_ns < edge_node.rebirth_back_off_ns:
            return
        if asked_ns is not None:
            edge_node.rebirth_back_off_ns = min(2 * edge_node.rebirth_back_off_ns, REBIRTH_BACK_OFF_MAX_NS)
        edge_node.rebirth_asked_ns = now_ns
        metric = Metric(name=REBIRTH, timestamp_ms=_ms(now_ns), datatype=DataType.BOOLEAN, value=True)
        yield command(edge_node, [metric], now_ns)


class Addressee(Protocol):
    """Whom an NCMD goes to."""

    @property
    def district_id(self) -> str:
        """Sparkplug group."""

    @property
    def gateway_id(self) -> str:
        """Sparkplug edge node."""


def command(to: Addressee, metrics: list[Metric], now_ns: int) -> CommandDue:
    """An NCMD to an edge node."""
    payload = encode_payload(Payload(timestamp_ms=_ms(now_ns), metrics=metrics))
    return CommandDue(_command_topic(to.district_id, to.gateway_id), payload)


@lru_cache(maxsize=8_192)
def _command_topic(district_id: str, gateway_id: str) -> str:
    return str(Topic(MessageType.NCMD, district_id, gateway_id))


def acknowledgement(to: Addressee, epoch: int, ranges: RangeSet, now_ns: int) -> CommandDue:
    """The NCMD that lets an agent delete batches: they are durably stored."""
    return _ranges_command(to, uplink.ACK_EPOCH, uplink.ACK_RANGES, epoch, ranges, now_ns)


def resend_request(to: Addressee, epoch: int, ranges: RangeSet, now_ns: int) -> CommandDue:
    """The NCMD that asks an agent for missing batches."""
    return _ranges_command(to, uplink.RESEND_EPOCH, uplink.RESEND_RANGES, epoch, ranges, now_ns)


def _ranges_command(
    to: Addressee, epoch_name: str, ranges_name: str, epoch: int, ranges: RangeSet, now_ns: int
) -> CommandDue:
    payload = encode_ranges_payload(_ms(now_ns), epoch_name, epoch, ranges_name, ranges.flatten())
    return CommandDue(_command_topic(to.district_id, to.gateway_id), payload)


@dataclass(frozen=True, slots=True)
class _Message:
    topic: Topic
    topic_name: str
    payload: Payload
    payload_bytes: bytes
    received_ns: int

    @property
    def bus_id(self) -> str:
        assert self.topic.device_id is not None  # only asked for D messages
        return self.topic.device_id

    def quarantined(self, reason: str, detail: str, metric: Metric | None = None) -> Quarantined:
        if metric is None:
            return Quarantined(self.received_ns, self.topic_name, reason, detail, self.payload_bytes)
        try:
            refused = encode_payload(Payload(timestamp_ms=self.payload.timestamp_ms, metrics=[metric]))
        except PayloadError:
            refused = self.payload_bytes
        return Quarantined(self.received_ns, self.topic_name, reason, detail, refused)


def _ms(time_ns: int) -> int:
    return time_ns // NANOSECONDS_PER_MILLISECOND


def _is_of_sparkplug(metric: Metric) -> bool:
    """Whether a metric is the protocol's own: bdSeq, node control, uplink bookkeeping."""
    name = metric.name
    return name is not None and (name == BD_SEQ or name.startswith(("Node Control/", "Device Control/", "Uplink/")))


def _channel_metrics(payload: Payload) -> list[Metric]:
    return [metric for metric in payload.metrics if not _is_of_sparkplug(metric)]


def _is_after(payload: Payload, birth: Payload) -> bool:
    """Whether a payload was made after a birth that it overtook on its way."""
    return (
        payload.timestamp_ms is not None
        and birth.timestamp_ms is not None
        and (payload.timestamp_ms > birth.timestamp_ms)
    )


def _death_ns(message: _Message) -> int:
    """When a device died: by its DDEATH, unless that clock is wrong (then nothing would become stale by it)."""
    time_ms = message.payload.timestamp_ms
    if time_ms is None or abs(_ms(message.received_ns) - time_ms) > _ms(CLOCK_TOLERANCE_NS):
        return message.received_ns
    return time_ms * NANOSECONDS_PER_MILLISECOND


def _report_clock(
    message: _Message, edge_node: EdgeNode, metrics: Iterable[Metric], plain: PlainValues | None
) -> Iterable[Quarantined]:
    """Once an hour and edge node: readings come from the future. They are stored beside it, never as good."""
    limit_ms = _ms(message.received_ns + CLOCK_TOLERANCE_NS)
    times_ms = [time_ms for metric in metrics if (time_ms := _time_ms(metric, message.payload) or 0) > limit_ms]
    plain_count, plain_latest_ms = (0, 0) if plain is None else plain.later_than(limit_ms)
    if not times_ms and not plain_count:
        return
    edge_node.future_readings_total += len(times_ms) + plain_count
    reported_ns = edge_node.clock_reported_ns
    if reported_ns is not None and 0 <= message.received_ns - reported_ns < CLOCK_REPORT_INTERVAL_NS:
        return
    edge_node.clock_reported_ns = message.received_ns
    ahead_s = (max([*times_ms, plain_latest_ms]) - _ms(message.received_ns)) / 1_000
    yield message.quarantined(
        TIMESTAMP_FROM_FUTURE,
        f"the clock of this gateway is {ahead_s:.0f} s ahead: {edge_node.future_readings_total} readings so far are "
        "kept as clock_suspect, by the time of their receipt",
    )


def _time_ms(metric: Metric, payload: Payload) -> int | None:
    return metric.timestamp_ms if metric.timestamp_ms is not None else payload.timestamp_ms


def _born(metric: Metric, edge_node: EdgeNode) -> BornMetric | None:
    if metric.alias is not None and metric.alias in edge_node.aliases:
        return edge_node.aliases[metric.alias]
    return edge_node.names.get(metric.name) if metric.name is not None else None


def _integer(payload: Payload, name: str) -> int | None:
    for metric in payload.metrics:
        if metric.name == name and isinstance(metric.value, int) and not isinstance(metric.value, bool):
            return metric.value
    return None


def _thinned(payload: Payload) -> int:
    """How many readings an agent says that it took out of this batch; more than a payload can hold is no number."""
    readings = _integer(payload, uplink.THINNED)
    return readings if readings is not None and 0 <= readings <= MAX_ELEMENTS else 0


def _lost_batches(payload: Payload, gateway_id: str) -> Iterable[Effect]:
    epoch = _integer(payload, uplink.LOST_EPOCH)
    for metric in payload.metrics:
        if epoch is not None and metric.name == uplink.LOST_RANGES and isinstance(metric.value, list | bytes):
            try:
                ranges = tuple(RangeSet.from_flat(_uint64s(metric.value)))
            except PayloadError:
                continue
            yield BatchesLost(gateway_id, epoch, ranges)


def _uint64s(value: list[int] | bytes) -> list[int]:
    """A UInt64Array: data messages carry no data type (Sparkplug 3.0, 6.4.6), so it may come as its bytes."""
    if isinstance(value, list):
        return value
    numbers = from_wire(DataType.UINT64_ARRAY, "bytes_value", value)
    assert isinstance(numbers, list)
    return numbers


def _block(metric: Metric, channel_id: int, message: _Message) -> Waveform | str | None:
    """The block of an array, or why it is none; None for an array that is null, as births have it."""
    if metric.value is None and metric.fault is None:
        return None
    return read_waveform(metric, _time_ms(metric, message.payload), channel_id, message.received_ns)


def _row(metric: Metric, born: BornMetric, channel_id: int, message: _Message) -> Row | str:
    """The reading as a row (channel_id, phenomenon_ns, value, reason, is_historical), or why it is none."""
    if metric.fault is not None:
        return metric.fault
    if born.datatype not in VALUE_TYPES:
        return f"a {born.datatype.name} is no value of a channel"
    time_ms = _time_ms(metric, message.payload)
    if time_ms is None:
        return "neither the metric nor the payload has a timestamp"
    if not isinstance(metric.value, int | float | None):
        return f"a {born.datatype.name} came as {metric.value!r:.40}"
    reason = _reason(metric.properties)
    value = np.nan if metric.value is None else float(metric.value)
    if level_of(reason) is not Level.BAD and not np.isfinite(value):
        reason = Reason.NO_ANSWER if metric.value is None else Reason.NOT_A_NUMBER
    if time_ms > TIME_MAX_MS:
        # A wrong clock must not silence a gas alarm: the reading counts from when it came, and says so.
        reason = Reason.CLOCK_SUSPECT if reason is Reason.OK else reason
        return channel_id, message.received_ns, value, int(reason), metric.is_historical
    return channel_id, time_ms * NANOSECONDS_PER_MILLISECOND, value, int(reason), metric.is_historical


def _reason(properties: Mapping[str, Property]) -> Reason:
    if not properties:
        return Reason.OK
    quality = properties.get("Quality")
    reason = properties.get("Reason")
    return reason_of_sparkplug(
        quality.value if quality is not None and isinstance(quality.value, int) else None,
        reason.value if reason is not None and isinstance(reason.value, str) else None,
    )
