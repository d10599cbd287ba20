"""The life of the edge node as a table: births, deaths, sequence, primary host; no broker anywhere."""

import pytest

from contracts import uplink
from contracts.quality import Reason
from contracts.ranges import RangeSet
from contracts.sparkplug.payload import decode_payload
from edge_agent.channel_table import ChannelTable
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.uplink.sparkplug_session import (
    DEAD_BUS_LINGER_MS,
    HOST_PATIENCE_MS,
    BatchesLost,
    BatchReady,
    ChannelsFound,
    CommandAnswered,
    Connected,
    Counters,
    CountersChanged,
    Disconnect,
    Disconnected,
    EdgeNode,
    HostState,
    LineChanged,
    LineWithdrawn,
    Phase,
    Publish,
    RebirthAsked,
    SessionState,
    Stopped,
    Ticked,
    encode_will,
    step,
)

MS = 1_000_000


class Session:
    """Steps a session and keeps what it said."""

    def __init__(self, primary_host: str | None = None, **more: object) -> None:
        self.channels = ChannelTable()
        self.channels.add("bus-a", "n1", "temperature")
        self.channels.add("bus-b", "n2", "level")
        self.node = EdgeNode("harbour", "gw", 9, primary_host, self.channels, **more)
        self.state = SessionState()

    def happen(self, happening, now_ms: int = 1_000) -> list[str]:
        """The kinds of what was published, `bye` for a disconnect."""
        self.state, self.effects = step(self.node, self.state, happening, now_ms)
        return ["bye" if isinstance(one, Disconnect) else self.kind(one) for one in self.effects]

    @staticmethod
    def kind(publish: Publish) -> str:
        _, _, kind, _, *bus = publish.topic.split("/")
        return "/".join([kind, *bus])

    def payloads(self) -> list:
        return [decode_payload(one.payload) for one in self.effects if isinstance(one, Publish)]


def batch(bus_id: str = "bus-a", number: int = 1, epoch: int = 9) -> SealedBatch:
    return SealedBatch(epoch, number, bus_id, ((1, 5 * MS, 20.5, 0),))


def test_without_a_primary_host_the_births_follow_the_connection():
    session = Session()
    assert session.happen(Connected(3)) == ["NBIRTH", "DBIRTH/bus-a", "DBIRTH/bus-b"]
    node, *buses = session.payloads()
    values = {metric.name: metric.value for metric in node.metrics}
    assert values["bdSeq"] == 3
    assert values[uplink.EPOCH] == 9
    assert values["Node Control/Rebirth"] is False
    assert [payload.seq for payload in (node, *buses)] == [0, 1, 2]


def test_a_channel_that_was_never_read_is_born_null_and_stale_and_a_read_one_with_its_own_time():
    session = Session()
    session.channels.note([(1, 42 * MS, 20.5, 0)])
    session.happen(Connected(0))
    _, a, b = session.payloads()
    assert (a.metrics[0].value, a.metrics[0].timestamp_ms, set(a.metrics[0].properties)) == (20.5, 42, {"engUnit"})
    assert b.metrics[0].value is None
    assert b.metrics[0].properties["Quality"].value == 500
    assert b.metrics[0].properties["Reason"].value == Reason.STALE.wire_name
    aliases = [metric.alias for payload in (a, b) for metric in payload.metrics if metric.alias is not None]
    assert len(set(aliases)) == 2, "aliases are unique per edge node, not per bus"


def test_sequence_numbers_wrap_after_255_over_all_kinds_of_messages():
    session = Session()
    session.happen(Connected(0))
    seen = []
    for number in range(300):
        session.happen(BatchReady(batch(number=number), False))
        seen += [payload.seq for payload in session.payloads()]
        if number % 50 == 0:
            session.happen(CountersChanged(Counters(number, 0)))
            seen += [payload.seq for payload in session.payloads()]
    assert seen == [number % 256 for number in range(3, 3 + len(seen))]


def test_with_a_primary_host_nothing_is_said_before_it_is_online():
    session = Session("citysense")
    assert session.happen(Connected(0)) == []
    assert session.happen(BatchReady(batch(), False)) == []
    assert session.happen(HostState(False, 100)) == []
    assert session.happen(HostState(True, 100)) == ["NBIRTH", "DBIRTH/bus-a", "DBIRTH/bus-b"]
    assert session.happen(HostState(True, 101)) == [], "being online is no news"


def test_when_the_primary_host_goes_the_node_dies_and_disconnects_unless_the_statement_is_old():
    session = Session("citysense")
    session.happen(Connected(7))
    session.happen(HostState(True, 100))
    assert session.happen(HostState(False, 99)) == []
    assert session.happen(HostState(False, 100)) == ["NDEATH", "bye"]
    assert session.effects[0].qos == 1
    assert session.effects[0].payload == encode_will(7, 1_000)
    assert session.state.phase is Phase.OFFLINE
    session.happen(Disconnected())
    session.happen(Connected(8))
    assert session.happen(HostState(True, 99)) == [], "an older statement is not believed after a reconnect either"
    assert session.happen(HostState(True, 200)) == ["NBIRTH", "DBIRTH/bus-a", "DBIRTH/bus-b"]


def test_a_lost_line_is_one_death_and_its_return_one_birth():
    session = Session()
    session.happen(Connected(0))
    assert session.happen(LineChanged("bus-a", False)) == ["DDEATH/bus-a"]
    assert session.happen(LineChanged("bus-a", False)) == []
    assert session.happen(RebirthAsked()) == ["NBIRTH", "DBIRTH/bus-b"]
    assert session.happen(LineChanged("bus-a", True)) == ["DBIRTH/bus-a"]
    assert session.happen(LineChanged("bus-a", True)) == []


def test_a_withdrawn_line_dies_once_and_is_born_with_other_channels_when_it_answers():
    session = Session()
    session.happen(Connected(0))
    session.node.channels.withdraw("bus-a")
    assert session.happen(LineWithdrawn("bus-a")) == ["DDEATH/bus-a"]
    assert session.happen(LineWithdrawn("bus-a")) == []
    assert session.happen(RebirthAsked()) == ["NBIRTH", "DBIRTH/bus-b"]
    session.node.channels.add("bus-a", "node-new", "level")
    assert session.happen(LineChanged("bus-a", True)) == ["DBIRTH/bus-a"]
    (payload,) = session.payloads()
    names = {metric.name for metric in payload.metrics if not metric.name.startswith("Uplink/")}
    assert names == {"node-new/level"}


def test_old_batches_of_a_dead_bus_are_sent_between_a_birth_and_a_death():
    session = Session()
    session.happen(LineChanged("bus-a", False))
    assert session.happen(Connected(0)) == ["NBIRTH", "DBIRTH/bus-b"]
    assert session.happen(BatchReady(batch(), True), 1_000) == ["DBIRTH/bus-a", "DDATA/bus-a"]
    assert session.happen(BatchReady(batch(number=2), True), 4_000) == ["DDATA/bus-a"]
    assert session.happen(Ticked(), 4_000 + DEAD_BUS_LINGER_MS) == []
    assert session.happen(Ticked(), 4_001 + DEAD_BUS_LINGER_MS) == ["DDEATH/bus-a"]
    assert session.happen(Ticked(), 99_000) == []


def test_a_batch_keeps_the_epoch_that_it_was_committed_under():
    session = Session()
    session.happen(Connected(0))
    session.happen(BatchReady(batch(number=44, epoch=8), True))
    (payload,) = session.payloads()
    named = {metric.name: metric.value for metric in payload.metrics if metric.name}
    assert named == {uplink.EPOCH: 8, uplink.BATCH: 44}


def test_channels_of_a_former_configuration_are_born_before_their_batch():
    session = Session()
    session.happen(Connected(0))
    alias = session.channels.add("bus-a", "old-node", "level")
    assert session.happen(ChannelsFound("bus-a")) == ["DBIRTH/bus-a"]
    assert alias in {metric.alias for metric in session.payloads()[0].metrics}


def test_lost_batches_and_counters_are_node_data():
    session = Session()
    session.happen(Connected(0))
    assert session.happen(BatchesLost(8, RangeSet([(2, 4)]))) == ["NDATA"]
    named = {metric.name: metric.value for metric in session.payloads()[0].metrics}
    array = b"".join(number.to_bytes(8, "little") for number in (2, 4))
    assert named == {uplink.LOST_EPOCH: 8, uplink.LOST_RANGES: array}, "a UInt64Array, as its birth says"
    session.happen(CountersChanged(Counters(5, 6, 7, 8, 9)))
    assert [metric.value for metric in session.payloads()[0].metrics] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "happening",
    [
        RebirthAsked(),
        BatchReady(batch(), False),
        Stopped(),
        Ticked(),
        LineChanged("bus-a", True),
        LineChanged("bus-a", False),
        LineWithdrawn("bus-a"),
        BatchesLost(1, RangeSet([(1, 1)])),
        CountersChanged(Counters(1, 1)),
        ChannelsFound("bus-a"),
        CommandAnswered("done"),
        HostState(True, 5),
    ],
    ids=lambda one: type(one).__name__,
)
def test_nothing_is_published_while_offline(happening):
    assert Session().happen(happening) == []


def test_a_stop_says_goodbye():
    session = Session()
    session.happen(Connected(0))
    assert session.happen(Stopped()) == ["NDEATH", "bye"]
    waiting = Session("citysense")
    waiting.happen(Connected(0))
    assert waiting.happen(Stopped()) == ["NDEATH", "bye"], "whoever disconnects intentionally says so first (5.5)"


def test_with_more_than_one_broker_the_node_moves_on_from_one_that_has_no_host():
    session = Session("citysense", broker_count=2)
    session.happen(Connected(0), 1_000)
    assert session.happen(Ticked(), 1_000 + HOST_PATIENCE_MS) == []
    assert session.happen(Ticked(), 1_001 + HOST_PATIENCE_MS) == ["NDEATH", "bye"]
    session.happen(Connected(1, is_other_broker=True), 50_000)
    assert session.happen(HostState(False, 70), 50_000) == ["NDEATH", "bye"], "an offline host is waited for elsewhere"
    alone = Session("citysense")
    alone.happen(Connected(0), 1_000)
    assert alone.happen(HostState(False, 70)) == []
    assert alone.happen(Ticked(), 1_001 + HOST_PATIENCE_MS) == [], "there is no other broker to go to"


def test_another_broker_has_a_state_of_its_own_time():
    session = Session("citysense", broker_count=2)
    session.happen(Connected(0))
    session.happen(HostState(True, 500))
    session.happen(Disconnected())
    session.happen(Connected(1, is_other_broker=True))
    assert session.happen(HostState(True, 400)) == ["NBIRTH", "DBIRTH/bus-a", "DBIRTH/bus-b"]
    session.happen(Disconnected())
    session.happen(Connected(2))
    assert session.happen(HostState(True, 300)) == [], "on the same broker an older statement is not believed"


def test_actuators_and_node_controls_are_born_and_answers_are_node_data():
    session = Session(actuators={"bus-a": ("n1/valve",)})
    session.happen(Connected(0))
    node, first, second = session.payloads()
    controls = {metric.name: metric for metric in node.metrics}
    assert controls["Node Control/Reread Configuration"].value is False
    assert controls["Node Control/Answer"].value is None
    assert "n1/valve" in {metric.name for metric in first.metrics}
    assert "n1/valve" not in {metric.name for metric in second.metrics}
    assert session.happen(CommandAnswered("done")) == ["NDATA"]
    assert [(metric.name, metric.value) for metric in session.payloads()[0].metrics] == [
        ("Node Control/Answer", "done")
    ]
