"""The life of a Sparkplug B 3.0 edge node as a state table: `step(node, state, happening) -> (state, effects)`.

    OFFLINE --Connected--> AWAITING_HOST --HostState online--> BORN     (with a primary host)
    OFFLINE --Connected--> BORN                                         (without)
    BORN --HostState offline--> NDEATH, disconnect --> OFFLINE
    AWAITING_HOST --HostState offline, or HOST_PATIENCE_MS--> NDEATH, disconnect --> OFFLINE  (of several brokers)
    BORN, AWAITING_HOST --Stopped--> NDEATH, disconnect --> OFFLINE
    any  --Disconnected--> OFFLINE

Every intended end says NDEATH first, also that of a session without birth (Sparkplug 3.0, 5.5 and 6.4.29).

Births: NBIRTH, then one DBIRTH per bus whose line is up. `seq` runs 0..255 over NBIRTH, DBIRTH, DDATA, DDEATH and
NDATA together and begins at 0 with each NBIRTH; NDEATH has none, but the bdSeq of its connection.

A bus whose line is lost is dead (DDEATH). If old batches of it are to be sent, it is born for them and dies again
when none has been sent for `DEAD_BUS_LINGER_MS`: Sparkplug allows no DDATA of a device that is not born.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from contracts import uplink
from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import REASONS, Reason
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, Property, encode_payload
from contracts.sparkplug.topic import MessageType, Topic
from edge_agent.channel_table import Channel, ChannelTable, Reading
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.uplink.birth_codec import encode_birth
from edge_agent.uplink.ddata_codec import encode_ddata
from edge_agent.uplink.host_command import ANSWER_METRIC, REBIRTH_METRIC, REREAD_METRIC

BD_SEQ_METRIC: Final = "bdSeq"
DEAD_BUS_LINGER_MS: Final = 5_000
HOST_PATIENCE_MS: Final = 15_000
"""So long a broker may say nothing of the primary host before the next broker is tried, if there is one."""
SEQ_MODULUS: Final = 256


class Phase(Enum):
    """Where the session is."""

    OFFLINE = auto()
    AWAITING_HOST = auto()
    """Connected, but the primary host is not known to be online."""
    BORN = auto()


@dataclass(frozen=True, slots=True)
class Counters:
    """What the host should know of the agent's own losses."""

    discarded_readings_total: int = 0
    """From memory and from the spool: none of them is anywhere any more."""
    failed_commits_total: int = 0
    thinned_readings_total: int = 0
    """Taken out of the spool for want of room; what stayed of their channels shows where they were."""
    spools_set_aside_total: int = 0
    """Spool files that could not be trusted, since the agent was started."""
    discarded_samples_total: int = 0
    """Of waveforms, from memory and from the spool."""


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """What does not change during a session."""

    group_id: str
    edge_node_id: str
    epoch: int
    primary_host: str | None
    channels: ChannelTable
    """Grows if old batches hold channels of a former configuration; also knows what was last read."""
    broker_count: int = 1
    actuators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By bus: the metric names that take commands."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What does."""

    phase: Phase = Phase.OFFLINE
    bd_seq: int = 0
    seq: int = 0
    """Of the next message."""
    host_timestamp_ms: int = -1
    """Of the newest believed STATE of the primary host on this broker."""
    connected_ms: int = 0
    """When this connection was ready."""
    born_buses: frozenset[str] = frozenset()
    dead_lines: frozenset[str] = frozenset()
    """Buses whose line is lost."""
    last_batch_ms: Mapping[str, int] = field(default_factory=dict)
    """When a bus with a dead line last sent a batch."""
    actuator_values: Mapping[str, float] = field(default_factory=dict)
    """What each was last set to, by metric name."""
    answer: str | None = None
    """To the last command."""
    counters: Counters = Counters()


# What happens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """CONNACK and SUBACK came; `bd_seq` stood in this connection's will."""

    bd_seq: int
    is_other_broker: bool = False
    """The last connection was to another one: a host's STATE has a timestamp of its own on each."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone."""


@dataclass(frozen=True, slots=True)
class HostState:
    """A STATE message of the primary host."""

    is_online: bool
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class RebirthAsked:
    """NCMD `Node Control/Rebirth`."""


@dataclass(frozen=True, slots=True)
class LineChanged:
    """A line was lost, or is back."""

    bus_id: str
    is_up: bool


@dataclass(frozen=True, slots=True)
class LineWithdrawn:
    """A line has left the configuration, or is about to begin anew with other channels."""

    bus_id: str


@dataclass(frozen=True, slots=True)
class BatchReady:
    """A committed batch, to be sent for the first time or again."""

    batch: SealedBatch
    is_historical: bool


@dataclass(frozen=True, slots=True)
class BatchesLost:
    """The host asked for batches that are no longer there."""

    epoch: int
    batches: RangeSet


@dataclass(frozen=True, slots=True)
class CountersChanged:
    """Something was discarded or could not be committed."""

    counters: Counters


@dataclass(frozen=True, slots=True)
class ChannelsFound:
    """A bus has channels that its last birth did not show."""

    bus_id: str


@dataclass(frozen=True, slots=True)
class CommandAnswered:
    """A host's command was done, or was refused: the host is told."""

    text: str


@dataclass(frozen=True, slots=True)
class ActuatorSet:
    """A declared actuator has taken a value: the host is told, and births show it."""

    bus_id: str
    metric_name: str
    value: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The agent ends."""


Happening = (
    Connected
    | Disconnected
    | HostState
    | RebirthAsked
    | LineChanged
    | LineWithdrawn
    | BatchReady
    | BatchesLost
    | CountersChanged
    | ChannelsFound
    | CommandAnswered
    | ActuatorSet
    | Ticked
    | Stopped
)


# What is to be done ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message, never retained."""

    topic: str
    payload: bytes
    qos: int = 0


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection properly (the broker forgets the will)."""


Effect = Publish | Disconnect
Step = tuple[SessionState, tuple[Effect, ...]]


def step(node: EdgeNode, state: SessionState, happening: Happening, now_ms: int) -> Step:  # noqa: PLR0911  # a table
    """What a happening makes of the state, and what is to be done."""
    match happening:
        case Connected():
            return _connected(node, state, happening, now_ms)
        case Disconnected():
            return replace(state, phase=Phase.OFFLINE, born_buses=frozenset()), ()
        case HostState():
            return _host_state(node, state, happening, now_ms)
        case RebirthAsked() | ChannelsFound() | LineChanged() | LineWithdrawn() | Ticked():
            return _births_and_deaths(node, state, happening, now_ms)
        case BatchReady(batch=batch, is_historical=is_historical):
            return _batch_ready(node, state, batch, is_historical, now_ms)
        case BatchesLost(epoch=epoch, batches=batches):
            return _node_data(node, state, _lost_metrics(epoch, batches.flatten(), now_ms), now_ms)
        case CountersChanged(counters=counters):
            changed = replace(state, counters=counters)
            return _node_data(node, changed, _counter_metrics(counters, now_ms), now_ms)
        case CommandAnswered() | ActuatorSet():
            return _commanded(node, state, happening, now_ms)
        case Stopped():
            return _die(node, state, now_ms)


def encode_will(bd_seq: int, now_ms: int) -> bytes:
    """The NDEATH payload of a connection: bdSeq and nothing else."""
    return encode_payload(Payload(timestamp_ms=now_ms, metrics=[_bd_seq_metric(bd_seq, now_ms)]))


def node_topic(node: EdgeNode, message_type: MessageType) -> str:
    """NBIRTH, NDEATH, NDATA or NCMD of this edge node."""
    return str(Topic(message_type, node.group_id, node.edge_node_id))


def bus_topic(node: EdgeNode, message_type: MessageType, bus_id: str) -> str:
    """DBIRTH, DDEATH, DDATA or DCMD of one of its buses."""
    return str(Topic(message_type, node.group_id, node.edge_node_id, bus_id))


def _connected(node: EdgeNode, state: SessionState, connected: Connected, now_ms: int) -> Step:
    newest_ms = -1 if connected.is_other_broker else state.host_timestamp_ms
    state = replace(
        state,
        bd_seq=connected.bd_seq,
        born_buses=frozenset(),
        host_timestamp_ms=newest_ms,
        connected_ms=now_ms,
    )
    if node.primary_host is not None:
        return replace(state, phase=Phase.AWAITING_HOST), ()
    return _give_births(node, state, now_ms)


def _host_state(node: EdgeNode, state: SessionState, host: HostState, now_ms: int) -> Step:
    """Sparkplug 3.0, 5.4 and 6.5: a statement older than the last one is not believed."""
    if state.phase is Phase.OFFLINE or host.timestamp_ms < state.host_timestamp_ms:
        return state, ()
    state = replace(state, host_timestamp_ms=host.timestamp_ms)
    if host.is_online and state.phase is Phase.AWAITING_HOST:
        return _give_births(node, state, now_ms)
    if not host.is_online and (state.phase is Phase.BORN or node.broker_count > 1):
        return _die(node, state, now_ms)
    return state, ()


def _births_and_deaths(
    node: EdgeNode,
    state: SessionState,
    happening: RebirthAsked | ChannelsFound | LineChanged | LineWithdrawn | Ticked,
    now_ms: int,
) -> Step:
    is_born = state.phase is Phase.BORN
    match happening:
        case RebirthAsked():
            return _give_births(node, state, now_ms) if is_born else (state, ())
        case ChannelsFound(bus_id=bus_id):
            return _give_bus_birth(node, state, bus_id, now_ms) if is_born else (state, ())
        case LineChanged(bus_id=bus_id, is_up=True):
            revived = replace(state, dead_lines=state.dead_lines - {bus_id})
            needs_birth = is_born and bus_id not in state.born_buses
            return _give_bus_birth(node, revived, bus_id, now_ms) if needs_birth else (revived, ())
        case LineChanged(bus_id=bus_id) | LineWithdrawn(bus_id=bus_id):
            lost = replace(state, dead_lines=state.dead_lines | {bus_id})
            return _bury_buses(node, lost, frozenset({bus_id}) & state.born_buses, now_ms)
        case Ticked() if state.phase is Phase.AWAITING_HOST:
            is_stranded = node.broker_count > 1 and now_ms - state.connected_ms > HOST_PATIENCE_MS
            return _die(node, state, now_ms) if is_stranded else (state, ())
        case Ticked():
            idle = {
                bus_id
                for bus_id in state.born_buses & state.dead_lines
                if now_ms - state.last_batch_ms.get(bus_id, 0) > DEAD_BUS_LINGER_MS
            }
            return _bury_buses(node, state, frozenset(idle), now_ms)


def _batch_ready(node: EdgeNode, state: SessionState, batch: SealedBatch, is_historical: bool, now_ms: int) -> Step:
    if state.phase is not Phase.BORN:
        return state, ()
    effects: tuple[Effect, ...] = ()
    if batch.bus_id not in state.born_buses:
        state, effects = _give_bus_birth(node, state, batch.bus_id, now_ms)
    if batch.bus_id in state.dead_lines:
        state = replace(state, last_batch_ms={**state.last_batch_ms, batch.bus_id: now_ms})
    octets = encode_ddata(
        batch.readings,
        now_ms=now_ms,
        seq=state.seq,
        epoch=batch.epoch,
        batch=batch.batch,
        is_historical=is_historical,
        thinned_count=batch.thinned_count,
        waveforms=batch.waveforms,
    )
    publish = Publish(bus_topic(node, MessageType.DDATA, batch.bus_id), octets)
    return replace(state, seq=(state.seq + 1) % SEQ_MODULUS), (*effects, publish)


def _give_births(node: EdgeNode, state: SessionState, now_ms: int) -> Step:
    metrics = [
        _bd_seq_metric(state.bd_seq, now_ms),
        Metric(name=REBIRTH_METRIC, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, value=False),
        Metric(name=uplink.EPOCH, timestamp_ms=now_ms, datatype=DataType.UINT64, value=node.epoch),
        *_counter_metrics(state.counters, now_ms),
        *_lost_metrics(None, None, now_ms),
        Metric(name=REREAD_METRIC, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, value=False),
        _answer_metric(state.answer, now_ms),
    ]
    octets = encode_payload(Payload(timestamp_ms=now_ms, metrics=metrics, seq=0))
    effects: tuple[Effect, ...] = (Publish(node_topic(node, MessageType.NBIRTH), octets),)
    state = replace(state, phase=Phase.BORN, seq=1, born_buses=frozenset(), last_batch_ms={})
    for bus_id in node.channels.bus_ids():
        if bus_id not in state.dead_lines:
            state, birth = _give_bus_birth(node, state, bus_id, now_ms)
            effects += birth
    return state, effects


def _give_bus_birth(node: EdgeNode, state: SessionState, bus_id: str, now_ms: int) -> Step:
    octets = encode_birth(_bus_metrics(node, state, bus_id, now_ms), now_ms, state.seq)
    born = replace(state, seq=(state.seq + 1) % SEQ_MODULUS, born_buses=state.born_buses | {bus_id})
    return born, (Publish(bus_topic(node, MessageType.DBIRTH, bus_id), octets),)


def _bus_metrics(node: EdgeNode, state: SessionState, bus_id: str, now_ms: int) -> Iterator[Metric]:
    for channel in node.channels.of_bus(bus_id):
        yield _channel_metric(channel, node.channels.last(channel.alias), now_ms)
    for name in node.actuators.get(bus_id, ()):
        value = state.actuator_values.get(name)
        yield Metric(name=name, timestamp_ms=now_ms, datatype=DataType.DOUBLE, value=value)
    yield Metric(name=uplink.EPOCH, timestamp_ms=now_ms, datatype=DataType.UINT64, value=node.epoch)
    yield Metric(name=uplink.BATCH, timestamp_ms=now_ms, datatype=DataType.UINT64)
    yield Metric(name=uplink.THINNED, timestamp_ms=now_ms, datatype=DataType.UINT64)


def _bury_buses(node: EdgeNode, state: SessionState, bus_ids: frozenset[str], now_ms: int) -> Step:
    effects: tuple[Effect, ...] = ()
    for bus_id in sorted(bus_ids):
        octets = encode_payload(Payload(timestamp_ms=now_ms, seq=state.seq))
        effects += (Publish(bus_topic(node, MessageType.DDEATH, bus_id), octets),)
        state = replace(state, seq=(state.seq + 1) % SEQ_MODULUS)
    return replace(state, born_buses=state.born_buses - bus_ids), effects


def _die(node: EdgeNode, state: SessionState, now_ms: int) -> Step:
    """A proper end: the death that the broker would have sent, then DISCONNECT."""
    if state.phase is Phase.OFFLINE:
        return state, ()
    dead = replace(state, phase=Phase.OFFLINE, born_buses=frozenset())
    death = Publish(node_topic(node, MessageType.NDEATH), encode_will(state.bd_seq, now_ms), qos=1)
    return dead, (death, Disconnect())


def _node_data(node: EdgeNode, state: SessionState, metrics: list[Metric], now_ms: int) -> Step:
    if state.phase is not Phase.BORN:
        return state, ()
    octets = encode_payload(Payload(timestamp_ms=now_ms, metrics=metrics, seq=state.seq), with_datatypes=False)
    publish = Publish(node_topic(node, MessageType.NDATA), octets)
    return replace(state, seq=(state.seq + 1) % SEQ_MODULUS), (publish,)


def _commanded(node: EdgeNode, state: SessionState, happening: CommandAnswered | ActuatorSet, now_ms: int) -> Step:
    if isinstance(happening, CommandAnswered):
        answered = replace(state, answer=happening.text)
        return _node_data(node, answered, [_answer_metric(happening.text, now_ms)], now_ms)
    name, bus_id = happening.metric_name, happening.bus_id
    state = replace(state, actuator_values={**state.actuator_values, name: happening.value})
    if state.phase is not Phase.BORN or bus_id not in state.born_buses:
        return state, ()
    metric = Metric(name=name, timestamp_ms=now_ms, datatype=DataType.DOUBLE, value=happening.value)
    octets = encode_payload(Payload(timestamp_ms=now_ms, metrics=[metric], seq=state.seq), with_datatypes=False)
    publish = Publish(bus_topic(node, MessageType.DDATA, bus_id), octets)
    return replace(state, seq=(state.seq + 1) % SEQ_MODULUS), (publish,)


def _bd_seq_metric(bd_seq: int, now_ms: int) -> Metric:
    """An Int64, as tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq has it."""
    return Metric(name=BD_SEQ_METRIC, timestamp_ms=now_ms, datatype=DataType.INT64, value=bd_seq)


def _answer_metric(text: str | None, now_ms: int) -> Metric:
    return Metric(name=ANSWER_METRIC, timestamp_ms=now_ms, datatype=DataType.STRING, value=text)


def _counter_metrics(counters: Counters, now_ms: int) -> list[Metric]:
    rows = (
        (uplink.DISCARDED, counters.discarded_readings_total),
        (uplink.FAILED_COMMITS, counters.failed_commits_total),
        (uplink.THINNED, counters.thinned_readings_total),
        (uplink.SPOOLS_SET_ASIDE, counters.spools_set_aside_total),
        (uplink.DISCARDED_SAMPLES, counters.discarded_samples_total),
    )
    return [Metric(name=name, timestamp_ms=now_ms, datatype=DataType.UINT64, value=total) for name, total in rows]


def _lost_metrics(epoch: int | None, flat: list[int] | None, now_ms: int) -> list[Metric]:
    return [
        Metric(name=uplink.LOST_EPOCH, timestamp_ms=now_ms, datatype=DataType.UINT64, value=epoch),
        Metric(name=uplink.LOST_RANGES, timestamp_ms=now_ms, datatype=DataType.UINT64_ARRAY, value=flat),
    ]


def _channel_metric(channel: Channel, last: Reading | None, now_ms: int) -> Metric:
    """A channel in a birth: its newest value with its own time, or null and stale if it was never read.

    A waveform has no newest value: a birth names it and its type.
    """
    if channel.is_waveform:
        return Metric(
            name=channel.metric_name,
            alias=channel.alias,
            timestamp_ms=now_ms,
            datatype=DataType.FLOAT_ARRAY,
            properties={"engUnit": Property(DataType.STRING, channel.unit)},
        )
    _, phenomenon_ns, value, code = last or (0, now_ms * NANOSECONDS_PER_MILLISECOND, None, Reason.STALE.value)
    properties = {"engUnit": Property(DataType.STRING, channel.unit)}
    reason = Reason(code)
    if reason is not Reason.OK:
        properties["Quality"] = Property(DataType.INT32, int(REASONS[reason].sparkplug))
        properties["Reason"] = Property(DataType.STRING, reason.wire_name)
    return Metric(
        name=channel.metric_name,
        alias=channel.alias,
        timestamp_ms=phenomenon_ns // NANOSECONDS_PER_MILLISECOND,
        datatype=DataType.DOUBLE,
        value=value,
        properties=properties,
    )
