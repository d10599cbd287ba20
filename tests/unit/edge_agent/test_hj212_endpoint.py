"""An HJ 212-2017 endpoint and a simulated station talk; time is a number in the test."""

from __future__ import annotations

import pytest

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from contracts.quality import Reason
from edge_agent.agent_plan import ListeningLinePlan
from edge_agent.channel_table import ChannelTable
from edge_agent.hj212.hj212_endpoint import CLOCK_AGAIN_S, Hj212Endpoint
from edge_agent.hj212.hj212_segment import format_time
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.listen_configuration import Hj212BusSettings
from edge_agent.lines.listen_effect import Deliver, Lane, Moment, Note, Send
from simulators.hj212_station import Hj212Station

SECOND = 10**9
T0 = 1_777_872_060 * SECOND  # 2026-05-04 13:21:00 in China
MN = "010000A8900016F000169DC0"
DATA_TIME = format_time(T0 - 60 * SECOND)


def bus(**changes) -> Hj212BusSettings:
    node = {"node_id": "outfall-1", "mn": MN, "password": "123456", "factors": ["w01018", "w01001"]}
    hours = {**node, "node_id": "outfall-1-hours", "period": "hour", "factors": ["w01018"]}
    document = {
        "bus_id": "stations",
        "kind": "hj212",
        "endpoint": {"kind": "tcp", "port": 8212},
        "node": [node, hours],
        **changes,
    }
    return check_settings(Hj212BusSettings, document, "test")


def endpoint_of(channels: ChannelTable | None = None, **changes) -> Hj212Endpoint:
    endpoint = build_endpoint(ListeningLinePlan(bus(**changes)), ChannelTable() if channels is None else channels)
    assert isinstance(endpoint, Hj212Endpoint)
    return endpoint


def at(seconds: float) -> Moment:
    return Moment(T0 + int(seconds * SECOND), 1000.0 + seconds)


def sent(effects) -> bytes:
    return b"".join(one.octets for one in effects if isinstance(one, Send))


def receipts(effects) -> bytes:
    return b"".join(one.receipt for one in effects if isinstance(one, Deliver))


def readings(effects) -> list:
    return [reading for one in effects if isinstance(one, Deliver) for reading in one.readings]


def events(effects) -> list[str]:
    return [one.event for one in effects if isinstance(one, Note)]


def report(station: Hj212Station, cod: str = "12.5", number_s: float = 0.0, **more) -> bytes:
    groups = [{"DataTime": DATA_TIME}, {"w01018-Rtd": cod, "w01018-Flag": "N"}, {"w01001-Rtd": "7.1"}]
    number = format_time(T0 + int(number_s * SECOND), has_milliseconds=True)
    return station.report(number, "2011", groups, 0.0, **more)


def test_a_report_is_delivered_and_its_answer_waits_until_it_is_durable():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    effects = endpoint.begin().receive(report(station), at(0))
    assert [(alias, value, reason) for alias, _, value, reason in readings(effects)] == [(1, 12.5, 0), (2, 7.1, 0)]
    assert {time_ns for _, time_ns, _, _ in readings(effects)} == {T0 - 60 * SECOND}
    assert sent(effects) == b""
    station.receive(receipts(effects))
    assert station.answered == [format_time(T0, has_milliseconds=True)]


def test_a_report_that_is_sent_again_is_answered_again_and_not_delivered_twice():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    first = endpoint.begin().receive(report(station), at(0))
    again = endpoint.begin().receive(station.tick(1.5), at(1.5))
    assert len(readings(first)) == 2
    assert readings(again) == []
    assert receipts(again) == receipts(first) != b""


def test_a_wrong_crc_then_the_right_frame_loses_nothing():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    conversation = endpoint.begin()
    spoilt = conversation.receive(report(station, is_check_wrong=True), at(0))
    assert events(spoilt) == ["frame_rejected"]
    assert not readings(spoilt)
    assert not receipts(spoilt)
    assert len(readings(conversation.receive(station.tick(1.5), at(1.5)))) == 2


@pytest.mark.parametrize(
    ("station", "event"),
    [(Hj212Station(MN, "654321"), "wrong_password"), (Hj212Station("SOMEBODY-ELSE", "123456"), "unknown_station")],
)
def test_who_is_not_known_is_noted_counted_and_never_answered(station, event):
    endpoint = endpoint_of()
    effects = endpoint.begin().receive(report(station), at(0))
    assert events(effects) == [event]
    assert sent(effects) == receipts(effects) == b""
    assert endpoint.rejected_total == 1


def test_hour_data_are_history_and_go_to_the_node_that_wants_hours():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    groups = [{"DataTime": "20260504120000"}, {"w01018-Min": "1", "w01018-Avg": "2", "w01018-Max": "3"}]
    effects = endpoint.begin().receive(
        station.report(format_time(T0, has_milliseconds=True), "2061", groups, 0.0), at(0)
    )
    (deliver,) = [one for one in effects if isinstance(one, Deliver)]
    assert deliver.lane is Lane.HISTORY
    assert [(alias, value) for alias, _, value, _ in deliver.readings] == [(3, 2.0)]


def test_a_message_in_packets_is_answered_packet_by_packet_and_delivered_whole():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    groups = [[{"DataTime": DATA_TIME}, {"w01018-Rtd": "5"}], [{"w01001-Rtd": "7"}]]
    first, second = (
        station.report(format_time(T0 + number * 10**6, has_milliseconds=True), "2011", part, 0.0, packet=(number, 2))
        for number, part in enumerate(groups, 1)
    )
    effects = conversation.receive(second, at(0))
    assert readings(effects) == []
    station.receive(sent(effects))
    effects = conversation.receive(first, at(1))
    assert [(value, reason) for _, _, value, reason in readings(effects)] == [(5.0, 0), (7.0, 0)]
    station.receive(receipts(effects))
    assert len(station.answered) == 2


def test_packets_whose_rest_never_comes_are_told():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    conversation.receive(report(station, packet=(1, 2)), at(0))
    assert events(conversation.tick(at(59))) == []
    assert events(conversation.tick(at(61))) == ["message_incomplete"]


def test_a_station_is_told_its_intervals_once_and_each_request_is_ended_by_its_result():
    endpoint = endpoint_of(sets_timeouts=True, realtime_interval_s=30, minute_interval_min=10)
    station, conversation = Hj212Station(MN, "123456"), endpoint.begin()
    waiting = sent(conversation.receive(report(station), at(0)))
    for step in range(1, 8):
        waiting = sent(conversation.receive(station.receive(waiting), at(step)))
    told = [(one["CN"], one["CP"]) for one in station.requests]
    assert told == [("1000", "OverTime=5;ReCount=3"), ("1062", "RtdInterval=30"), ("1064", "MinInterval=10")]
    assert all(one["Flag"] == "5" and one["PW"] == "123456" and one["ST"] == "32" for one in station.requests)
    assert len({one["QN"] for one in station.requests}) == 3
    assert sent(conversation.tick(at(1000))) == b""


def notes(effects, event):
    return [one.detail for one in effects if isinstance(one, Note) and one.event == event]


def talk(endpoint, station, *, seconds=9):
    """All that an endpoint notes until it has nothing more to ask."""
    conversation = endpoint.begin()
    effects = conversation.receive(report(station), at(0))
    noted = list(effects)
    for step in range(1, seconds):
        effects = conversation.receive(station.receive(sent(effects)), at(step))
        noted += effects
    return noted


def test_a_station_is_asked_for_its_clock_and_intervals_and_what_it_says_is_noted():
    clock = format_time(T0 + 20 * SECOND)
    station = Hj212Station(MN, "123456", settings={"RtdInterval": "60", "MinInterval": "10", "SystemTime": clock})
    noted = talk(endpoint_of(reads_settings=True, realtime_interval_s=30), station)
    assert [one["CN"] for one in station.requests] == ["1062", "1011", "1061", "1063"]
    said = notes(noted, "station_setting")
    assert [one.partition("says=")[2] for one in said] == [
        f"'SystemTime={clock}'",
        "'RtdInterval=30'",
        "'MinInterval=10'",
    ]
    assert notes(noted, "station_setting_differs") == []
    assert len([one for one in events(noted) if one == "request_done"]) == 4


def test_an_interval_that_was_not_taken_over_and_a_wrong_clock_are_told_and_the_clock_is_set():
    clock = format_time(T0 - 7_200 * SECOND)
    settings = {"RtdInterval": "60", "MinInterval": "10", "SystemTime": clock}
    station = Hj212Station(MN, "123456", settings=settings, is_stubborn=True)
    noted = talk(endpoint_of(reads_settings=True, realtime_interval_s=30, minute_interval_min=10), station, seconds=12)
    differs = notes(noted, "station_setting_differs")
    assert any("off_s=-720" in one for one in differs), differs
    assert any("RtdInterval='60' wanted=30" in one for one in differs)
    assert not any("MinInterval" in one for one in differs)
    assert [one["CN"] for one in station.requests][-1] == "1012"


def test_a_factor_that_is_not_in_the_annex_is_kept_under_its_code_as_it_was_sent():
    node = {"node_id": "a", "mn": MN, "password": "123456", "factors": ["w01018"], "other_factors": ["w99999", "011"]}
    channels = ChannelTable()
    endpoint = endpoint_of(channels, node=[node])
    assert [channels[alias].quantity for alias in (1, 2, 3)] == [
        "chemical_oxygen_demand",
        "hj212_w99999",
        "hj212_011",
    ]
    groups = [
        {"DataTime": DATA_TIME},
        {"w99999-Rtd": "-4.25", "w99999-Flag": "D"},
        {"011-Rtd": "7"},
        {"w88888-Rtd": "1"},
    ]
    frame = Hj212Station(MN, "123456").report(format_time(T0, has_milliseconds=True), "2011", groups, 0.0)
    effects = endpoint.begin().receive(frame, at(0))
    assert [(alias, value, reason) for alias, _, value, reason in readings(effects)] == [
        (2, -4.25, Reason.DEVICE_FAULT),
        (3, 7.0, Reason.OK),
    ]
    assert endpoint.passed_over_total == 1
    assert "w88888" in notes(effects, "factors_passed_over")[0]


def test_a_station_that_sends_another_unit_than_the_standard_prints_is_believed():
    node = {"node_id": "a", "mn": MN, "password": "123456", "factors": ["w20120", "a21001"]}
    endpoint = endpoint_of(node=[{**node, "units": {"w20120": "mg/L", "a21001": "ug/m3"}}])
    groups = [{"DataTime": DATA_TIME}, {"w20120-Rtd": "0.05", "w20120-Flag": "T"}, {"a21001-Rtd": "1500"}]
    frame = Hj212Station(MN, "123456").report(format_time(T0, has_milliseconds=True), "2011", groups, 0.0)
    effects = endpoint.begin().receive(frame, at(0))
    assert [(value, reason) for _, _, value, reason in readings(effects)] == [
        (50.0, Reason.OUT_OF_RANGE),
        (1.5, Reason.OK),
    ]


@pytest.mark.parametrize(("wanted", "command"), [(True, "2011"), (False, "2012")])
def test_real_time_data_are_begun_and_ended(wanted, command):
    station, conversation = Hj212Station(MN, "123456"), endpoint_of(reports_realtime=wanted).begin()
    waiting = sent(conversation.receive(report(station), at(0)))
    effects = conversation.receive(station.receive(waiting), at(1))
    assert [one["CN"] for one in station.requests] == [command]
    assert "request_done" in events(effects)
    assert events(conversation.tick(at(500))) == []


def test_a_station_that_connects_is_asked_for_the_hours_since_the_last_that_came():
    endpoint, station = endpoint_of(reads_history=True), Hj212Station(MN, "123456")
    station.receive(sent(endpoint.begin().receive(report(station, "1"), at(0))))
    hours = [{"DataTime": format_time(T0 - 3600 * SECOND)}, {"w01018-Avg": "2"}]
    name = format_time(T0 + 10**6, has_milliseconds=True)
    station.receive(sent(endpoint.begin().receive(station.report(name, "2061", hours, 0.0), at(10))))
    assert [(one["CN"], one["CP"]) for one in station.requests] == [
        ("2061", f"BeginTime={format_time(T0 - 86_400 * SECOND)};EndTime={format_time(T0)}"),
        ("2061", f"BeginTime={format_time(T0 - 3600 * SECOND)};EndTime={format_time(T0 + 10 * SECOND)}"),
    ]


def test_a_deaf_station_is_asked_four_times_and_then_given_up():
    endpoint = endpoint_of(realtime_interval_s=30)
    station, conversation = Hj212Station(MN, "123456", is_deaf=True), endpoint.begin()
    station.receive(sent(conversation.receive(report(station), at(0))))
    for seconds in (5, 10, 15):
        effects = conversation.tick(at(seconds))
        assert events(effects) == []
        station.receive(sent(effects))
    assert events(conversation.tick(at(20))) == ["request_unanswered"]
    assert len(station.requests) == 4
    assert len({one["QN"] for one in station.requests}) == 1, "a repetition bears the number of the first"


def test_a_wrong_clock_is_set_once_an_hour_and_a_right_one_is_left_alone():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    assert sent(conversation.receive(report(station, "1", number_s=-30), at(0))) == b""
    station.receive(sent(conversation.receive(report(station, "2", number_s=-7200), at(1))))
    assert [(one["CN"], one["CP"]) for one in station.requests] == [("1012", f"SystemTime={format_time(T0 + SECOND)}")]
    conversation.receive(report(station, "3", number_s=-7100), at(100))
    conversation.tick(at(101))
    late = 30 + CLOCK_AGAIN_S
    assert b"CN=1012" in sent(conversation.receive(report(station, "4", number_s=-7000), at(late)))


def test_a_station_that_asks_for_the_time_gets_a_notice_answer_and_the_time():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    notice = station.report(format_time(T0, has_milliseconds=True), "1013", [{"PolId": "w01018"}], 0.0)
    answer = sent(conversation.receive(notice, at(0)))
    assert b"CN=9013" in answer
    station.receive(answer)
    assert station.answered
    assert [one["CN"] for one in station.requests] == ["1012"]


@pytest.mark.parametrize("data_time", ["19700101000000", "20270101000000", "nonsense"])
def test_a_clock_that_cannot_be_right_gives_way_to_the_gateways(data_time):
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    groups = [{"DataTime": data_time}, {"w01018-Rtd": "5"}]
    effects = endpoint.begin().receive(
        station.report(format_time(T0, has_milliseconds=True), "2011", groups, 0.0), at(0)
    )
    ((_, time_ns, value, reason),) = readings(effects)
    assert (time_ns, value) == (T0, 5.0)
    assert reason == (0 if data_time == "nonsense" else Reason.CLOCK_SUSPECT)


def test_a_gateway_whose_clock_was_never_set_believes_the_station_and_sets_no_clock():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    effects = endpoint.begin().receive(report(station), Moment(3_600 * SECOND, 5.0))
    assert {(time_ns, reason) for _, time_ns, _, reason in readings(effects)} == {(T0 - 60 * SECOND, 0)}
    assert sent(effects) == b""


def test_factors_that_nobody_takes_are_noted_once_and_counted_always():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    conversation = endpoint.begin()
    for number in range(3):
        groups = [{"DataTime": DATA_TIME}, {"w99999-Rtd": str(number)}, {"w21003-Rtd": "1"}]
        name = format_time(T0 + number * 10**6, has_milliseconds=True)
        effects = conversation.receive(station.report(name, "2011", groups, 0.0), at(number))
        assert events(effects) == (["factors_passed_over"] if number == 0 else [])
        assert receipts(effects)
    assert endpoint.passed_over_total == 6


def test_a_station_that_falls_silent_is_stale_and_its_first_word_is_news_again():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    conversation = endpoint.begin()
    frame = report(station)
    conversation.receive(frame, at(0))
    assert readings(endpoint.tick(at(0.5))) == []
    stale = endpoint.tick(at(901))
    assert {(alias, value, reason) for alias, _, value, reason in readings(stale)} >= {
        (1, None, Reason.STALE),
        (2, None, Reason.STALE),
    }
    assert "station_silent" in events(stale)
    assert readings(endpoint.tick(at(905))) == [], "said once per limit"
    effects = conversation.receive(frame, at(1000))
    assert events(effects)[:1] == ["station_back"]
    assert len(readings(effects)) == 2


def test_a_node_is_patient_with_its_kind_of_report_and_a_heartbeat_brings_no_value():
    station, endpoint = Hj212Station(MN, "123456"), endpoint_of()
    conversation = endpoint.begin()
    conversation.receive(report(station), at(0))
    endpoint.tick(at(1))
    for seconds in range(60, 900, 60):
        beat = station.report(format_time(T0 + seconds * SECOND, has_milliseconds=True), "2021", [{"SB1-RS": "1"}], 0.0)
        conversation.receive(beat, at(seconds))
    stale = endpoint.tick(at(901))
    assert {alias for alias, _, _, reason in readings(stale) if reason == Reason.STALE} == {1, 2}
    assert readings(endpoint.tick(at(10_000)))[0][0] == 1
    assert 3 in {alias for alias, *_ in readings(endpoint.tick(at(10_810)))}, "three hours without hour data"


def test_a_frame_that_stops_in_the_middle_is_given_up_after_a_pause_and_the_next_is_whole():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    frame = report(station)
    assert conversation.receive(frame[:50], at(0)) == []
    assert events(conversation.pause(at(2))) == ["frame_rejected"]
    assert conversation.pause(at(3)) == []
    assert len(readings(conversation.receive(frame, at(4)))) == 2


def test_commands_without_a_meaning_here_are_answered_and_noted():
    station, conversation = Hj212Station(MN, "123456"), endpoint_of().begin()
    frame = station.report(format_time(T0, has_milliseconds=True), "2021", [{"SB1-RS": "1"}], 0.0)
    effects = conversation.receive(frame, at(0))
    assert events(effects) == ["command_passed_over"]
    assert b"CN=9014" in sent(effects)


@pytest.mark.parametrize(
    ("changes", "path", "named"),
    [
        ({"node": []}, "$.node", "at least 1"),
        ({"endpoint": {"kind": "tcp", "port": 0}}, "$.endpoint.tcp.port", "0"),
        ({"endpoint": {"kind": "udp", "port": 1}}, "$.endpoint", "udp"),
        ({"retries": 99}, "$.retries", "99"),
    ],
)
def test_a_faulty_bus_is_named_by_path_and_value(changes, path, named):
    with pytest.raises(ConfigurationError) as caught:
        bus(**changes)
    assert any(fault.path == path and named in fault.message for fault in caught.value.faults), caught.value.faults


@pytest.mark.parametrize(
    ("node", "named"),
    [
        ({"factors": ["w01018", "x99"]}, "'x99' is none of annex B"),
        ({"factors": [], "other_factors": []}, "there is none"),
        ({"factors": ["a21001"]}, "needs its unit, which the standard misprints"),
        ({"other_factors": ["w01018"]}, "it belongs into factors"),
        ({"other_factors": ["w-1"]}, "'w-1' is no code"),
        ({"units": {"w01018": "kPa"}}, "not one of ng/L, ug/L, mg/L, g/L"),
        ({"units": {"w20120": "mg/L"}}, "not one of the factors"),
        ({"factors": ["a01001", "a01012"]}, "are both temperature"),
        ({"factors": ["w01001"], "statistic": "cou"}, "no total of a known unit"),
        ({"factors": ["w01018"], "password": "other"}, "two different passwords"),
    ],
)
def test_a_node_that_cannot_be_is_refused_with_the_reason(node, named):
    good = {"node_id": "a", "mn": MN, "password": "123456", "factors": ["w01018"]}
    with pytest.raises(ConfigurationError, match=None) as caught:
        bus(node=[good, {**good, "node_id": "b", **node}])
    assert named in str(caught.value)
