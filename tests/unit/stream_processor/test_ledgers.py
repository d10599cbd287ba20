"""Gap ledger, gap requests, commit plan."""

from __future__ import annotations

import dataclasses

from contracts.notice import Quarantined
from contracts.ranges import RangeSet
from contracts.uplink import BatchIdentity
from stream_processor.commit_plan import plan_commit
from stream_processor.effects import BatchReceived
from stream_processor.gap_ledger import GapLedger
from stream_processor.gap_request import BACK_OFF_MAX_NS, FIRST_REQUEST_NS, GapRequests


def received(record_of, batch, gateway="gw-1", refused=()):
    record = record_of((11, batch or 0, 1.0), batch=batch, gateway=gateway)
    return BatchReceived(gateway, record.batches[0], record, refused)


def test_each_batch_is_stored_once_and_acknowledged_each_time_it_comes(record_of):
    ledger = GapLedger()
    ledger.record_stored("gw-1", 7, 1, 2)
    plan = plan_commit([received(record_of, number) for number in (2, 3, 4, 3, 6)], ledger)
    assert [identity.batch for identity in plan.batches] == [3, 4, 6]
    assert len(plan.records) == 3
    assert plan.acknowledgements() == {("gw-1", 7): RangeSet([(2, 4), (6, 6)])}


def test_what_a_duplicate_batch_refused_is_not_quarantined_twice(record_of):
    bad = Quarantined(1, "t", "unknown_node", "d", b"")
    plan = plan_commit([received(record_of, 1, refused=(bad,)), received(record_of, 1, refused=(bad,))], GapLedger())
    assert plan.quarantined == [bad]


def test_batches_without_identity_are_all_stored_and_none_acknowledged(record_of):
    plan = plan_commit([received(record_of, None), received(record_of, None)], GapLedger())
    assert len(plan.records) == 2
    assert plan.acknowledgements() == {}


def test_thinned_readings_count_once_and_never_as_missing(record_of):
    ledger = GapLedger()
    thinned = [dataclasses.replace(received(record_of, number), thinned_readings=150) for number in (1, 2, 2)]
    plan = plan_commit(thinned, ledger)
    assert plan.thinned == {("gw-1", 7): 300}, "a batch that comes twice was thinned once"
    ledger.record_thinned("gw-1", 7, 300)
    for identity in plan.batches:
        ledger.record_stored("gw-1", 7, identity.batch, identity.batch)
    (row,) = ledger.rows()
    assert (row.thinned_readings, row.stored_batches, row.missing_ranges) == (300, 2, [])
    again = GapLedger()
    again.restore(ledger.export())
    assert list(again.rows()) == [row]


def test_gateways_and_epochs_are_kept_apart(record_of):
    ledger = GapLedger()
    ledger.record_stored("gw-2", 7, 1, 1)
    assert not ledger.is_stored(BatchIdentity("gw-1", 7, 1))
    assert not ledger.is_stored(BatchIdentity("gw-2", 8, 1))
    assert ledger.is_stored(BatchIdentity("gw-2", 7, 1))


def test_missing_is_what_lies_below_the_highest_seen_and_is_neither_stored_nor_lost():
    ledger = GapLedger()
    ledger.record_seen(BatchIdentity("gw-1", 7, 10))
    ledger.record_stored("gw-1", 7, 3, 5)
    ledger.record_lost("gw-1", 7, 1, 4)
    assert dict(ledger.missing("gw-1")) == {7: [(6, 10)]}
    (row,) = ledger.rows()
    assert (row.highest_batch, row.stored_batches, row.missing_ranges, row.lost_ranges) == (10, 3, [(6, 10)], [(1, 2)])


def test_a_gap_is_asked_for_only_when_it_lasts_and_then_ever_more_rarely():
    ledger = GapLedger()
    ledger.record_seen(BatchIdentity("gw-1", 7, 3))
    requests = GapRequests()
    step = FIRST_REQUEST_NS
    asked = [tick for tick in range(60) if list(requests.due("gw-1", ledger, tick * step))]
    assert asked[:5] == [1, 3, 7, 15, 31]
    assert asked[4] - asked[3] <= BACK_OFF_MAX_NS
    ledger.record_stored("gw-1", 7, 1, 3)
    assert list(requests.due("gw-1", ledger, 10**18)) == []
