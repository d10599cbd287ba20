"""What the page says: values, quality, times, banners, in both languages."""

import datetime as dt
import re
import string
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import console
from console.presentation import (
    LOSSES_SHOWN_NS,
    NO_VALUE,
    Reader,
    describe_alarm,
    describe_banners,
    describe_channel,
    describe_counters,
    describe_gateways,
    format_time,
    format_value,
)
from console.texts import TEXTS, Language, Wording, choose_language
from console.view_model import (
    FleetArrived,
    HealthArrived,
    LatestArrived,
    Source,
    SourceAnswered,
    SourceFailed,
    State,
    step,
)
from contracts.alarm import Alarm, AlarmState, Colour
from contracts.condition import Direction
from contracts.fleet import Domain, FleetSnapshot, LifecycleState
from contracts.quality import REASONS, Level, Reason
from contracts.quantity import QUANTITIES
from contracts.query import AgentLosses, ChannelLatest, GatewayHealth, LatestPage, PipelineHealth
from contracts.score import OTHER_SCORES, STANDARD

NOON_NS = 1_795_348_800_000_000_000  # 2026-11-22T12:00:00Z
EN = Reader(Wording(Language.EN), dt.UTC, NOON_NS + 60_000_000_000)

FLEET = FleetSnapshot(
    revision=1,
    districts=[{"district_id": "d", "name": "D"}],
    sites=[{"site_id": "s", "district_id": "d", "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}],
    gateways=[{"gateway_id": "g", "district_id": "d", "name": "G"}],
    nodes=[{"node_id": "n", "gateway_id": "g", "bus_id": "b", "site_id": "s", "model": "m"}],
    channels=[{"channel_id": 1, "node_id": "n", "quantity": "methane_lel"}],
)


def cells(reader=EN, **fields):
    row = {
        "channel_id": 1, "phenomenon_ns": NOON_NS, "received_ns": NOON_NS, "value": 12.34, "level": "good",
        "reason": "ok", "score_ewma_z": 0.517, "last_good_value": 12.34, "last_good_ns": NOON_NS,
    }  # fmt: skip
    page = LatestPage(revision=1, channels=[ChannelLatest(**{**row, **fields})])
    state = State()
    for update in (FleetArrived(FLEET, 1), LatestArrived(page, is_complete=True, at_ns=1)):
        state, _ = step(state, update)
    return describe_channel(state, 1, reader)


def test_a_good_value_stands_with_its_unit():
    good = cells()
    assert (good.value, good.quality, good.last_good) == ("12.3 %LEL", "good", "")
    assert good.observed_ms == NOON_NS // 1_000_000


@pytest.mark.parametrize("value", [None, 12.34, 99.9])
@pytest.mark.parametrize("reason", [reason for reason in Reason if REASONS[reason].level is Level.BAD])
def test_a_bad_observation_never_shows_a_current_number_and_gives_its_reason(reason, value):
    bad = cells(value=value, level="bad", reason=reason.wire_name, last_good_value=7.0)
    assert bad.value == NO_VALUE
    assert (bad.score, bad.detector, bad.is_unusual) == (NO_VALUE, "", False)
    assert bad.quality == f"BAD: {REASONS[reason].text}"
    assert bad.last_good == "last good 7.0 %LEL at 12:00:00"


def test_a_bad_channel_that_was_never_good_has_no_last_good_value():
    assert cells(value=None, level="bad", reason="no_answer", last_good_value=None, last_good_ns=None).last_good == ""


def test_an_uncertain_value_is_shown_with_its_doubt():
    doubtful = cells(level="uncertain", reason="clock_suspect")
    assert doubtful.value == "12.3 %LEL"
    assert doubtful.quality == "uncertain: the gateway's clock was not synchronised"


def test_a_reason_that_the_contract_does_not_know_is_shown_by_its_name():
    assert cells(level="bad", reason="frozen_solid").quality == "BAD: frozen_solid"


def test_a_channel_without_observations_says_so():
    state, _ = step(State(), FleetArrived(FLEET, 1))
    silent = describe_channel(state, 1, EN)
    assert (silent.level, silent.value, silent.quality) == ("none", NO_VALUE, "nothing received yet")


@pytest.mark.parametrize(
    ("value", "quantity", "text"),
    [
        (12.345, "methane_lel", "12.3 %LEL"),
        (-0.01, "methane_lel", "0.0 %LEL"),
        (1.0, "fire_alarm", "1"),
        (0.12345, "acceleration", "0.123 m/s²"),
        (5.5, "unheard_of", "5.5"),
    ],
)
def test_values_have_the_quantity_s_unit_and_decimals(value, quantity, text):
    assert format_value(value, quantity) == text


def test_times_are_the_city_s_and_carry_the_date_when_it_is_not_today_s():
    assert format_time(NOON_NS, EN) == "12:00:00"
    shanghai = Reader(EN.wording, ZoneInfo("Asia/Shanghai"), EN.now_ns)
    assert format_time(NOON_NS, shanghai) == "20:00:00"
    assert format_time(NOON_NS - 86_400_000_000_000, shanghai) == "2026-11-21 20:00:00"


def test_an_alarm_on_a_score_says_why_in_the_detector_s_words():
    why = "unmoved near 9.5 %LEL for 20 readings, usually for 5 at most"
    alarm = Alarm.model_validate(
        {
            "alarm_id": 1, "revision": 1, "state": "unacknowledged", "is_active": True, "condition_id": "c",
            "channel_id": 1, "title": "Stuck", "priority": 4, "colour": "blue", "district_id": "d", "site_id": "s",
            "gateway_id": "g", "node_id": "n", "quantity": "methane_lel", "unit": "%{LEL}", "set_point": 0.667,
            "value": 9.5, "input": "score_flat_line", "input_value": 0.7123, "explanation": why,
            "phenomenon_ns": NOON_NS, "raised_ns": NOON_NS,
        }
    )  # fmt: skip
    fields = describe_alarm(alarm, "Station", EN)
    assert (fields.value, fields.set_point) == ("9.5 %LEL", f"flat line score 0.712, set-point 0.667: {why}")
    plain = alarm.model_copy(update={"explanation": ""})
    assert describe_alarm(plain, "Station", EN).set_point == "flat line score 0.712, set-point 0.667"


def answered(*sources, state=None):
    state = state or State()
    for source in sources:
        state, _ = step(state, SourceAnswered(source, NOON_NS))
    return state


def test_there_is_no_banner_when_all_is_live():
    assert describe_banners(answered(*Source), EN) == []


def test_each_source_that_is_down_is_said_with_the_time_of_its_last_answer():
    state, _ = step(answered(*Source), SourceFailed(Source.ALARMS, "time-out"))
    assert describe_banners(state, EN) == [
        "Alarm service does not answer since 12:00:00 – alarms shown may be old, new ones cannot appear (time-out)"
    ]


def test_one_service_that_is_down_is_one_banner():
    state = answered(Source.ALARMS, Source.FLEET)
    assert describe_banners(state, EN) == ["Stream processor has not answered yet – no values are known"]


def with_gateways(*losses, now_ns=NOON_NS):
    """The page's state after a health with a gateway for each of these losses."""
    gateways = [
        GatewayHealth(gateway_id=f"gw-{at}", is_online=True, epoch=1, last_payload_ns=NOON_NS, losses=each)
        for at, each in enumerate(losses, start=1)
    ]
    health = PipelineHealth(
        is_broker_connected=True, stored_observations_total=0, duplicate_batches_total=0, quarantined_total=0,
        unscored_batches_total=0, shed_batches_total=0, queued_batches=0, outbox_events=0, gateways=gateways,
    )  # fmt: skip
    state, change = step(answered(*Source), HealthArrived(health, now_ns))
    return state, change


def test_a_full_gateway_that_gave_up_readings_stands_in_the_banner_for_a_day():
    losses = AgentLosses(thinned_readings_total=12_340, discarded_readings_total=7, since_ns=NOON_NS)
    state, change = with_gateways(None, losses, AgentLosses())
    assert change.is_status, "the page is told at once"
    (banner,) = describe_banners(state, EN)
    assert "gw-2 (12,340 thinned, 7 dropped, told 12:00:00)" in banner
    assert "gw-1" not in banner
    assert "gw-3" not in banner, "it told that it gave up nothing"
    tomorrow = Reader(EN.wording, EN.zone, NOON_NS + LOSSES_SHOWN_NS)
    assert describe_banners(state, tomorrow) == []
    assert describe_gateways(state, tomorrow)[0].thinned == "12,340", "the panel keeps it"


def test_a_banner_names_the_gateways_that_told_last_and_counts_the_others():
    state, _ = with_gateways(*(AgentLosses(thinned_readings_total=at, since_ns=NOON_NS + at) for at in range(1, 6)))
    (banner,) = describe_banners(state, EN)
    assert [f"gw-{at}" in banner for at in range(1, 6)] == [False, False, True, True, True]
    assert banner.endswith("and 2 more")


def test_the_panel_of_gateways_begins_with_those_that_gave_up_anything():
    state, _ = with_gateways(None, AgentLosses(), AgentLosses(spools_set_aside_total=1, since_ns=NOON_NS))
    rows = describe_gateways(state, EN)
    assert [(row.gateway_id, row.set_aside, row.thinned, row.since) for row in rows] == [
        ("gw-3", "1", "0", "12:00:00"),
        ("gw-1", NO_VALUE, NO_VALUE, NO_VALUE),
        ("gw-2", "0", "0", NO_VALUE),
    ]


def test_counters_of_a_source_that_is_not_live_are_dashes():
    state, _ = step(answered(Source.LATEST, Source.HEALTH), FleetArrived(FLEET, 1))
    assert describe_counters(state).silent == "1"
    state, _ = step(state, SourceFailed(Source.LATEST, "time-out"))
    assert describe_counters(state).silent == NO_VALUE
    assert describe_counters(state).nodes == "1"


def test_both_languages_have_every_text_with_the_same_fields():
    for key, (english, chinese) in TEXTS.items():
        assert english, key
        assert chinese, key
        fields = [
            sorted(name for _, name, _, _ in string.Formatter().parse(text) if name) for text in (english, chinese)
        ]
        assert fields[0] == fields[1], f"{key}: the columns have other fields"


def test_every_text_that_is_asked_for_stands_in_the_table_and_none_is_idle():
    families = {
        "colour": Colour, "state": AlarmState, "level": [*Level, "none"], "domain": Domain,
        "node_state": LifecycleState, "never": Source, "down": Source, "trend": Direction,
        "counter": ["nodes", "good", "uncertain", "bad", "silent", "gateways", "quarantine"],
        "fleet.quality": ["all", "not_good"], "fleet.order": ["bad_first", "place"],
        "trend.span": ["10m", "1h", "24h"],
        "score": [STANDARD, *OTHER_SCORES], "score_means": [STANDARD, *OTHER_SCORES],
    }  # fmt: skip
    made = {f"{family}.{member}" for family, members in families.items() for member in members}
    folder = Path(console.__file__).parent
    asked = set(made)
    for path in [*folder.glob("*.py"), *folder.glob("templates/*.html")]:
        if path.name != "texts.py":
            text = path.read_text()
            asked |= set(re.findall(r"""\b(?:t|wording)\(\s*["']([a-z_.0-9]+[a-z0-9])["']""", text))
            asked |= {key for key in re.findall(r'"([a-z_]+\.[a-z_0-9]+)"', text) if key in TEXTS}
    assert asked - TEXTS.keys() == set()
    assert TEXTS.keys() - asked == set()


def test_chinese_covers_every_reason_and_quantity():
    chinese = Wording(Language.ZH)
    for reason in Reason:
        assert re.search("[\u4e00-\u9fff]", chinese.reason(reason.wire_name)), reason
    for name in QUANTITIES:
        assert re.search("[\u4e00-\u9fff]", chinese.quantity(name)), name


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "language"),
    [
        (None, None, None, "en"),
        ("zh", "en", "en", "zh"),
        ("fr", "zh", "en", "zh"),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, None, "fr, en;q=0.5, zh;q=0.7", "zh"),
        (None, None, "zh;q=0, fr", "en"),
        (None, None, ";;q=,zh;q=x", "en"),
    ],
)
def test_the_language_is_the_asked_then_the_remembered_then_the_browser_s(asked, remembered, accepted, language):
    assert choose_language(asked, remembered, accepted) == language
