"""The small parts: feed plan, event stream, chart, credentials, throttle, back-off, store, configuration, vendored."""

import hashlib
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import console
from console.backoff import LONGEST_DELAY_S, plan_delay_s
from console.configuration import ConsoleSettings
from console.credential import (
    LETTERS,
    clean_user_name,
    derive_csrf_token,
    hash_password,
    hash_session_token,
    make_password,
)
from console.event_stream import encode_event
from console.feed_plan import INTERVALS_NS, FeedPlan, Part
from console.fleet_query import FleetQuery, Order
from console.session_store import SessionStore
from console.sign_in_throttle import ADDRESSES_MAX, FAILURES_MAX, WINDOW_NS, SignInThrottle
from console.texts import Language, Wording
from console.trend_chart import build_chart
from console.view_model import Change
from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError
from contracts.query import Trend
from contracts.score import STANDARD

FOLDER = Path(console.__file__).parent
MS = 1_000_000
SECOND = 1_000_000_000


# --- feed plan


def opened_plan(query=None):
    plan = FeedPlan(query or FleetQuery())
    assert plan.take_due(0) == [Part.ALARMS, Part.STATUS, Part.FLEET, Part.TICK]
    return plan


def test_an_alarm_is_due_at_once():
    plan = opened_plan()
    plan.add(Change(is_alarms=True))
    assert plan.take_due(100 * MS) == [Part.ALARMS]


def test_a_flood_of_alarms_is_gathered():
    plan = opened_plan()
    sent = 0
    for at_ms in range(100, 1_100, 5):
        plan.add(Change(is_alarms=True))
        sent += Part.ALARMS in plan.take_due(at_ms * MS)
    assert sent == 1_000 // (INTERVALS_NS[Part.ALARMS] // MS)


def test_values_are_gathered_to_two_batches_a_second_and_none_is_lost():
    plan = opened_plan()
    batches = []
    for at_ms in range(500, 2_500, 10):
        plan.add(Change(channel_ids=frozenset({at_ms})))
        if Part.VALUES in plan.take_due(at_ms * MS):
            batches.append(plan.take_channel_ids())
    assert len(batches) == 4
    assert set().union(*batches, plan.take_channel_ids()) == set(range(500, 2_500, 10))


def test_rows_change_their_order_only_where_the_page_follows_quality():
    for order, is_due in ((Order.BAD_FIRST, True), (Order.PLACE, False)):
        plan = opened_plan(FleetQuery(order=order))
        plan.add(Change(is_levels=True))
        assert (Part.FLEET in plan.take_due(10 * SECOND)) is is_due


def test_a_tick_goes_always():
    plan = opened_plan()
    assert plan.next_due_ns() == 3 * SECOND
    assert plan.take_due(3 * SECOND) == [Part.TICK]
    assert plan.next_due_ns() == 6 * SECOND


# --- event stream


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_browser_reads_the_payload_again(payload):
    lines = encode_event("values", payload).decode().removesuffix("\n\n").split("\n")
    assert lines[0] == "event: values"
    assert all(line.startswith("data: ") and "\r" not in line for line in lines[1:])
    told = "\n".join(line.removeprefix("data: ") for line in lines[1:])
    assert told == re.sub("\r\n|\r", "\n", payload)


def test_a_name_with_a_line_break_is_refused():
    with pytest.raises(ValueError, match="no line break"):
        encode_event("a\ndata: b", "")


# --- trend chart


def trend(*buckets, bucket_s=2):
    """Buckets as (number, mean or None)."""
    means = [mean for _, mean in buckets]
    return Trend(
        channel_id=1, from_ns=0, to_ns=600 * SECOND, bucket_ns=bucket_s * SECOND,
        start_ns=[number * bucket_s * SECOND for number, _ in buckets],
        minimum=means, maximum=means, mean=means, score_ewma_z_maximum=[None] * len(means),
        observation_count=[1] * len(means), bad_count=[int(mean is None) for mean in means],
    )  # fmt: skip


def chart_of(trend, conditions=(), scores=(STANDARD,)):
    return build_chart(trend, conditions, scores, Wording(Language.EN))


def test_a_line_breaks_where_nothing_was_observed():
    chart = chart_of(trend((0, 1.0), (1, 1.0), (9, 1.0), (10, 1.0)))
    assert chart.mean == [1.0, 1.0, None, 1.0, 1.0]
    assert chart.time_s == [1.0, 3.0, 5.0, 19.0, 21.0]


def test_a_channel_that_reports_seldom_is_no_gap():
    chart = chart_of(trend(*((number, 1.0) for number in range(0, 100, 5)), (200, 1.0)))
    assert chart.mean.count(None) == 1


def test_bad_buckets_break_the_line_and_are_striped():
    chart = chart_of(trend((0, 1.0), (1, None), (2, None), (3, 1.0), (4, None)))
    assert chart.mean == [1.0, None, None, 1.0, None]
    assert chart.bad_spans_s == [(2.0, 6.0), (8.0, 10.0)]


def test_no_observation_at_all_gives_an_empty_chart():
    chart = chart_of(trend())
    assert (chart.time_s, chart.from_s, chart.to_s) == ([], 0.0, 600.0)


def test_set_points_of_a_score_are_drawn_on_the_scale_of_scores():
    rows = tuple(
        ConditionDefinition(condition_id=f"c-{kind[:5]}", channel_id=1, input=kind, set_point=5, priority=1,
                            colour="red", title=kind)
        for kind in ("value", "score_ewma_z")
    )  # fmt: skip
    chart = chart_of(trend((0, 1.0)), rows)
    assert [row.title for row in chart.set_points] == ["value"]
    assert [row.title for row in chart.score_set_points] == ["score_ewma_z"]


def test_each_score_has_a_line_as_long_as_the_chart_that_breaks_where_the_others_do():
    novelty, flat, residual = (
        ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_FLAT_LINE, ConditionInput.SCORE_RESIDUAL
    )  # fmt: skip
    told = trend((0, 1.0), (1, 1.0), (2, 1.0), (9, 1.0)).model_copy(
        update={
            "score_ewma_z_maximum": [0.1, 0.2, 0.2, 0.3],
            "scores_maximum": {novelty: [None, 0.7, None, 0.8], residual: [None, 0.6, None, None]},
        }
    )
    chart = chart_of(told, scores=(STANDARD, flat, novelty))
    assert len(chart.time_s) == 5
    assert {line.name: line.maximum for line in chart.scores} == {
        "recent mean": [0.1, 0.2, 0.2, None, 0.3],
        "flat line": [None] * 5,
        "novelty": [None, 0.7, None, None, 0.8],
        "prediction": [None, 0.6, None, None, None],
    }, "also one that the channel has no more"
    assert [line.kind for line in chart.scores] == [STANDARD, flat, novelty, residual]


# --- credentials, throttle, back-off


def test_a_password_is_readable_and_typing_it_otherwise_gives_the_same_hash():
    password = make_password(random.Random(1).choice)
    assert re.fullmatch(rf"([{LETTERS}]{{4}}-){{3}}[{LETTERS}]{{4}}", password)
    assert not set("01ilo") & set(LETTERS)
    assert len(set(LETTERS)) == len(LETTERS) == 31
    typed = password.upper().replace("-", " ")
    assert hash_password(typed) == hash_password(password) != hash_password(password[:-1] + "_")


def test_hashes_of_one_kind_are_not_those_of_another():
    assert len({hash_password("a"), hash_session_token("a"), derive_csrf_token("a")}) == 3


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (" Li  Wei ", "Li Wei"), ("李伟", "李伟"), ("", None), ("  ", None), ("x" * 64, "x" * 64),
        ("x" * 65, None), ("a\x00b", None), ("a\u202eb", None), ("a\nb", "a b"),
    ],
)  # fmt: skip
def test_user_names_are_cleaned(typed, name):
    assert clean_user_name(typed) == name


def test_an_address_waits_after_too_many_failures_and_is_forgiven_with_time():
    throttle = SignInThrottle()
    for at in range(FAILURES_MAX):
        assert throttle.wait_s("a", at * SECOND) == 0
        throttle.note_failure("a", at * SECOND)
    now_ns = FAILURES_MAX * SECOND
    assert throttle.wait_s("a", now_ns) == (WINDOW_NS - now_ns) // SECOND
    assert throttle.wait_s("b", now_ns) == 0
    assert throttle.wait_s("a", WINDOW_NS - 1) == 1
    assert throttle.wait_s("a", WINDOW_NS) == 0


def test_a_sign_in_forgives_and_memory_is_bounded():
    throttle = SignInThrottle()
    for _ in range(FAILURES_MAX):
        throttle.note_failure("a", 0)
    throttle.note_success("a")
    assert throttle.wait_s("a", 1) == 0
    for number in range(ADDRESSES_MAX + 5):
        throttle.note_failure(str(number), 0)
    assert len(throttle._failures) == ADDRESSES_MAX


def test_the_wait_doubles_and_is_capped():
    assert [plan_delay_s(n, 1.0) for n in (1, 2, 3, 4)] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert plan_delay_s(1_000_000, 1.0) == LONGEST_DELAY_S
    assert plan_delay_s(1_000_000, 0.0) == LONGEST_DELAY_S / 2


# --- session store


def test_a_password_is_exchanged_once_before_it_expires_by_its_owner(tmp_path):
    store = SessionStore(tmp_path / "sub" / "s.sqlite")
    store.add_password("p-any", None, 100)
    store.add_password("p-li", "Li", 100)
    assert not store.exchange_password("p-li", "Wei", ("t0", 50), 1)
    assert not store.exchange_password("p-none", "Li", ("t0", 50), 1)
    assert store.find_session("t0", 1) is None
    assert store.exchange_password("p-li", "Li", ("t1", 50), 1)
    assert not store.exchange_password("p-li", "Li", ("t2", 50), 1)
    found = store.find_session("t1", 49)
    assert found is not None
    assert found.name == "Li"
    assert store.find_session("t1", 50) is None
    assert not store.exchange_password("p-any", "Li", ("t2", 500), 100)
    store.close()


# --- configuration


def test_the_example_is_valid_and_documents_every_key():
    text = (FOLDER / "example.toml").read_text()
    parse_settings(ConsoleSettings, text, "example.toml")
    for section, field in ConsoleSettings.model_fields.items():
        assert f"[{section}]" in text
        for key in field.annotation.model_fields:
            assert re.search(rf"^(# )?{key} = ", text, re.MULTILINE), f"{section}.{key} is not in example.toml"


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("http", "host", "0.0.0.0", "is not loopback"),
        ("http", "port", 70_000, "70000"),
        ("http", "tls_key_file", "k", "go together"),
        ("city", "time_zone", "Mars/Base", "not an IANA time zone"),
        ("city", "time_zone", "/etc/passwd", "not an IANA time zone"),
        ("registry", "url", "http://10.0.0.1:80", "http is for loopback only"),
        ("registry", "url", "ftp://localhost", "not an http or https URL"),
        ("store", "colour", "red", "unknown key"),
    ],
)
def test_a_fault_is_named_with_its_path(section, key, value, says):
    document = tomllib.loads((FOLDER / "example.toml").read_text())
    document[section][key] = value
    with pytest.raises(ConfigurationError) as caught:
        check(document)
    fault = str(caught.value)
    assert fault.startswith(f"example.toml: $.{section}")
    assert says in fault


def check(document):
    from contracts.configuration import check_settings

    return check_settings(ConsoleSettings, document, "example.toml")


def run_cli(*arguments):
    command = [sys.executable, "-m", "console.cli", *arguments]
    return subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)


def test_check_config_names_all_faults_at_once(tmp_path):
    example = str(FOLDER / "example.toml")
    good = run_cli("check-config", "--config", example)
    assert (good.returncode, good.stdout, good.stderr) == (0, f"{example}: ok\n", "")
    bad = tmp_path / "bad.toml"
    bad.write_text('[http]\nport = "x"\n[city]\nname = ""\ncolour = 1\n')
    told = run_cli("check-config", "--config", str(bad))
    assert told.returncode == 2
    assert told.stdout == ""
    for path in ("$.http.port", "$.city.name", "$.city.colour", "$.store", "$.registry", "$.alarm_service"):
        assert f"{bad}: {path}: " in told.stderr


def test_a_start_that_cannot_be_is_said_in_one_line(tmp_path):
    config = tmp_path / "console.toml"
    config.write_text((FOLDER / "example.toml").read_text().replace("port = 8100", "port = 0"))
    told = run_cli("run", "--config", str(config))
    assert told.returncode == 2
    assert "token of the device registry" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_version_is_told():
    assert re.fullmatch(r"city-console \S+\n", run_cli("--version").stdout)


# --- vendored files


def test_vendored_files_are_the_ones_that_were_vendored():
    vendor = FOLDER / "static" / "vendor"
    rows = re.findall(
        r"^\| `([^`]+)` \| `[^`]+` \| ([\d.]+) \| `[^`]+` \| .*?\(`([^`]+)`\) \| `([0-9a-f]{64})` \|$",
        (vendor / "VENDORED.md").read_text(),
        re.MULTILINE,
    )
    assert {row[0] for row in rows} == {path.name for path in vendor.glob("*.js")} | {
        path.name for path in vendor.glob("*.css")
    }
    for name, _, licence, digest in rows:
        found = hashlib.sha256((vendor / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} was changed: vendor it again, unchanged, and update VENDORED.md"
        assert (vendor / licence).stat().st_size > 500


def test_no_file_of_ours_asks_another_server():
    for path in [*FOLDER.glob("templates/*.html"), *FOLDER.glob("static/*.*")]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), path
        assert "innerHTML = html" not in text or path.name == "merge.js", path
