"""A GB/T 26875.3-2011 endpoint and a simulated transmitter talk; time is a number in the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from contracts.quality import Reason
from edge_agent.channel_table import ChannelTable
from edge_agent.gb26875.gb26875_endpoint import Gb26875Endpoint
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.listen_configuration import Gb26875BusSettings
from edge_agent.lines.listen_effect import Deliver, Lane, Moment, Note, Send
from edge_agent.plan_agent import plan_listening_line
from simulators.gb26875_frame import make_analogue, make_component_state, make_time, make_transmitter_state
from simulators.gb26875_transmitter import FireTransmitter

SECOND = 10**9
T0 = 1_777_872_059 * SECOND
WHEN = "2026-05-04 13:20:59"
ADDRESS = 3456
SYSTEM = (1, 3)
HEAD = {"node_id": "fire-panel", "transmitter": ADDRESS, "channels": ["fire_alarm", "mains_failure"]}
SMOKE = {
    "node_id": "smoke-17",
    "transmitter": ADDRESS,
    "system_type": 1,
    "system_address": 3,
    "component_address": 17,
    "channels": ["fire_alarm", "fault"],
}
GAS = {**SMOKE, "node_id": "gas-18", "component_address": 18, "channels": ["combustible_gas"]}
PANEL_FIRE, PANEL_MAINS, SMOKE_FIRE, SMOKE_FAULT, GAS_LEL = 1, 2, 3, 4, 5


def bus(*nodes: dict, **changes) -> Gb26875BusSettings:
    document = {
        "bus_id": "fire",
        "kind": "gb26875_3",
        "endpoint": {"kind": "serial", "port": "tty"},
        "sets_clock": False,
        "reads_on_contact": False,
        "node": nodes or (HEAD, SMOKE, GAS),
        **changes,
    }
    return check_settings(Gb26875BusSettings, document, "test")


def endpoint_of(**changes) -> Gb26875Endpoint:
    plan = plan_listening_line(bus(**changes), Path("/dev"))
    assert plan.bus.endpoint.port == "/dev/tty"
    endpoint = build_endpoint(plan, ChannelTable())
    assert isinstance(endpoint, Gb26875Endpoint)
    return endpoint


def at(seconds: float) -> Moment:
    return Moment(T0 + int(seconds * SECOND), 1000.0 + seconds)


def sent(effects) -> bytes:
    return b"".join(one.octets for one in effects if isinstance(one, Send))


def receipts(effects) -> bytes:
    return b"".join(one.receipt for one in effects if isinstance(one, Deliver))


def values(effects) -> list[tuple]:
    return [(r[0], r[2], r[3]) for one in effects if isinstance(one, Deliver) for r in one.readings]


def times(effects) -> set[int]:
    return {r[1] for one in effects if isinstance(one, Deliver) for r in one.readings}


def events(effects) -> list[str]:
    return [one.event for one in effects if isinstance(one, Note)]


def lanes(effects) -> list[Lane]:
    return [one.lane for one in effects if isinstance(one, Deliver)]


def smoke(state: int, when: str = WHEN, address: int = 17) -> bytes:
    return make_component_state(SYSTEM, 40, address, state, "３层走廊", when)


def test_a_fire_alarm_is_urgent_and_confirmed_only_with_a_receipt():
    transmitter, endpoint = FireTransmitter(ADDRESS, WHEN), endpoint_of()
    effects = endpoint.begin().receive(transmitter.send(smoke(3), 0.0), at(1))
    assert values(effects) == [(SMOKE_FIRE, 1.0, 0), (SMOKE_FAULT, 0.0, 0)]
    assert times(effects) == {T0}
    assert lanes(effects) == [Lane.URGENT]
    assert "fire_alarm" in events(effects)
    assert sent(effects) == b""
    transmitter.receive(receipts(effects), 0.0)
    assert transmitter.confirmed == [0]


def test_a_resent_alarm_is_confirmed_again_and_reported_once():
    transmitter, endpoint = FireTransmitter(ADDRESS, WHEN), endpoint_of()
    endpoint.begin().receive(transmitter.send(smoke(3), 0.0), at(0))
    again = endpoint.begin().receive(transmitter.tick(1.0), at(1))
    assert values(again) == []
    transmitter.receive(receipts(again), 1.0)
    assert transmitter.confirmed == [0]
    assert transmitter.tick(9.0) == b""


def test_an_alarm_that_comes_back_under_a_clock_that_stands_still_is_news():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    told = []
    for state in (3, 1, 3, 3, 1):
        transmitter.next_serial = 0
        effects = conversation.receive(transmitter.send(smoke(state), 0.0), at(len(told)))
        told.append([row for row in values(effects) if row[0] == SMOKE_FIRE])
        assert receipts(effects)
    assert told == [[(3, 1.0, 0)], [(3, 0.0, 0)], [(3, 1.0, 0)], [], [(3, 0.0, 0)]]


def test_an_older_statement_that_is_sent_again_after_a_newer_one_does_not_undo_it():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    conversation.receive(transmitter.send(smoke(3, "2026-05-04 13:20:50"), 0.0), at(0))
    conversation.receive(transmitter.send(smoke(1, "2026-05-04 13:20:55"), 0.0), at(1))
    again = conversation.receive(transmitter.tick(2.0), at(2))
    assert values(again) == []
    assert receipts(again)


def test_a_wrong_sum_is_denied_and_the_frame_is_sent_again():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    spoilt = conversation.receive(transmitter.send(smoke(3), 0.0, is_sum_wrong=True), at(0))
    assert events(spoilt) == ["frame_rejected"]
    again = transmitter.receive(sent(spoilt), 0.0)
    assert transmitter.denied == [0]
    effects = conversation.receive(again, at(0.1))
    assert (SMOKE_FIRE, 1.0, 0) in values(effects)


def test_a_data_unit_that_is_too_short_is_denied_by_name():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    effects = conversation.receive(transmitter.send(smoke(3)[:-1], 0.0), at(0))
    assert events(effects) == ["data_unit_rejected"]
    transmitter.receive(sent(effects), 0.0)
    assert transmitter.denied == [0]


def test_an_unknown_transmitter_is_noted_and_not_confirmed():
    transmitter, endpoint = FireTransmitter(9999, WHEN), endpoint_of()
    effects = endpoint.begin().receive(transmitter.send(smoke(3), 0.0), at(0))
    assert events(effects) == ["unknown_transmitter"]
    assert not receipts(effects)
    assert not sent(effects)


def test_an_alarm_of_a_component_that_nobody_configured_is_the_panels_until_all_such_are_over():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    told = []
    for state, address in ((3, 500), (3, 501), (1, 500), (1, 501)):
        when = f"2026-05-04 13:20:{len(told) + 10}"
        effects = conversation.receive(transmitter.send(smoke(state, when, address), 0.0), at(0))
        told += [row[1] for row in values(effects)]
        if state == 3:
            assert lanes(effects) == [Lane.URGENT]
    assert told == [1.0, 1.0, 1.0, 0.0]
    assert conversation._endpoint.unknown_places_total == 4


def test_a_late_alarm_of_one_place_is_not_taken_for_an_old_one_of_another():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    told = []
    for state, second, address in ((3, 10, 500), (1, 12, 500), (3, 10, 501)):
        unit = smoke(state, f"2026-05-04 13:20:{second}", address)
        told += [row[1] for row in values(conversation.receive(transmitter.send(unit, 0.0), at(0)))]
    assert told == [1.0, 0.0, 1.0]


def test_the_panels_own_state_ends_what_it_stands_for():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    conversation.receive(transmitter.send(smoke(3, address=500), 0.0), at(0))
    effects = conversation.receive(transmitter.send(make_transmitter_state(1, "2026-05-04 13:21:30"), 0.0), at(31))
    assert values(effects) == [(PANEL_FIRE, 0.0, 0), (PANEL_MAINS, 0.0, 0)]
    effects = conversation.receive(transmitter.send(make_transmitter_state(0b1001, "2026-05-04 13:21:40"), 0.0), at(41))
    assert (PANEL_MAINS, 1.0, 0) in values(effects)


def test_an_alarm_raised_by_hand_is_an_alarm_of_the_panel():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    effects = conversation.receive(transmitter.send(bytes((24, 1, 0b100, 7)) + make_time(WHEN), 0.0), at(0))
    assert values(effects) == [(PANEL_FIRE, 1.0, 0)]
    assert lanes(effects) == [Lane.URGENT]
    assert events(effects) == ["fire_panel_operated", "fire_alarm"]


def test_an_analogue_value_keeps_its_time_and_takes_the_ordinary_way():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of().begin()
    unit = make_analogue(SYSTEM, 10, 18, 6, 253, "2026-05-04 12:00:00")
    effects = conversation.receive(transmitter.send(unit, 0.0), at(0))
    assert values(effects) == [(GAS_LEL, 25.3, 0)]
    assert times(effects) == {T0 - 4859 * SECOND}
    assert lanes(effects) == [Lane.LIVE]


@pytest.mark.parametrize(
    ("clock", "happened"),
    [
        ("2026-05-03 13:20:59", "2026-05-03 13:20:59"),  # a day late
        ("2000-01-01 00:00:10", "2000-01-01 00:00:10"),  # never set
        (WHEN, "2021-01-01 00:00:00"),  # only the panel behind it is late
        ("2026-06-04 13:20:59", "2026-06-04 13:20:59"),  # a month ahead
    ],
)
def test_an_alarm_told_under_a_wrong_clock_is_an_alarm_of_now(clock, happened):
    transmitter, conversation = FireTransmitter(ADDRESS, clock), endpoint_of().begin()
    effects = conversation.receive(transmitter.send(smoke(3, happened), 0.0), at(0))
    assert (SMOKE_FIRE, 1.0, Reason.CLOCK_SUSPECT) in values(effects)
    assert times(effects) == {T0}


def test_a_small_clock_error_is_left_as_it_is():
    transmitter, conversation = FireTransmitter(ADDRESS, "2026-05-04 13:19:59"), endpoint_of().begin()
    effects = conversation.receive(transmitter.send(smoke(3, "2026-05-04 13:19:58"), 0.0), at(0))
    assert (SMOKE_FIRE, 1.0, 0) in values(effects)
    assert times(effects) == {T0 - 61 * SECOND}


def test_on_contact_the_clock_is_set_and_every_configured_state_is_asked_for():
    answers = {81: make_transmitter_state(1, WHEN), 62: smoke(1), 63: make_analogue(SYSTEM, 10, 18, 6, 10, WHEN)}
    transmitter = FireTransmitter(ADDRESS, WHEN, answers=answers)
    conversation = endpoint_of(sets_clock=True, reads_on_contact=True).begin()
    waiting = sent(conversation.receive(transmitter.send(make_transmitter_state(1, WHEN), 0.0), at(0)))
    told = []
    for step in range(1, 6):
        effects = conversation.receive(transmitter.receive(waiting, 0.0), at(step))
        told += values(effects)
        waiting = sent(effects)
    assert [frame.data.hex() for frame in transmitter.heard] == [
        "5a01" + make_time(WHEN).hex(),
        "510100",
        "3e010103" + "11000000",
        "3f010103" + "12000000",
    ]
    assert [frame.command for frame in transmitter.heard] == [1, 4, 4, 4]
    assert [frame.serial for frame in transmitter.heard] == [0, 1, 2, 3]
    assert {frame.destination for frame in transmitter.heard} == {ADDRESS}
    assert {row[0] for row in told} == {SMOKE_FIRE, SMOKE_FAULT, GAS_LEL}
    assert waiting == b""
    assert events(conversation.tick(at(60))) == []


def test_a_transmitter_that_answers_nothing_is_asked_four_times_within_forty_seconds():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of(sets_clock=True).begin()
    asked = [sent(conversation.receive(transmitter.send(smoke(1), 0.0), at(0)))]
    for seconds in (10, 20, 30):
        effects = conversation.tick(at(seconds))
        assert events(effects) == []
        asked.append(sent(effects))
    assert len(set(asked)) == 1
    assert asked[0]
    assert events(conversation.tick(at(40))) == ["request_unanswered"]


def test_a_denied_request_is_made_again_at_once_and_not_for_ever():
    transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of(reads_on_contact=True).begin()
    waiting = sent(conversation.receive(transmitter.send(smoke(1), 0.0), at(0)))
    noted = []
    for step in range(40):
        if not waiting:
            break
        effects = conversation.receive(transmitter.receive(waiting, 0.0), at(step / 10))
        noted += events(effects)
        waiting = sent(effects)
    assert waiting == b""
    assert noted == ["request_unanswered"] * 3
    assert len(transmitter.heard) == 12


def test_duty_checks_and_readings_come_at_their_intervals():
    endpoint = endpoint_of(read_interval_s=300.0, duty_check_interval_s=3600.0)
    transmitter = FireTransmitter(ADDRESS, WHEN, answers={81: make_transmitter_state(1, WHEN), 62: smoke(1), 63: b""})
    conversation = endpoint.begin()
    transmitter.receive(sent(conversation.receive(transmitter.send(smoke(1), 0.0), at(0))), 0.0)
    for seconds in range(1, 3700):
        waiting = sent(conversation.tick(at(seconds)))
        while waiting:
            waiting = sent(conversation.receive(transmitter.receive(waiting, 0.0), at(seconds)))
    kinds = [frame.data[0] for frame in transmitter.heard]
    assert (kinds.count(81), kinds.count(62), kinds.count(91)) == (12, 12, 1)


def test_a_transmitter_is_asked_every_five_minutes_unless_that_is_switched_off():
    for changes, asked in (({}, True), ({"read_interval_s": 0.0}, False)):
        transmitter, conversation = FireTransmitter(ADDRESS, WHEN), endpoint_of(**changes).begin()
        conversation.receive(transmitter.send(smoke(1), 0.0), at(0))
        assert sent(conversation.tick(at(1))) == b""
        assert bool(sent(conversation.tick(at(302)))) is asked


def test_all_nodes_of_a_silent_transmitter_are_stale_and_it_is_asked_again_when_it_is_back():
    transmitter, endpoint = FireTransmitter(ADDRESS, WHEN), endpoint_of(reads_on_contact=True)
    conversation = endpoint.begin()
    conversation.receive(transmitter.send(smoke(1), 0.0), at(0))
    for seconds in range(0, 200, 10):
        conversation.tick(at(seconds))
    endpoint.tick(at(1))
    stale = endpoint.tick(at(901))
    assert {row[0] for row in values(stale)} == {1, 2, 3, 4, 5}
    assert {row[2] for row in values(stale)} == {Reason.STALE}
    effects = conversation.receive(transmitter.tick(1.0), at(910))
    assert "station_back" in events(effects)
    assert (SMOKE_FIRE, 0.0, 0) in [(alias, value, 0) for alias, value, _ in values(effects)]
    assert sent(effects)


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ([SMOKE], "needs a node of its own"),
        ([{**HEAD, "channels": ["mains_failure"]}], "needs a node of its own"),
        ([HEAD, {**HEAD, "node_id": "twice"}], "are the same place"),
        ([{**HEAD, "channels": ["combustible_gas"]}], "'combustible_gas' is not one of"),
        ([HEAD, {**SMOKE, "system_address": None}], "stand together"),
        ([{**HEAD, "transmitter": 2**48}], "281474976710655"),
        ([{**HEAD, "channels": ["fire_alarm", "fire_alarm"]}], "stands there twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_with_the_reason(nodes, named):
    with pytest.raises(ConfigurationError) as caught:
        bus(*[{key: part for key, part in node.items() if part is not None} for node in nodes])
    assert named in str(caught.value)
