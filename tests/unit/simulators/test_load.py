"""The load's gateways without any server: fleet, births and data as the host hears them, spool, ledger, figures."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker_config.configuration import BrokerSettings
from contracts.configuration import parse_settings
from contracts.fleet import Channel, FleetSnapshot
from contracts.notice import BatchesLost, ChannelsLost
from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from contracts.ranges import RangeSet
from contracts.uplink import BatchIdentity
from device_registry.fleet_file import parse_fleet_file
from simulators.check_load import check_parquet
from simulators.errors import LoadError
from simulators.load_fleet import LoadOptions, LoadPlan, broker_document, fleet_document
from simulators.load_gateway import Counters, LoadGateway
from simulators.load_ledger import LoadLedger
from simulators.load_report import LoadFigures, report_document, report_lines
from simulators.load_signal import BREACH_READINGS, BusSignal
from simulators.load_spool import HISTORY_IN_FLIGHT_MAX, Batch, LoadSpool, SpoolAllowance
from stream_processor.effects import BatchReceived, CommandDue
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession, acknowledgement, resend_request

NOW_MS = 1_790_000_000_000
NOW_NS = NOW_MS * 1_000_000
EPOCH = 1_790_000_000
SMALL = LoadOptions(gateways=3, rate_per_s=60.0, nodes_per_gateway=9, districts=2, batch_readings=12)


@pytest.fixture(scope="module")
def plan():
    return LoadPlan(SMALL)


@pytest.fixture(scope="module")
def fleet(plan):
    """What the registry makes of the file."""
    file = parse_fleet_file(fleet_document(plan), "fleet.toml")
    rows = [(node.node_id, channel.quantity) for node in file.node for channel in node.channel]
    return FleetSnapshot(
        revision=1,
        districts=list(file.district),
        sites=list(file.site),
        gateways=list(file.gateway),
        nodes=[node.model_dump(exclude={"channel"}) for node in file.node],
        channels=[
            Channel(channel_id=number, node_id=node_id, quantity=quantity)
            for number, (node_id, quantity) in enumerate(rows, start=1)
        ],
    )


@pytest.mark.parametrize(("is_ewma_only", "scores"), [(False, {None}), (True, {()})])
def test_channels_have_the_detectors_of_their_domain_or_ewma_z_alone(is_ewma_only, scores):
    document = fleet_document(LoadPlan(replace(SMALL, is_ewma_only=is_ewma_only)))
    file = parse_fleet_file(document, "fleet.toml")
    assert {channel.scores for node in file.node for channel in node.channel} == scores


def make_gateway(plan, primary_host=None, readings_max=10_000):
    spool = LoadSpool(SpoolAllowance(readings_max), resend_after_s=10.0, backlog_batches_per_s=50.0)
    return LoadGateway(plan.gateways[0], plan.offsets_ms, spool, EPOCH, primary_host, Counters())


def make_batch(gateway, bus=0, due_ms=NOW_MS, now_s=0.0, bad=None):
    count = gateway.plan.buses[bus].channel_count
    values = np.arange(count) / 4
    for position in bad or {}:
        values[position] = np.nan
    batch = gateway.make(bus, due_ms, values, bad or {}, now_s)
    gateway.keep(batch)
    return batch


class Host:
    """Our own bridge's session hears what a gateway sends."""

    def __init__(self, fleet):
        self.session = HostSession(FleetIndex(fleet))

    def hear(self, outbox):
        return [
            effect
            for publication in outbox
            for effect in self.session.step(publication.topic, publication.payload, NOW_NS)
        ]

    def edge_node(self):
        return next(iter(self.session.edge_nodes.values()))


# --- the fleet ---------------------------------------------------------------------------------------------------


def test_the_fleet_file_is_one_that_the_registry_takes_and_has_every_channel(plan, fleet):
    assert len(fleet.gateways) == 3
    assert {gateway.district_id for gateway in fleet.gateways} == {"load-1", "load-2"}
    assert len(fleet.nodes) == 27
    names = {(channel.node_id, channel.quantity) for channel in fleet.channels}
    buses = [bus for gateway in plan.gateways for bus in gateway.buses]
    assert names == {(node_id, kind.quantity) for bus in buses for node_id, kind in bus.channels()}
    assert len(names) == plan.channel_count == sum(bus.channel_count for bus in buses)


def test_a_bus_fits_one_batch_and_the_rate_is_the_one_asked_for(plan):
    assert all(bus.channel_count <= SMALL.batch_readings for each in plan.gateways for bus in each.buses)
    assert plan.channel_count / plan.interval_s == pytest.approx(SMALL.rate_per_s)


def test_channels_of_a_bus_are_measured_within_the_interval_one_after_the_other(plan):
    offsets = plan.offsets_ms(12)
    assert offsets == sorted(offsets, reverse=True)
    assert 0 <= offsets[-1] <= offsets[0] < 1_000 * plan.interval_s


def test_the_broker_description_is_one_that_broker_config_takes(plan):
    text = broker_document(plan, "citysense", "127.0.0.1", 18_830)
    settings = parse_settings(BrokerSettings, text, "broker.toml")
    assert [gateway.gateway_id for gateway in settings.gateway] == [each.gateway_id for each in plan.gateways]
    assert settings.limits.max_connections >= len(plan.gateways) + 1


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (LoadOptions(gateways=0, rate_per_s=1.0), "gateways is 0"),
        (LoadOptions(gateways=1, rate_per_s=0.0), "a rate of 0"),
        (LoadOptions(gateways=1, rate_per_s=float("nan")), "a rate of nan"),
        (LoadOptions(gateways=1, rate_per_s=1e6, nodes_per_gateway=4), "1100 readings/s are the most"),
        (LoadOptions(gateways=1, rate_per_s=1.0, batch_readings=3), "a node alone has up to 4"),
        (LoadOptions(gateways=1, rate_per_s=1.0, nodes_per_gateway=7_000), "take more gateways"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_with_what_is_possible(options, what):
    with pytest.raises(LoadError, match=what):
        LoadPlan(options)


# --- what is measured --------------------------------------------------------------------------------------------


def test_values_are_plausible_rounded_as_instruments_show_them_and_the_same_for_the_same_seed(plan):
    bus = plan.gateways[0].buses[0]
    first, second = BusSignal(bus, 7, 0.0), BusSignal(bus, 7, 0.0)
    rows = [first.next()[0] for _ in range(200)]
    assert all((row == second.next()[0]).all() for row in rows)
    for position, (_, kind) in enumerate(bus.channels()):
        shown = [float(row[position]) for row in rows]
        assert all(QUANTITIES[kind.quantity].is_plausible(value) for value in shown)
        assert shown == [float(f"{value:.{kind.decimals}f}") for value in shown]
        assert len(set(shown)) > 1, f"{kind.quantity} is flat"
        if kind.condition is not None:
            assert max(shown) < kind.condition.set_point, "only a breach raises an alarm"


def test_a_share_of_readings_is_not_good_and_most_of_them_have_no_value(plan):
    signal = BusSignal(plan.gateways[0].buses[0], 7, 0.1)
    bad = 0
    for _ in range(500):
        values, reasons = signal.next()
        bad += len(reasons)
        without = {position for position, reason in reasons.items() if reason is not Reason.CALIBRATION}
        assert set(np.flatnonzero(np.isnan(values))) == without
    assert 0.08 < bad / (500 * len(values)) < 0.12


def test_a_breach_shows_for_some_readings_and_then_is_over(plan):
    signal = BusSignal(plan.gateways[0].buses[0], 7, 1.0)
    position, set_point = next(iter(signal.set_points.items()))
    value = signal.begin_breach(position)
    assert value > set_point
    for _ in range(BREACH_READINGS):
        values, bad = signal.next()
        assert values[position] == value
        assert position not in bad
    assert signal.next()[0][position] != value


# --- the session, as our bridge hears it --------------------------------------------------------------------------


def test_births_and_data_are_understood_by_the_bridge_with_every_reading(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    gateway.begin_connection(NOW_MS)
    assert host.hear(gateway.connected(NOW_MS, 0.0)) == []
    batch = make_batch(gateway, bus=1, bad={2: Reason.NO_ANSWER})
    (received,) = host.hear(gateway.send_live(batch, NOW_MS, 0.0, is_full=False))
    assert isinstance(received, BatchReceived)
    assert received.identity == BatchIdentity("load-0001", EPOCH, 1)
    assert not received.refused
    names = {each.channel_id: (each.node_id, each.quantity) for each in fleet.channels}
    bus = plan.gateways[0].buses[1]
    offsets = plan.offsets_ms(bus.channel_count)
    expected = {
        (node_id, kind.quantity): (
            NOW_NS - offsets[position] * 1_000_000,
            None if position == 2 else position / 4,
            Reason.NO_ANSWER if position == 2 else Reason.OK,
        )
        for position, (node_id, kind) in enumerate(bus.channels())
    }
    record = received.record
    heard = {
        names[channel_id]: (time_ns, None if np.isnan(value) else value, reason)
        for channel_id, time_ns, value, reason in zip(
            record.channel_id.tolist(), record.phenomenon_ns.tolist(), record.value, record.reason, strict=True
        )
    }
    assert heard == expected
    assert not record.is_historical.any()


def test_three_hundred_messages_keep_their_order_over_the_end_of_seq(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    gateway.begin_connection(NOW_MS)
    effects = host.hear(gateway.connected(NOW_MS, 0.0))
    for _ in range(300):
        effects += host.hear(gateway.send_live(make_batch(gateway), NOW_MS, 0.0, is_full=False))
    assert [type(effect) for effect in effects] == [BatchReceived] * 300, "no rebirth is asked for"


def test_a_death_is_of_the_connection_that_it_ends(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    first_will = gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 0.0))
    gateway.disconnected()
    second_will = gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 0.0))
    assert host.hear([first_will]) == [], "the will of the former connection comes late"
    (lost,) = host.hear([second_will])
    assert isinstance(lost, ChannelsLost)


def test_a_rebirth_is_followed_and_newer_values_stand_in_it(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    gateway.begin_connection(NOW_MS)
    births = gateway.connected(NOW_MS, 0.0)
    batch = make_batch(gateway)
    data = gateway.send_live(batch, NOW_MS, 0.0, is_full=False)
    host.hear(births[:1])
    assert host.hear(data) == [], "it may have overtaken its DBIRTH"
    asked, *_ = host.session.tick(NOW_NS + 3_000_000_000)
    assert isinstance(asked, CommandDue), "a rebirth"
    outbox, acknowledged = gateway.hear_command(asked.payload, NOW_MS, 0.0)
    assert acknowledged == []
    assert [each.topic.split("/")[2] for each in outbox] == ["NBIRTH", *["DBIRTH"] * len(gateway.plan.buses)]
    assert host.hear(outbox) == []
    assert len(gateway.spool) == 1, "the batch is sent again when its time has come"
    assert gateway.send_again(NOW_MS, 9.9) == []
    (again,) = host.hear(gateway.send_again(NOW_MS, 10.0))
    assert again.identity == BatchIdentity("load-0001", EPOCH, 1)
    assert again.record.is_historical.all()


def test_an_acknowledgement_empties_the_spool_and_a_resend_of_what_is_gone_is_answered_with_lost(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 0.0))
    for _ in range(5):
        host.hear(gateway.send_live(make_batch(gateway), NOW_MS, 0.0, is_full=False))
    ack = acknowledgement(host.edge_node(), EPOCH, RangeSet([(1, 2), (4, 4)]), NOW_NS)
    outbox, acknowledged = gateway.hear_command(ack.payload, NOW_MS, 1.0)
    assert outbox == []
    assert [batch.number for batch in acknowledged] == [1, 2, 4]
    asked = resend_request(host.edge_node(), EPOCH, RangeSet([(2, 4), (9, 12)]), NOW_NS)
    outbox, _ = gateway.hear_command(asked.payload, NOW_MS, 1.0)
    assert host.hear(outbox) == [BatchesLost("load-0001", EPOCH, ((2, 2), (4, 4)))]
    (again,) = host.hear(gateway.send_again(NOW_MS, 1.0))
    assert again.identity.batch == 3, "asked for, hence due at once; 9 to 12 were never made"


def test_a_restarted_gateway_has_a_new_epoch_and_sends_what_it_had(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 0.0))
    make_batch(gateway)
    gateway.restart()
    assert gateway.send_again(NOW_MS, 0.0) == [], "not while it is dead"
    gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 1.0))
    live = host.hear(gateway.send_live(make_batch(gateway, now_s=1.0), NOW_MS, 1.0, is_full=False))
    old = host.hear(gateway.send_again(NOW_MS, 1.5))
    identities = [effect.identity for effect in [*live, *old]]
    assert identities == [BatchIdentity("load-0001", EPOCH + 1, 1), BatchIdentity("load-0001", EPOCH, 1)]


def test_with_a_primary_host_it_lives_only_while_that_is_online(plan):
    gateway = make_gateway(plan, primary_host="citysense")
    assert "spBv1.0/STATE/citysense" in gateway.topic_filters
    gateway.begin_connection(NOW_MS)
    assert gateway.connected(NOW_MS, 0.0) == []
    births, _ = gateway.hear_state(b'{"online": true, "timestamp": 5}', NOW_MS, 0.0)
    assert births[0].topic.split("/")[2] == "NBIRTH"
    assert gateway.hear_state(b'{"online": false, "timestamp": 4}', NOW_MS, 0.0) == ([], False), "older: not believed"
    (death,), must_leave = gateway.hear_state(b'{"online": false, "timestamp": 6}', NOW_MS, 0.0)
    assert death.topic.split("/")[2] == "NDEATH"
    assert must_leave
    assert gateway.hear_state(b"nonsense", NOW_MS, 0.0) == ([], False)


def test_a_batch_that_finds_no_session_or_a_full_socket_goes_out_later_as_history(plan, fleet):
    gateway, host = make_gateway(plan), Host(fleet)
    early = make_batch(gateway)
    assert gateway.send_live(early, NOW_MS, 0.0, is_full=False) == []
    gateway.begin_connection(NOW_MS)
    host.hear(gateway.connected(NOW_MS, 1.0))
    assert gateway.send_live(make_batch(gateway, now_s=1.0), NOW_MS, 1.0, is_full=True) == []
    effects = host.hear(gateway.send_again(NOW_MS, 1.0)) + host.hear(gateway.send_again(NOW_MS, 1.1))
    assert [effect.identity.batch for effect in effects] == [1, 2]
    assert all(effect.record.is_historical.all() for effect in effects)


# --- the spool ---------------------------------------------------------------------------------------------------


def spool_of(count, readings_max=10_000, rate=50.0):
    spool = LoadSpool(SpoolAllowance(readings_max), 10.0, rate)
    batches = [Batch(0, 1, number, NOW_MS, np.zeros(10), {}) for number in range(1, count + 1)]
    discarded = list(itertools.chain.from_iterable(map(spool.add, batches)))
    return spool, batches, discarded


def test_patience_doubles_up_to_ten_times_the_first_one():
    spool, (batch,), _ = spool_of(1)
    spool.sent(batch, 0.0, is_live=True)
    waits, now_s = [], 0.0
    for _ in range(6):
        due_s = batch.due_s
        assert spool.take_due(due_s - 0.01) == []
        assert spool.take_due(due_s) == [batch]
        waits.append(due_s - now_s)
        now_s = due_s
        spool.sent(batch, now_s, is_live=False)
    assert waits == [10.0, 20.0, 40.0, 80.0, 100.0, 100.0]


def test_the_backlog_is_walked_from_the_oldest_on_at_its_rate_and_not_beyond_what_may_be_in_flight():
    spool, _, _ = spool_of(500)
    spool.begin_session(0.0)
    sent = []
    for tick in range(200):
        for batch in spool.take_due(0.1 * tick):
            sent.append(batch.number)
            spool.sent(batch, 0.1 * tick + 1e6, is_live=False)
    assert sent == list(range(1, HISTORY_IN_FLIGHT_MAX + 1))
    spool.acknowledge(1, [1, 10])
    more = spool.take_due(30.0)
    assert [batch.number for batch in more] == list(range(201, 211))


def test_beyond_the_limit_the_oldest_batches_are_discarded_and_named():
    spool, batches, discarded = spool_of(8, readings_max=50)
    assert discarded == batches[:3]
    assert len(spool) == 5


def test_acknowledged_ranges_may_be_huge_and_of_any_epoch():
    spool, batches, _ = spool_of(3)
    assert spool.acknowledge(2, [0, 2**63 - 1]) == []
    assert spool.acknowledge(1, [0, 2**63 - 1]) == batches
    assert spool.allowance.readings == 0
    assert spool.acknowledge(1, [1, 3]) == []


# --- ledger, check and figures ------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path, plan):
    """Two batches of one gateway: the first acknowledged, the second not."""
    path = tmp_path / "ledger"
    ledger = LoadLedger(path, plan, NOW_NS)
    gateway = make_gateway(plan)
    batches = [make_batch(gateway), make_batch(gateway, due_ms=NOW_MS + 1_000, bad={3: Reason.CRC_ERROR})]
    ledger.commit([(0, batch) for batch in batches])
    ledger.note_acknowledged(0, batches[:1], NOW_NS)
    ledger.note_breach(("load-0001-gas-0000.methane-25", "load-0001-gas-0000", "methane_lel", 30.0, NOW_MS))
    ledger.close()
    return path


def stored_rows(plan):
    """What a store should hold of it, by hand."""
    bus = plan.gateways[0].buses[0]
    offsets = plan.offsets_ms(bus.channel_count)
    return [
        {
            "gateway_id": "load-0001",
            "epoch": EPOCH,
            "batch": batch,
            "node_id": node_id,
            "quantity": kind.quantity,
            "phenomenon_time": 1_000_000 * (due_ms - offsets[position]),
            "value": None if (batch, position) == (2, 3) else position / 4,
            "reason": "crc_error" if (batch, position) == (2, 3) else "ok",
        }
        for batch, due_ms in ((1, NOW_MS), (2, NOW_MS + 1_000))
        for position, (node_id, kind) in enumerate(bus.channels())
    ]


def check(ledger, rows):
    table = pa.Table.from_pylist(rows)
    at = table.column_names.index("phenomenon_time")
    table = table.set_column(at, "phenomenon_time", table["phenomenon_time"].cast(pa.timestamp("ns")))
    pq.write_table(table, ledger.parent / "stored.parquet")
    return check_parquet(ledger, str(ledger.parent / "*.parquet"), 3)


def test_what_is_stored_as_it_was_committed_differs_in_nothing(ledger, plan):
    rows = stored_rows(plan)
    found = check(ledger, [*rows, {**rows[0], "gateway_id": "another"}, {**rows[0], "epoch": EPOCH - 1}])
    assert found.is_none()
    assert (found.committed, found.stored, found.examples) == (len(rows), len(rows), [])


def change(rows, at, **columns):
    return [*rows[:at], {**rows[at], **columns}, *rows[at + 1 :]]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("missing", lambda rows: rows[1:]),
        ("missing_unacknowledged", lambda rows: rows[:-1]),
        ("double", lambda rows: [*rows, rows[0]]),
        ("double", lambda rows: [*rows, {**rows[0], "batch": 2}]),
        ("altered", lambda rows: change(rows, 2, value=0.5000000000000001)),
        ("altered", lambda rows: change(rows, 2, value=None)),
        ("altered", lambda rows: change(rows, 2, reason="no_answer")),
        ("altered", lambda rows: [{**row, "reason": "ok"} for row in rows]),
        ("unknown", lambda rows: [*rows, {**rows[0], "quantity": "tilt"}]),
        ("unknown", lambda rows: [*rows, {**rows[0], "phenomenon_time": rows[0]["phenomenon_time"] + 1_000_000}]),
    ],
)
def test_each_way_to_differ_is_found_and_counted_once(ledger, plan, kind, fault):
    found = check(ledger, fault(stored_rows(plan)))
    assert not found.is_none()
    assert getattr(found, kind) == 1
    kinds = ("missing", "missing_unacknowledged", "double", "altered", "unknown")
    assert sum(getattr(found, each) for each in kinds) == 1
    assert len(found.examples) == 1
    assert found.examples[0].startswith(f"{kind}: load-0001-")


def test_a_good_reading_that_quality_control_doubts_is_no_difference(ledger, plan):
    found = check(ledger, change(stored_rows(plan), 2, reason="clock_suspect"))
    assert found.is_none()
    assert found.doubted == 1


def test_a_killed_load_may_lack_what_was_not_acknowledged(ledger, plan):
    found = check(ledger, stored_rows(plan)[:-1])
    assert found.is_none(may_lack_unacknowledged=True)
    assert not check(ledger, stored_rows(plan)[1:]).is_none(may_lack_unacknowledged=True)


def test_what_the_load_discarded_may_be_stored_or_not(tmp_path, plan):
    path = tmp_path / "ledger"
    ledger = LoadLedger(path, plan, NOW_NS)
    gateway = make_gateway(plan)
    batches = [make_batch(gateway), make_batch(gateway, due_ms=NOW_MS + 1_000, bad={3: Reason.CRC_ERROR})]
    ledger.commit([(0, batch) for batch in batches])
    ledger.note_discarded(0, batches[:1])
    ledger.close()
    rows = stored_rows(plan)
    half = len(rows) // 2
    assert check(path, rows).is_none()
    found = check(path, rows[half:])
    assert found.is_none()
    assert found.discarded == half


def test_a_ledger_is_never_written_over_and_another_file_is_no_ledger(ledger, plan, tmp_path):
    with pytest.raises(LoadError, match="is there already"):
        LoadLedger(ledger, plan, NOW_NS)
    with pytest.raises(LoadError, match="there is no such ledger"):
        check_parquet(tmp_path / "absent", "*.parquet", 1)
    (tmp_path / "text").write_text("not a database, and long enough for SQLite to look at it" * 10)
    with pytest.raises(LoadError, match="is no ledger"):
        check_parquet(tmp_path / "text", "*.parquet", 1)
    with pytest.raises(LoadError, match="cannot be read"):
        check_parquet(ledger, str(tmp_path / "none/*.parquet"), 1)


def test_a_breach_is_in_the_ledger_for_whoever_checks_the_alarms(ledger):
    connection = sqlite3.connect(ledger)
    assert connection.execute("SELECT condition_id, value, first_ms FROM breach").fetchall() == [
        ("load-0001-gas-0000.methane-25", 30.0, NOW_MS)
    ]
    connection.close()


def test_lateness_is_counted_by_class_and_the_report_says_it():
    figures = LoadFigures(gateways=1, channels=10, rate_per_s=10.0, made_s=1.0, cpu_s=0.5)
    for late_s in (0.0, 0.009, 0.01, 0.3, 7.0, 70.0):
        figures.note_late(late_s)
    figures.counters.made_readings = 10
    figures.acknowledged_after_s.extend([0.1, 0.2, 0.3])
    document = report_document(figures)
    assert document["late_batches"] == {
        "<0.01": 2,
        "<0.05": 1,
        "<0.1": 0,
        "<0.25": 0,
        "<0.5": 1,
        "<1": 0,
        "<5": 0,
        ">=5": 2,
    }
    assert document["acknowledged_p50_s"] == pytest.approx(0.2)
    text = "\n".join(report_lines(figures))
    assert "5 s or more: 2 (33.33 %)" in text
    assert "p50 0.200 s" in text
    assert "50000.00 µs a reading" in text
