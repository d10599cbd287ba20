"""What the read process makes of the topics that it follows."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.kafka_topic import GATEWAY_COMPLETENESS, GATEWAY_STATUS, QUARANTINE, SCORED
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.query import BridgeHealth, CompletenessRow, GatewayCompleteness, GatewayHealth, QuarantineRow
from contracts.record_message import PartitionTotals, encode_scored
from stream_processor.distributed.read_state import NEWEST_QUARANTINE_ROWS, ChannelRows, ReadState, lag_of
from tests.scored_feed import scored_of

SECOND_NS = 1_000_000_000


def status(gateway: str, *, is_online: bool) -> tuple[str, int, bytes, bytes]:
    row = GatewayHealth(gateway_id=gateway, is_online=is_online, epoch=1, last_payload_ns=None)
    return GATEWAY_STATUS.name, 0, gateway.encode(), row.model_dump_json().encode()


def take_scored(state: ReadState, message, partition: int = 0) -> None:
    state.take(SCORED.name, partition, None, encode_scored(message))


def latest(state: ReadState) -> dict[int, tuple[float | None, str]]:
    return {row.channel_id: (row.value, row.reason) for row in state.latest.page(0).channels}


def test_rows_of_channels_stay_when_others_are_heard_of():
    rows = ChannelRows()
    assert rows.add(np.array([7, 3], np.uint32))
    before = rows.rows_of(np.array([3, 7], np.uint32)).tolist()
    assert rows.add(np.array([1, 7, 9], np.uint32))
    assert not rows.add(np.array([9, 3], np.uint32))
    assert rows.rows_of(np.array([3, 7], np.uint32)).tolist() == before
    assert [rows.channel_ids[row] for row in rows.rows_of(np.array([1, 3, 7, 9], np.uint32))] == [1, 3, 7, 9]


def test_a_late_reading_does_not_replace_a_newer_one_and_a_loss_does():
    state = ReadState()
    take_scored(state, scored_of(1, [5, 6], [200, 200], [1.0, 2.0]))
    take_scored(state, scored_of(2, [5, 4], [100, 150], [9.0, 3.0]))
    assert latest(state) == {4: (3.0, "ok"), 5: (1.0, "ok"), 6: (2.0, "ok")}
    take_scored(state, scored_of(3, [], [], [], channels_lost=(ChannelsLost("g", (5, 8), Reason.BUS_LOST, 300),)))
    assert latest(state)[5] == latest(state)[8] == (None, "bus_lost")


def test_all_scores_of_a_message_stand_at_its_channels():
    state = ReadState()
    others = {ConditionInput.SCORE_NOVELTY: np.array([0.75, np.nan])}
    take_scored(state, scored_of(1, [5, 6], [200, 200], [1.0, 2.0], score=[0.5, 0.25], other_scores=others))
    rows = {row.channel_id: (row.score_ewma_z, row.scores) for row in state.latest.page(0).channels}
    assert rows == {5: (0.5, {ConditionInput.SCORE_NOVELTY: 0.75}), 6: (0.25, {})}


def test_a_channel_of_the_fleet_that_was_never_heard_is_not_shown():
    state = ReadState()
    state.know(np.array([9, 5, 7], np.uint32))
    take_scored(state, scored_of(1, [7, 8], [200, 200], [1.0, 2.0]))
    assert latest(state) == {7: (1.0, "ok"), 8: (2.0, "ok")}


def test_a_message_that_comes_again_changes_nothing():
    state = ReadState()
    take_scored(state, scored_of(1, [5], [200], [1.0], totals=PartitionTotals(observations=1)))
    take_scored(state, scored_of(1, [5], [300], [7.0], totals=PartitionTotals(observations=9)))
    assert latest(state) == {5: (1.0, "ok")}
    assert state.health(0).stored_observations_total == 1


def test_totals_are_the_sum_of_the_newest_of_each_partition():
    state = ReadState()
    for partition, offset, count in ((0, 1, 5), (0, 2, 8), (1, 9, 100)):
        totals = PartitionTotals(observations=count, duplicate_batches=1, unscored_messages=partition)
        take_scored(state, scored_of(offset, [], [], [], totals=totals), partition)
    health = state.health(0)
    assert (health.stored_observations_total, health.duplicate_batches_total) == (108, 2)
    assert (health.unscored_batches_total, health.shed_batches_total) == (1, 0)
    assert state.next_source_offsets() == {0: 3, 1: 10}


def bridge(host: str, told_ns: int, *, is_connected: bool = True, shed: int = 0) -> tuple[str, int, bytes, bytes]:
    row = BridgeHealth(host_id=host, is_broker_connected=is_connected, shed_batches_total=shed, told_ns=told_ns)
    return GATEWAY_STATUS.name, 0, f"bridge/{host}".encode(), row.model_dump_json().encode()


@pytest.mark.parametrize(
    ("told", "is_connected"),
    [
        ([], False),
        ([bridge("a", 95 * SECOND_NS)], True),
        ([bridge("a", 60 * SECOND_NS)], False),
        ([bridge("a", 95 * SECOND_NS), bridge("b", 95 * SECOND_NS, is_connected=False)], False),
        ([bridge("a", 95 * SECOND_NS), bridge("b", 10 * SECOND_NS, is_connected=False)], True),
    ],
    ids=["no bridge", "one", "silent", "one of two is not", "one of two is gone"],
)
def test_the_broker_is_connected_where_every_bridge_that_speaks_says_so(told, is_connected):
    state = ReadState()
    for message in told:
        state.take(*message)
    assert state.health(100 * SECOND_NS).is_broker_connected is is_connected
    assert state.health(100 * SECOND_NS).gateways == []


def test_what_bridges_have_shed_is_added_up():
    state = ReadState()
    state.take(*bridge("a", 95 * SECOND_NS, shed=3))
    state.take(*bridge("b", 95 * SECOND_NS, shed=4))
    assert state.health(100 * SECOND_NS).shed_batches_total == 7


def test_a_gateway_that_left_the_fleet_leaves_the_page():
    state = ReadState()
    state.take(*status("gw-2", is_online=True))
    state.take(*status("gw-1", is_online=True))
    assert [gateway.gateway_id for gateway in state.health(0).gateways] == ["gw-1", "gw-2"]
    state.take(GATEWAY_STATUS.name, 0, b"gw-1", None)
    assert [gateway.gateway_id for gateway in state.health(0).gateways] == ["gw-2"]


def test_completeness_is_the_newest_word_of_each_gateway():
    state = ReadState()
    for stored in (1, 2):
        row = CompletenessRow(gateway_id="gw-1", epoch=1, highest_batch=3, stored_batches=stored, missing_ranges=[])
        told = GatewayCompleteness(gateway_id="gw-1", district_id="d", epochs=[row], hours=[])
        state.take(GATEWAY_COMPLETENESS.name, 0, b"gw-1", told.model_dump_json().encode())
    assert [row.stored_batches for row in state.completeness()] == [2]


def test_quarantine_counts_all_and_shows_the_newest():
    state = ReadState()
    for number in range(NEWEST_QUARANTINE_ROWS + 5):
        row = QuarantineRow(received_ns=number, topic="t", reason="r", detail="d", payload_hex="")
        state.take(QUARANTINE.name, 0, None, row.model_dump_json().encode())
    page = state.quarantine_page()
    assert page.totals == {"r": NEWEST_QUARANTINE_ROWS + 5}
    assert [row.received_ns for row in page.newest[:2]] == [NEWEST_QUARANTINE_ROWS + 4, NEWEST_QUARANTINE_ROWS + 3]
    assert len(page.newest) == NEWEST_QUARANTINE_ROWS


@pytest.mark.parametrize("topic", [SCORED, GATEWAY_STATUS, GATEWAY_COMPLETENESS, QUARANTINE])
def test_what_cannot_be_read_is_counted_and_survived(topic):
    state = ReadState()
    state.take(topic.name, 0, b"\xff", b"junk")
    assert state.unreadable_total == 1
    assert state.health(0).quarantined_total == 0


def test_lag_counts_what_is_there_and_not_taken():
    ends, begins = {0: 100, 1: 50, 2: 9}, {0: 90, 1: 0, 2: 9}
    assert lag_of(ends, begins, {0: 95, 1: 50}, range(3)) == 5
    assert lag_of(ends, begins, {}, range(3)) == 10 + 50 + 0
    assert lag_of(ends, begins, {0: 200}, [0]) == 0
