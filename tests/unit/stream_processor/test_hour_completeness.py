"""Completeness by the hour."""

from __future__ import annotations

import pytest

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import partition_of
from contracts.uplink import BatchIdentity
from stream_processor.fleet_index import restrict_fleet
from stream_processor.hour_completeness import KEPT_HOURS, NANOSECONDS_PER_HOUR, HourLedger

START = 489_000
"""An hour."""


@pytest.fixture
def ledger(fleet):
    ledger = HourLedger()
    ledger.take_fleet(fleet)
    return ledger


def store(ledger, hour, *batches, gateway="gw-1", epoch=7):
    for batch in batches:
        ledger.record_stored(BatchIdentity(gateway, epoch, batch), int((START + hour) * NANOSECONDS_PER_HOUR))


def changed(ledger, hour):
    rows = ledger.changed(int((START + hour) * NANOSECONDS_PER_HOUR))
    assert {row.district_id for row in rows} <= {"harbour"}
    return [
        (row.gateway_id, row.hour_ns // NANOSECONDS_PER_HOUR - START, row.stored_batches, row.expected_batches)
        for row in rows
    ]


def test_an_hour_expects_all_from_its_lowest_batch_to_the_next_hours_lowest(ledger):
    store(ledger, 0.1, 1, 2, 4)
    assert changed(ledger, 0.2) == [("gw-1", 0, 3, 4)]
    assert changed(ledger, 0.3) == []
    store(ledger, 1.0, 8, 9)
    assert changed(ledger, 1.1) == [("gw-1", 0, 3, 7), ("gw-1", 1, 2, 2), ("gw-2", 0, 0, 1)]


def test_a_late_arrival_raises_the_hour_that_it_was_measured_in(ledger):
    store(ledger, 0.1, 1, 2)
    store(ledger, 1.0, 8)
    changed(ledger, 1.1)
    store(ledger, 0.9, 3, 4, 5, 6, 7)
    assert changed(ledger, 1.2) == [("gw-1", 0, 7, 7)]


def test_an_hour_without_anything_of_an_active_gateway_is_0_of_1_until_something_arrives(ledger):
    store(ledger, 0.1, 1)
    store(ledger, 0.1, 1, gateway="gw-2")
    changed(ledger, 0.2)
    store(ledger, 1.1, 2)
    assert changed(ledger, 2.1) == [("gw-1", 1, 1, 1), ("gw-2", 1, 0, 1)]
    store(ledger, 1.5, 2, 3, gateway="gw-2")
    assert changed(ledger, 2.2) == [("gw-2", 1, 2, 2)]


def test_hours_before_the_first_look_and_gateways_without_an_active_node_are_expected_of_nobody(fleet):
    rows = fleet.model_dump(mode="json")
    for node in rows["nodes"]:
        if node["gateway_id"] == "gw-2":
            node["state"] = "planned"
    ledger = HourLedger()
    ledger.take_fleet(FleetSnapshot.model_validate(rows))
    assert changed(ledger, 0.5) == []
    assert changed(ledger, 2.5) == [("gw-1", 0, 0, 1), ("gw-1", 1, 0, 1)]


def test_a_batch_that_was_thinned_to_nothing_is_stored_in_the_hour_of_its_number(ledger, fleet):
    store(ledger, 0.1, 1, 2, 5)
    store(ledger, 1.0, 8, 9)
    assert changed(ledger, 1.1) == [("gw-1", 0, 3, 7), ("gw-1", 1, 2, 2)]
    for batch in (3, 4, 6, 7):  # they come now, and are of the first hour
        ledger.record_emptied(BatchIdentity("gw-1", 7, batch))
    restored = HourLedger()
    restored.restore(ledger.snapshot())
    restored.take_fleet(fleet)
    for each in (ledger, restored):
        assert changed(each, 1.2) == [("gw-1", 0, 7, 7)], "told, not missing; this hour expects no more"


def test_epochs_of_one_hour_are_added(ledger):
    store(ledger, 0.1, 5, 6, 8)
    store(ledger, 0.6, 1, 2, epoch=8)
    assert changed(ledger, 0.7) == [("gw-1", 0, 5, 6)]


def test_a_clock_that_jumped_back_never_expects_less_than_is_stored(ledger):
    store(ledger, 1.1, 1, 2, 3)
    store(ledger, 0.1, 4, 5)
    assert changed(ledger, 1.2) == [("gw-1", 0, 2, 2), ("gw-1", 1, 3, 3)]


def test_hours_are_kept_for_two_days(ledger):
    store(ledger, 0.1, 1)
    changed(ledger, 0.2)
    store(ledger, KEPT_HOURS, 2)
    changed(ledger, KEPT_HOURS + 0.1)
    assert [row.hour_ns // NANOSECONDS_PER_HOUR - START for row in ledger.hours_of("gw-1")] == list(
        range(1, KEPT_HOURS + 1)
    )
    store(ledger, 0.2, 3)
    assert changed(ledger, KEPT_HOURS + 0.2) == []


def test_a_restored_ledger_goes_on_and_tells_nothing_twice(ledger, fleet):
    store(ledger, 0.1, 1, 4)
    changed(ledger, 0.2)
    store(ledger, 1.1, 9)
    restored = HourLedger()
    restored.restore(ledger.snapshot())
    restored.take_fleet(fleet)
    assert restored.snapshot() == ledger.snapshot()
    assert changed(restored, 1.2) == changed(ledger, 1.2) != []
    assert changed(restored, 1.3) == []


@pytest.mark.parametrize("snapshot", [b"[]", b"{}", b'{"version": 99}', b"no json"])
def test_restore_refuses_what_is_no_snapshot(ledger, snapshot):
    with pytest.raises(ValueError, match=r"."):
        ledger.restore(snapshot)


@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_the_parts_of_a_fleet_are_whole_and_make_up_the_fleet(fleet, partitions):
    parts = [restrict_fleet(fleet, each, partitions) for each in range(partitions)]
    for each, part in enumerate(parts):
        FleetSnapshot.model_validate(part.model_dump())
        assert {partition_of(row.gateway_id, partitions) for row in part.gateways} <= {each}
        assert part.revision == fleet.revision
    for kind in ("gateways", "nodes", "channels", "conditions"):
        joined = [row for part in parts for row in getattr(part, kind)]
        assert sorted(map(repr, joined)) == sorted(map(repr, getattr(fleet, kind)))


def test_a_gateway_that_has_left_the_fleet_is_not_told_of(ledger, fleet):
    store(ledger, 0.1, 1, 2)
    ledger.take_fleet(FleetSnapshot(revision=fleet.revision + 1))
    store(ledger, 0.2, 3)
    assert changed(ledger, 0.3) == []
