"""Groups in the pipeline: who is in one, what stands at a reading, and that grouping and restoring change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.alarm import ConditionInput
from contracts.detector_set import GROUP_PERIOD_S
from contracts.fleet import Domain, FleetSnapshot
from contracts.quality import Reason
from contracts.record import Record
from contracts.uplink import BatchIdentity
from stream_processor.detectors.contract import to_sigma
from stream_processor.detectors.isolation_fit import fit_forest
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.fleet_groups import find_groups
from stream_processor.pipeline.group_scores import GroupScores
from stream_processor.pipeline.pipeline import Pipeline, join_scored

DISTANCE, FOREST = ConditionInput.SCORE_GROUP_DISTANCE, ConditionInput.SCORE_GROUP_FOREST
START_NS = 1_761_955_200_000_000_000
SECOND_NS = 1_000_000_000
SITES = {"bridge": "bridge", "station": "gas", "hall": "building"}
QUANTITIES = {"bridge": "strain", "station": "methane_lel", "hall": "temperature"}


def fleet(*channels, conditions=(), retired=(), gateways=("gw-1", "gw-2")):
    """(channel_id, site[, gateway[, scores]]) each; a node a channel; conditions as (channel_id, score, set-point)."""
    full = [(*each, *("gw-1", None)[len(each) - 2 :]) for each in channels]
    limits = {"priority": 2, "colour": "orange", "title": "moves apart"}
    return FleetIndex(
        FleetSnapshot.model_validate(
            {
                "revision": 1,
                "districts": [{"district_id": "d", "name": "d"}],
                "sites": [
                    {"site_id": site, "district_id": "d", "domain": domain, "name": "s", "latitude": 0, "longitude": 0}
                    for site, domain in SITES.items()
                ],
                "gateways": [{"gateway_id": each, "district_id": "d", "name": "g"} for each in gateways],
                "nodes": [
                    {
                        "node_id": f"{QUANTITIES[site]}-{number}",
                        "gateway_id": gateway,
                        "bus_id": "b",
                        "site_id": site,
                        "model": "m",
                        "state": "retired" if number in retired else "active",
                    }
                    for number, site, gateway, _ in full
                ],
                "channels": [
                    {
                        "channel_id": number,
                        "node_id": f"{QUANTITIES[site]}-{number}",
                        "quantity": QUANTITIES[site],
                        "scores": scores,
                    }
                    for number, site, _, scores in full
                ],
                "conditions": [
                    {"condition_id": f"c-{number}", "channel_id": number, "input": kind, "set_point": limit, **limits}
                    for number, kind, limit in conditions
                ],
            }
        )
    )


def record_of(rows):
    """One batch of rows (channel_id, seconds, value[, reason[, is_historical]])."""
    full = [(*row, *(Reason.OK, False)[len(row) - 3 :]) for row in rows]
    times = np.array([START_NS + round(row[1] * SECOND_NS) for row in full], dtype=np.int64)
    return Record(
        channel_id=np.array([row[0] for row in full], dtype=np.uint32),
        phenomenon_ns=times,
        received_ns=times + 50_000_000,
        value=np.array([row[2] for row in full], dtype=np.float64),
        reason=np.array([row[3] for row in full], dtype=np.uint8),
        is_historical=np.array([row[4] for row in full], dtype=np.bool_),
        batch_index=np.zeros(len(full), dtype=np.int32),
        batches=(BatchIdentity("gw-1", 7, 1),),
    )


def started(index):
    pipeline = Pipeline()
    pipeline.take_fleet(index)
    return pipeline


def keys(index):
    """Groups as (site, gateway, part, channel ids)."""
    return [
        (group.key.site_id, group.key.gateway_id, group.key.part, [each.channel_id for each in group.members])
        for group in find_groups(index.conditions, index.contexts)
    ]


# --- who is in a group -----------------------------------------------------------------------------------------------


def test_a_group_is_the_channels_of_a_quantity_of_a_site_behind_a_gateway():
    bridge = [(number, "bridge") for number in (5, 3, 4)]
    station = [(number, "station", "gw-2") for number in (6, 7, 8)]
    too_few = [(9, "station"), (10, "station")]
    assert keys(fleet(*bridge, *station, *too_few)) == [
        ("bridge", "gw-1", 0, [3, 4, 5]),
        ("station", "gw-2", 0, [6, 7, 8]),
    ]


def test_channels_that_have_no_group_score_are_in_none_but_a_condition_brings_one_in():
    channels = [(1, "bridge"), (2, "bridge"), (3, "bridge"), (4, "bridge", "gw-1", []), (5, "bridge", "gw-1", [])]
    assert keys(fleet(*channels)) == [("bridge", "gw-1", 0, [1, 2, 3])]
    assert keys(fleet(*channels, conditions=[(5, FOREST, 0.6)])) == [("bridge", "gw-1", 0, [1, 2, 3, 5])]


@pytest.mark.parametrize(("count", "sizes"), [(64, [64]), (65, [32, 33]), (130, [43, 43, 44])])
def test_more_than_64_channels_are_split_evenly_in_the_order_of_their_numbers(count, sizes):
    groups = keys(fleet(*[(number, "station") for number in range(count, 0, -1)]))
    assert [len(members) for *_, members in groups] == sizes
    assert [part for _, _, part, _ in groups] == list(range(len(sizes)))
    assert [each for *_, members in groups for each in members] == list(range(1, count + 1))


def test_a_retired_node_stays_a_member():
    assert keys(fleet((1, "hall"), (2, "hall"), (3, "hall"), retired=[2])) == [("hall", "gw-1", 0, [1, 2, 3])]


# --- what stands at a reading ----------------------------------------------------------------------------------------


GAUGES = tuple(range(1, 13))
PERIOD_S = GROUP_PERIOD_S[Domain.BRIDGE]
WARM_FRAMES = 70
SETTLING = 7
GAUGE_READINGS = 3
"""Of each gauge in a frame."""


def bridge(*, conditions=(), scores=None, without=()):
    return fleet(*[(each, "bridge", "gw-1", scores) for each in GAUGES if each not in without], conditions=conditions)


def strain(frames, seed=1, settles_from=None, first=0):
    """Rows of gauges that sun and traffic move together; from a frame on the pier under one of them settles."""
    random = np.random.default_rng(seed)
    load = np.random.default_rng(9).uniform(0.6, 1.4, len(GAUGES))
    for frame in range(first, first + frames):
        common = random.normal(0.0, 40.0)
        for reading in range(GAUGE_READINGS):
            for place, gauge in enumerate(GAUGES):
                value = 100.0 + load[place] * common + random.normal(0.0, 1.0)
                if settles_from is not None and frame >= settles_from and gauge == SETTLING:
                    value += 12.0
                yield gauge, frame * PERIOD_S + reading * PERIOD_S / GAUGE_READINGS + 0.01 * place, round(value, 1)


def step_frames(pipeline, rows):
    """Steps frame by frame; gives what was said of each."""
    by_frame = {}
    for row in rows:
        by_frame.setdefault(int(row[1] // PERIOD_S), []).append(row)
    return [pipeline.step(record_of(some), 1) for some in by_frame.values()]


CONDITION = (3, DISTANCE, 0.667)


@pytest.mark.parametrize("is_restored", [False, True])
def test_one_of_twelve_gauges_that_settles_raises_a_condition_that_names_it(is_restored):
    """The condition stands on another gauge of the group: it is the group that is unusual."""
    index = bridge(conditions=[CONDITION])
    pipeline = started(index)
    calm = step_frames(pipeline, strain(WARM_FRAMES))
    assert [event for scored in calm for event in scored.events] == []
    if is_restored:
        snapshot = pipeline.snapshot()
        pipeline = Pipeline()
        pipeline.restore(snapshot)
        assert not pipeline.has_forgotten_scores
        pipeline.take_fleet(index)
    said = step_frames(pipeline, strain(6, seed=2, settles_from=WARM_FRAMES + 1, first=WARM_FRAMES))
    (event,) = [event for scored in said for event in scored.events][:1]
    assert (event.condition_id, event.node_id, str(event.state)) == ("c-3", "strain-3", "active")
    assert event.input_value >= 0.667
    assert f"against the others strain-{SETTLING} " in event.explanation
    told = float(event.explanation.partition(" sigma as a group of 12")[0])
    assert told == pytest.approx(to_sigma(event.input_value), rel=0.02)  # what was known before the frame was learnt
    assert event.phenomenon_ns == START_NS + (WARM_FRAMES + 2) * PERIOD_S * SECOND_NS + 20_000_000


def test_a_score_that_stands_keeps_its_reason_over_a_restart():
    """One gauge's reading closes the frame; the gauge with the condition is heard after the restart."""
    index = bridge(conditions=[CONDITION])
    pipeline = started(index)
    step_frames(pipeline, strain(WARM_FRAMES))
    step_frames(pipeline, strain(1, seed=2, settles_from=0, first=WARM_FRAMES))
    rows = list(strain(1, seed=3, settles_from=0, first=WARM_FRAMES + 1))
    assert pipeline.step(record_of(rows[:2]), 1).events == []
    snapshot = pipeline.snapshot()
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    pipeline.take_fleet(index)
    (event,) = pipeline.step(record_of(rows[2:3]), 1).events
    assert f"against the others strain-{SETTLING} " in event.explanation


def test_the_score_of_a_frame_stands_at_all_readings_of_its_group_until_the_next_is_closed():
    pipeline = started(bridge())
    (*_, before) = step_frames(pipeline, strain(WARM_FRAMES))
    assert len(set(before.other_scores[DISTANCE].tolist())) == 1
    rows = list(strain(2, seed=2, first=WARM_FRAMES))
    first = pipeline.step(record_of(rows[:1]), 1).other_scores[DISTANCE]
    whole = pipeline.step(record_of(rows[1:]), 1).other_scores[DISTANCE]
    own = len(rows) // 2 - 1
    assert set(whole[:own].tolist()) == set(first.tolist())
    assert len(set(whole[own:].tolist())) == 1
    assert whole[own] not in (first[0], np.nan)
    assert np.round(whole, 3).tolist() == whole.tolist()


def test_bad_and_late_readings_and_those_of_a_group_in_warm_up_have_no_score():
    pipeline = started(bridge())
    for scored in step_frames(pipeline, strain(50)):
        assert DISTANCE not in scored.other_scores
    step_frames(pipeline, strain(WARM_FRAMES - 50, first=50))
    at = WARM_FRAMES * PERIOD_S
    rows = [(1, at, 100.0), (2, at, np.nan), (3, at, 1.0, Reason.NO_ANSWER), (4, 9.0, 5.0), (5, at, 5.0, 0, True)]
    said = pipeline.step(record_of([*rows, (6, at, 100.0)]), 1).other_scores[DISTANCE]
    assert np.isnan(said).tolist() == [False, True, True, True, True, False]


def test_late_and_bad_readings_are_in_no_frame():
    with_them, without = started(bridge()), started(bridge())
    for frame in range(5):
        rows = list(strain(1, seed=frame, first=frame))
        at = frame * PERIOD_S
        odd = [(1, at - 9.0, 900.0, Reason.OK, True), (2, at + 1.0, np.inf), (3, at + 1.0, 9.0, Reason.NO_ANSWER)]
        with_them.step(record_of([*rows, *odd]), 1)
        without.step(record_of(rows), 1)
    assert with_them.groups.snapshot() == without.groups.snapshot()


def test_only_channels_that_ask_have_the_column():
    asked = [DISTANCE.value]
    channels = [(each, "bridge", "gw-1", asked if each < 10 else [FOREST.value]) for each in GAUGES]
    pipeline = started(fleet(*channels))
    (*_, last) = step_frames(pipeline, strain(WARM_FRAMES))
    assert list(last.other_scores) == [DISTANCE]
    is_scored = ~np.isnan(last.other_scores[DISTANCE])
    assert set(last.record.channel_id[is_scored].tolist()) == set(range(1, 10))


def test_a_fleet_without_groups_costs_no_state():
    pipeline = started(fleet((1, "bridge"), (2, "bridge")))
    pipeline.step(record_of([(1, 0.0, 1.0), (2, 0.0, 1.0)]), 1)
    assert not pipeline.groups.has_groups
    assert len(pipeline.groups.snapshot()) < 1_000
    assert pipeline.groups.forests == []


# --- fleet revisions -------------------------------------------------------------------------------------------------


def test_a_new_revision_with_the_same_members_changes_nothing():
    pipeline, again = started(bridge()), started(bridge())
    for frame in range(WARM_FRAMES):
        rows = record_of(strain(1, seed=frame, first=frame))
        assert pipeline.step(rows, 1).other_scores.keys() == again.step(rows, 1).other_scores.keys()
        again.take_fleet(bridge())
    assert pipeline.groups.snapshot() == again.groups.snapshot()


def test_a_gauge_that_comes_or_goes_does_not_put_the_others_back_into_warm_up():
    pipeline = started(bridge(without=[12]))
    step_frames(pipeline, [row for row in strain(WARM_FRAMES) if row[0] != 12])
    pipeline.take_fleet(bridge(without=[1]))
    rows = [row for row in strain(2, seed=2, first=WARM_FRAMES) if row[0] != 1]
    said = step_frames(pipeline, rows)
    assert DISTANCE not in said[0].other_scores  # its frame is another one now
    assert said[1].other_scores[DISTANCE][0] < 0.6
    settled = [row for row in strain(2, seed=3, settles_from=0, first=WARM_FRAMES + 2) if row[0] != 1]
    assert step_frames(pipeline, settled)[1].other_scores[DISTANCE][0] > 0.667


def test_a_gauge_in_the_place_of_another_inherits_nothing_of_it():
    """Gauge 12 reads a thousand times what gauge 1 read, whose place it gets."""
    pipeline = started(bridge(without=[12]))
    step_frames(pipeline, [row for row in strain(WARM_FRAMES) if row[0] != 12])
    pipeline.take_fleet(bridge(without=[1]))
    rows = [
        (gauge, second, 1_000.0 * value if gauge == 12 else value)
        for gauge, second, value in strain(3, seed=2, first=WARM_FRAMES)
        if gauge != 1
    ]
    assert step_frames(pipeline, rows)[2].other_scores[DISTANCE][0] < 0.6


def test_a_group_that_leaves_and_returns_finds_what_was_learnt():
    pipeline = started(bridge())
    step_frames(pipeline, strain(WARM_FRAMES))
    pipeline.take_fleet(bridge(scores=[]))
    (row, *_) = strain(1, first=WARM_FRAMES - 1)
    assert pipeline.step(record_of([row]), 1).other_scores == {}
    pipeline.take_fleet(bridge())
    again = strain(1, seed=3, first=WARM_FRAMES - 1)
    later = [(gauge, second + PERIOD_S / GAUGE_READINGS / 2, value) for gauge, second, value in again]
    assert DISTANCE not in pipeline.step(record_of(later), 1).other_scores  # what stood before stands no more
    _, second = step_frames(pipeline, strain(2, seed=2, first=WARM_FRAMES + 1))
    assert second.other_scores[DISTANCE][0] < 0.6


def test_a_group_that_outgrows_its_class_begins_anew():
    small = [(each, "bridge") for each in GAUGES[:8]]
    pipeline = started(fleet(*small))
    step_frames(pipeline, [row for row in strain(WARM_FRAMES) if row[0] <= 8])
    pipeline.take_fleet(bridge())
    for scored in step_frames(pipeline, strain(3, seed=2, first=WARM_FRAMES)):
        assert DISTANCE not in scored.other_scores


def test_a_restored_group_is_known_by_its_name_whatever_else_is_in_the_fleet():
    pipeline = started(bridge())
    step_frames(pipeline, strain(WARM_FRAMES))
    snapshot = pipeline.snapshot()
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    hall = [(number, "hall") for number in range(21, 33)]
    pipeline.take_fleet(fleet(*hall, *[(each, "bridge") for each in GAUGES]))
    rows = list(strain(2, seed=2, first=WARM_FRAMES))
    with_hall = [(gauge + shift, second, value) for gauge, second, value in rows for shift in (0, 20)]
    _, second = step_frames(pipeline, with_hall)
    is_scored = ~np.isnan(second.other_scores[DISTANCE])
    assert set(second.record.channel_id[is_scored].tolist()) == set(GAUGES)
    assert second.other_scores[DISTANCE][is_scored].max() < 0.6


# --- the law: grouping and restoring change nothing ------------------------------------------------------------------

STATION, HALL = (1, 2, 3), (4, 5, 6, 7)
LAW_FLEET = fleet(
    *[(each, "station") for each in STATION],
    *[(each, "hall") for each in HALL],
    (8, "bridge"),
    conditions=[(1, DISTANCE, 0.3), (2, DISTANCE, 0.5), (5, DISTANCE, 0.4)],
)
MEMBERS = (*STATION, *HALL, 8)
WARM_S = 20_000


def warm():
    """A pipeline whose groups have scores."""
    pipeline = started(LAW_FLEET)
    random = np.random.default_rng(4)
    rows = []
    for second in range(0, WARM_S, 60):
        common = random.normal()
        rows += [(each, second, round(20.0 + common + random.normal(0.0, 0.3), 2)) for each in MEMBERS]
    pipeline.step(record_of(rows), 1)
    return pipeline


WARM = warm().snapshot()


def restored(snapshot):
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    pipeline.take_fleet(LAW_FLEET)
    return pipeline


LAW_ROW = st.tuples(
    st.sampled_from(MEMBERS),
    st.sampled_from((0, 1, 20, 61, 130, 301, 900, -1, -70)),
    st.sampled_from((19.0, 20.0, 20.5, 21.0, 26.0, 1e9, np.nan)),
    st.sampled_from((Reason.OK,) * 5 + (Reason.NO_ANSWER,)),
    st.sampled_from((False,) * 5 + (True,)),
)


@st.composite
def law_rows(draw):
    """Readings that go on in time, mostly; several frames close in any of the records that they are cut into."""
    now, rows = WARM_S, []
    for channel_id, step_s, *rest in draw(st.lists(LAW_ROW, min_size=1, max_size=60)):
        rows.append((channel_id, now + step_s, *rest))
        now += max(step_s, 0)
    return rows


def columns(scored):
    record = scored.record
    others = [(kind, scores.tobytes()) for kind, scores in scored.other_scores.items()]
    return scored.event_ns.tobytes(), scored.reason.tobytes(), record.value.tobytes(), others


@given(law_rows(), st.data())
@settings(max_examples=40, deadline=None)
def test_how_readings_are_cut_into_records_and_where_it_is_restored_does_not_matter(rows, data):
    whole, current = restored(WARM), restored(WARM)
    edges = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=6)) | {len(rows)})
    restored_at = data.draw(st.integers(0, len(edges) - 1))
    parts, start = [], 0
    for number, edge in enumerate(edges):
        if number == restored_at:
            current = restored(current.snapshot())
        parts.append(current.step(record_of(rows[start:edge]), 1))
        start = edge
    together = whole.step(record_of(rows), 1)
    assert columns(together) == columns(join_scored(parts))
    assert together.events == [event for part in parts for event in part.events]
    assert whole.snapshot() == current.snapshot()


def test_one_reading_at_a_time_closes_the_same_frames_with_the_same_reasons():
    random = np.random.default_rng(3)
    rows = [(int(random.choice(MEMBERS)), WARM_S + 9 * at, round(random.normal(22, 3), 1)) for at in range(300)]
    whole, single = restored(WARM), restored(WARM)
    together = whole.step(record_of(rows), 1)
    parts = [single.step(record_of([row]), 1) for row in rows]
    assert columns(together) == columns(join_scored(parts))
    assert len(together.events) > 5
    assert len({event.explanation for event in together.events}) > 3
    assert together.events == [event for part in parts for event in part.events]
    assert whole.snapshot() == single.snapshot()


def test_replayed_history_teaches_groups_what_the_readings_taught():
    rows = list(strain(WARM_FRAMES))
    live, replayed = started(bridge()), started(bridge())
    live.step(record_of(rows), 1)
    record = record_of(rows)
    for part in np.array_split(np.arange(len(rows)), 7):
        replayed.learn(replayed.rows_of(record.channel_id[part]), record.phenomenon_ns[part], record.value[part])
    assert live.snapshot_scores() == replayed.snapshot_scores()


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_state_from_before_groups_begins_them_anew_and_keeps_the_rest():
    old = started(bridge())
    step_frames(old, strain(WARM_FRAMES))
    pipeline = Pipeline(tuple(old.channels.channel_ids.tolist()))
    pipeline.restore_scores(old.scores.snapshot())
    pipeline.take_fleet(bridge())
    assert pipeline.scores.snapshot() == old.scores.snapshot()
    assert all(DISTANCE not in said.other_scores for said in step_frames(pipeline, strain(3, first=WARM_FRAMES)))


def test_a_state_of_groups_that_cannot_be_read_is_told_and_the_channels_are_kept(monkeypatch):
    old = started(bridge())
    step_frames(old, strain(5))
    with monkeypatch.context() as patch:
        patch.setattr("stream_processor.detectors.group_distance.GroupDistance.VERSION", 99)
        snapshot = old.snapshot()
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    assert pipeline.has_forgotten_scores
    assert pipeline.scores.snapshot() == old.scores.snapshot()
    assert pipeline.groups.snapshot() == GroupScores().snapshot()


def test_a_cut_state_of_groups_is_refused_and_changes_nothing():
    pipeline = started(bridge())
    step_frames(pipeline, strain(5))
    whole = pipeline.groups.snapshot()
    for size in (1, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="groups"):
            pipeline.groups.restore(whole[:size])
    assert pipeline.groups.snapshot() == whole


# --- forests ---------------------------------------------------------------------------------------------------------


def test_a_forest_is_made_only_where_it_is_asked_for_and_scores_from_when_it_is_ready():
    index = fleet(
        *[(each, "hall", "gw-1", [DISTANCE.value, FOREST.value]) for each in (1, 2, 3, 4)],
        *[(each, "station") for each in (5, 6, 7)],
        conditions=[(1, FOREST, 0.55)],
    )
    pipeline = started(index)
    random = np.random.default_rng(1)
    period_s = 600

    def frames(first, count, values=None):
        rows = []
        for frame in range(first, first + count):
            said = random.normal(20.0, 1.0, 4) if values is None else values
            rows += [(each, frame * period_s, round(float(said[each - 1]), 2)) for each in (1, 2, 3, 4)]
            rows += [(each, frame * period_s, 5.0) for each in (5, 6, 7)]
        return pipeline.step(record_of(rows), 1)

    (forest,) = pipeline.groups.forests
    assert forest.due_refits() == []
    assert FOREST not in frames(0, 140).other_scores
    (order,) = forest.due_refits()
    assert FOREST not in frames(140, 5).other_scores
    forest.take_fitted(fit_forest(order))
    said = frames(145, 5)
    assert set(said.record.channel_id[~np.isnan(said.other_scores[FOREST])].tolist()) == {1, 2, 3, 4}
    snapshot = pipeline.snapshot()
    frames(150, 1, [14.0, 14.0, 26.0, 90.0])
    (event,) = [each for each in frames(151, 1).events if each.input is FOREST]
    assert "temperature-4 90 °C" in event.explanation
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    pipeline.take_fleet(index)
    frames(150, 1, [14.0, 14.0, 26.0, 90.0])
    assert [each.explanation for each in frames(151, 1).events if each.input is FOREST] == [event.explanation]
