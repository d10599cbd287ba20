"""The view model: what an answer, a failure and a restart of a service change, and what they leave."""

import pytest

from console.fleet_query import (
    FleetQuery,
    Order,
    QualityFilter,
    level_of,
    parse_query,
    select_channels,
)
from console.view_model import (
    AlarmChanged,
    AlarmsArrived,
    Change,
    FleetArrived,
    HealthArrived,
    LatestArrived,
    Source,
    SourceAnswered,
    SourceFailed,
    State,
    merge,
    sort_alarms,
    step,
)
from contracts.alarm import Alarm, AlarmPage, AlarmState
from contracts.fleet import Domain, FleetSnapshot
from contracts.quality import Level
from contracts.query import ChannelLatest, LatestPage, PipelineHealth


def alarm(alarm_id=1, revision=1, **fields):
    known = {
        "state": "unacknowledged", "is_active": True, "condition_id": "c-1", "channel_id": 1, "title": "T",
        "priority": 1, "colour": "red", "district_id": "d-1", "site_id": "s-1", "gateway_id": "g-1",
        "node_id": "n-1", "quantity": "methane_lel", "unit": "%{LEL}", "set_point": 25.0, "value": 26.0,
        "input": "value", "input_value": 26.0, "phenomenon_ns": 5, "raised_ns": 6,
    }  # fmt: skip
    return Alarm(**{**known, "alarm_id": alarm_id, "revision": revision, **fields})


def alarms_arrived(*alarms, is_complete=False, at_ns=100):
    revision = max((one.revision for one in alarms), default=0)
    return AlarmsArrived(AlarmPage(revision=revision, alarms=list(alarms)), is_complete, at_ns)


def latest(channel_id, level="good", value=1.0):
    return ChannelLatest(
        channel_id=channel_id, phenomenon_ns=1, received_ns=2, value=value, level=level, reason="ok",
        score_ewma_z=None, last_good_value=None, last_good_ns=None,
    )  # fmt: skip


def latest_arrived(*rows, is_complete=False, revision=1):
    return LatestArrived(LatestPage(revision=revision, channels=list(rows)), is_complete, 100)


def fleet(count=3, revision=1, retired=()):
    sites = [
        {"site_id": "s-gas", "district_id": "d-1", "domain": "gas", "name": "Gas", "latitude": 1, "longitude": 1},
        {"site_id": "s-br", "district_id": "d-1", "domain": "bridge", "name": "Bridge", "latitude": 1, "longitude": 1},
    ]  # fmt: skip
    nodes = [
        {
            "node_id": f"n-{n:03}", "gateway_id": "g-1", "bus_id": "b-1", "site_id": sites[n % 2]["site_id"],
            "model": "m", "state": "retired" if n in retired else "active",
        }
        for n in range(1, count + 1)
    ]  # fmt: skip
    channels = [{"channel_id": n, "node_id": f"n-{n:03}", "quantity": "methane_lel"} for n in range(1, count + 1)]
    return FleetSnapshot(
        revision=revision,
        districts=[{"district_id": "d-1", "name": "East"}],
        sites=sites,
        gateways=[{"gateway_id": "g-1", "district_id": "d-1", "name": "G"}],
        nodes=nodes,
        channels=channels,
    )


def after(*updates, state=None):
    state = state or State()
    for update in updates:
        state, _ = step(state, update)
    return state


def test_nothing_is_live_before_anybody_answered():
    assert not any(source.is_live for source in State().sources.values())


@pytest.mark.parametrize("source", list(Source))
def test_a_source_that_fails_is_not_live_until_it_answers_and_remembers_when_it_last_did(source):
    state = after(SourceAnswered(source, 10), SourceFailed(source, "time-out"))
    assert not state.sources[source].is_live
    assert state.sources[source].last_answer_ns == 10
    assert all(state.sources[other] == State().sources[other] for other in Source if other is not source)
    state, change = step(state, SourceAnswered(source, 20))
    assert state.sources[source].is_live
    assert change.is_status


def test_the_same_failure_again_changes_nothing():
    state = after(SourceFailed(Source.ALARMS, "time-out"))
    assert step(state, SourceFailed(Source.ALARMS, "time-out")) == (state, Change())


def test_a_failure_keeps_the_alarms_and_has_the_list_drawn_again():
    state = after(alarms_arrived(alarm()))
    state, change = step(state, SourceFailed(Source.ALARMS, "time-out"))
    assert list(state.alarms) == [1]
    assert change.is_alarms


def test_a_step_leaves_the_old_state_as_it_was():
    first = after(alarms_arrived(alarm()), latest_arrived(latest(1)), FleetArrived(fleet(), 1))
    alarms, rows, counts = dict(first.alarms), dict(first.latest), dict(first.level_counts)
    after(alarms_arrived(alarm(2, 2)), latest_arrived(latest(2, "bad")), state=first)
    assert (dict(first.alarms), dict(first.latest), dict(first.level_counts)) == (alarms, rows, counts)


def test_an_alarm_that_became_normal_leaves_the_list():
    state = after(alarms_arrived(alarm()), alarms_arrived(alarm(revision=2, state="normal", is_active=False)))
    assert state.alarms == {}


def test_a_complete_page_replaces_and_a_partial_one_adds():
    state = after(alarms_arrived(alarm(1)), alarms_arrived(alarm(2, 2)))
    assert set(state.alarms) == {1, 2}
    assert set(after(alarms_arrived(alarm(3, 1), is_complete=True), state=state).alarms) == {3}


def test_an_answered_acknowledgement_never_overtakes_newer_news():
    state = after(alarms_arrived(alarm(revision=5)))
    older = AlarmChanged(alarm(revision=4, state="acknowledged"))
    assert step(state, older) == (state, Change())
    newer = AlarmChanged(alarm(revision=6, state="acknowledged"))
    assert after(newer, state=state).alarms[1].state is AlarmState.ACKNOWLEDGED


def test_an_alarm_page_older_than_the_acknowledgement_does_not_undo_it():
    state = after(alarms_arrived(alarm(revision=1)), AlarmChanged(alarm(revision=3, state="acknowledged")))
    assert after(alarms_arrived(alarm(revision=2)), state=state).alarms[1].state is AlarmState.ACKNOWLEDGED


def test_alarms_stand_unacknowledged_first_then_by_priority_then_active_then_newest():
    rows = [
        alarm(1, priority=1, state="acknowledged"),
        alarm(2, priority=2),
        alarm(3, priority=1, raised_ns=10),
        alarm(4, priority=1, raised_ns=20),
        alarm(5, priority=1, raised_ns=30, is_active=False, state="returned_unacknowledged"),
    ]
    assert [one.alarm_id for one in sort_alarms(rows)] == [4, 3, 5, 2, 1]


def test_the_levels_are_counted_the_same_step_by_step_and_anew():
    state = after(FleetArrived(fleet(4), 1))
    assert dict(state.level_counts) == {None: 4}
    state = after(
        latest_arrived(latest(1), latest(2), latest(99)),
        latest_arrived(latest(1, "bad"), latest(3, "uncertain")),
        state=state,
    )
    counted = {level: count for level, count in state.level_counts.items() if count}
    assert counted == {None: 1, Level.GOOD: 1, Level.BAD: 1, Level.UNCERTAIN: 1}
    anew = after(FleetArrived(fleet(4, revision=2), 1), state=state)
    assert {level: count for level, count in anew.level_counts.items() if count} == counted
    replaced = after(latest_arrived(latest(4), is_complete=True), state=state)
    assert {level: count for level, count in replaced.level_counts.items() if count} == {
        None: 3,
        Level.GOOD: 1,
    }


def test_only_a_change_of_level_may_change_the_order():
    state = after(FleetArrived(fleet(), 1), latest_arrived(latest(1)))
    assert not step(state, latest_arrived(latest(1, value=2.0)))[1].is_levels
    state, change = step(state, latest_arrived(latest(1, "bad")))
    assert change.is_levels
    assert change.channel_ids == {1}


def test_retired_nodes_are_not_shown():
    state = after(FleetArrived(fleet(3, retired={2}), 1))
    assert set(state.places) == {1, 3}
    assert state.node_count == 2


def test_events_that_wait_for_the_alarm_service_are_timed_from_the_first():
    def health(outbox, at_ns):
        row = PipelineHealth(
            is_broker_connected=True, stored_observations_total=0, duplicate_batches_total=0,
            quarantined_total=0, unscored_batches_total=0, shed_batches_total=0, queued_batches=0,
            outbox_events=outbox, gateways=[],
        )  # fmt: skip
        return HealthArrived(row, at_ns)

    assert after(health(1, 10), health(3, 20)).outbox_since_ns == 10
    assert after(health(1, 10), health(0, 20)).outbox_since_ns is None


def test_merged_changes_hold_both():
    assert merge(Change(is_alarms=True, channel_ids=frozenset({1})), Change(channel_ids=frozenset({2}))) == (
        Change(is_alarms=True, channel_ids=frozenset({1, 2}))
    )


def test_bad_stands_first_then_silent_then_uncertain_then_good():
    state = after(FleetArrived(fleet(4), 1), latest_arrived(latest(1), latest(2, "bad"), latest(3, "uncertain")))
    assert select_channels(state, FleetQuery()).channel_ids == (2, 4, 3, 1)
    assert select_channels(state, FleetQuery(order=Order.PLACE)).channel_ids == (1, 3, 2, 4)
    assert level_of(state, 4) is None


def test_filters_hold_together_and_every_word_must_be_found():
    state = after(FleetArrived(fleet(4), 1), latest_arrived(latest(1), latest(2)))
    assert select_channels(state, FleetQuery(text="bridge N-003")).channel_ids == (3,)
    assert select_channels(state, FleetQuery(domain=Domain.GAS)).channel_ids == (4, 2)
    assert select_channels(state, FleetQuery(quality=QualityFilter.NOT_GOOD)).channel_ids == (3, 4)
    assert select_channels(state, FleetQuery(text="nowhere")).channel_ids == ()


def test_rows_are_paged_and_a_page_beyond_the_last_is_the_last():
    state = after(FleetArrived(fleet(5), 1))
    pages = [select_channels(state, FleetQuery(page=page), rows_per_page=2) for page in (1, 2, 3, 9)]
    assert [len(page.channel_ids) for page in pages] == [2, 2, 1, 1]
    assert {one for page in pages for one in page.channel_ids} == {1, 2, 3, 4, 5}
    assert pages[3].page == pages[3].page_count == 3


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "9999999", "²"])
def test_an_address_that_makes_no_sense_gives_the_default(page):
    assert parse_query({"page": page, "quality": "?", "domain": "moon", "order": ""}) == FleetQuery()


def test_an_address_gives_its_query_again():
    query = FleetQuery("a b", QualityFilter.NOT_GOOD, Domain.FIRE, Order.PLACE, 3)
    pairs = dict(pair.split("=") for pair in query.to_parameters(3).split("&"))
    assert parse_query({**pairs, "text": pairs["text"].replace("+", " ")}) == query
