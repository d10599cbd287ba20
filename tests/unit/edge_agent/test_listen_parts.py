"""The small parts that both sector protocols share; and that no bytes can bring an endpoint down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.configuration import check_settings
from contracts.quality import Reason
from edge_agent.agent_plan import ListeningLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.gb26875.gb26875_endpoint import Gb26875Endpoint
from edge_agent.hj212.hj212_frame import encode_frame
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.listen_configuration import Gb26875BusSettings, Hj212BusSettings
from edge_agent.lines.listen_effect import Deliver, Endpoint, Moment, Send
from edge_agent.lines.note_limit import EVENTS_MAX, PERIOD_S, NoteLimit
from edge_agent.lines.reading_memory import (
    AHEAD_MAX_NS,
    BEHIND_MAX_NS,
    SANE_SINCE_NS,
    ReadingMemory,
    Statement,
    judge_time,
)
from edge_agent.spool.set_points import plan_set_points
from simulators.gb26875_frame import make_frame

SECOND = 10**9
NOW = 1_777_872_060 * SECOND
PORT = {"kind": "tcp", "port": 8212}
PANEL = {"node_id": "panel", "transmitter": 5}
SYSTEM = {"node_id": "system", "transmitter": 5, "system_type": 1, "system_address": 1}
STATION = {"node_id": "s", "mn": "M1", "password": "1", "factors": ["w01018", "w21003"]}


def fire_endpoint() -> Endpoint:
    document = {"bus_id": "b", "kind": "gb26875_3", "endpoint": PORT, "node": [PANEL, SYSTEM]}
    return build_endpoint(ListeningLinePlan(check_settings(Gb26875BusSettings, document, "t")), ChannelTable())


def station_endpoint() -> Endpoint:
    document = {"bus_id": "b", "kind": "hj212", "endpoint": PORT, "node": [STATION], "sets_timeouts": True}
    return build_endpoint(ListeningLinePlan(check_settings(Hj212BusSettings, document, "t")), ChannelTable())


def test_a_fire_alarm_is_beyond_its_set_point_whatever_anybody_configured():
    points = plan_set_points([], [("", ""), ("smoke-1", "fire_alarm"), ("smoke-1", "fault")])
    assert set(points) == {("smoke-1", "fire_alarm")}
    assert points["smoke-1", "fire_alarm"].is_beyond(1.0)
    assert not points["smoke-1", "fire_alarm"].is_beyond(0.0)


def test_an_event_that_floods_is_passed_over_counted_and_comes_again_after_a_while():
    limit = NoteLimit()
    told = [limit.admit("x", second / 10) for second in range(100)]
    assert told == [0] * EVENTS_MAX + [None] * (100 - EVENTS_MAX)
    assert limit.admit("y", 10.0) == 0
    assert limit.admit("x", PERIOD_S) == 100 - EVENTS_MAX
    assert limit.admit("x", PERIOD_S) == 0


def test_a_stations_time_counts_while_it_is_possible():
    assert judge_time(NOW - SECOND, NOW) == (NOW - SECOND, False)
    assert judge_time(NOW + AHEAD_MAX_NS, NOW) == (NOW + AHEAD_MAX_NS, False)
    assert judge_time(NOW + AHEAD_MAX_NS + 1, NOW) == (NOW, True)
    assert judge_time(NOW - BEHIND_MAX_NS - 1, NOW) == (NOW, True)
    assert judge_time(0, NOW) == (NOW, True)
    assert judge_time(None, NOW) == (NOW, False)
    assert judge_time(NOW, 5 * SECOND) == (NOW, False)
    assert judge_time(SANE_SINCE_NS - 1, 5 * SECOND) == (5 * SECOND, True)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.integers(0, 3).map(lambda at: NOW + at * SECOND)), max_size=12)
)
def test_times_of_a_channel_are_distinct_and_a_change_is_never_dropped_while_time_does_not_run_back(rows):
    memory = ReadingMemory()
    rows = sorted(rows, key=lambda row: row[1])
    told = memory.news([Statement(1, value, Reason.OK, claimed_ns) for value, claimed_ns in rows], NOW + 9 * SECOND)
    times = [time_ns for _, time_ns, _, _ in told]
    assert len(set(times)) == len(times)
    assert times == sorted(times)
    changes = [value for at, (value, _) in enumerate(rows) if at == 0 or rows[at - 1][0] != value]
    deduplicated = [value for at, (_, _, value, _) in enumerate(told) if at == 0 or told[at - 1][2] != value]
    assert deduplicated == changes


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 200]), st.binary(max_size=120)), max_size=6), st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_no_data_unit_brings_a_fire_endpoint_down_and_every_send_is_answered(rows, has_types):
    endpoint = fire_endpoint()
    assert isinstance(endpoint, Gb26875Endpoint)
    conversation = endpoint.begin()
    for serial, (command, octets) in enumerate(rows):
        unit = bytes([octets[0] % 92]) + octets[1:] if has_types and octets else octets
        now = Moment(NOW + serial * SECOND, float(serial))
        effects = conversation.receive(make_frame(serial, command, unit, source=5, sent="2026-05-04 13:21:00"), now)
        if command == 2:
            answers = [one for one in effects if isinstance(one, Send | Deliver)]
            assert any(isinstance(one, Send) or one.receipt for one in answers)
        conversation.tick(now)
        endpoint.tick(now)


@given(st.text(alphabet="CNSTMQPFlagO=;,&-0123456789wRtd. 中", max_size=200), st.sampled_from(["2011", "1013", "9012"]))
@settings(max_examples=200, deadline=None)
def test_no_segment_brings_a_station_endpoint_down(text, command):
    conversation = station_endpoint().begin()
    head = f"QN=20260504132100000;ST=32;CN={command};PW=1;MN=M1;Flag=5;"
    for segment in (text, head + text, f"{head}CP=&&{text}&&"):
        conversation.receive(encode_frame(segment.encode("gb18030")), Moment(NOW, 1.0))
        conversation.tick(Moment(NOW, 100.0))
