"""The registry's store: atomic imports, channel numbers for ever, an audit log that nobody changes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from pathlib import Path

import psycopg
import pytest

from contracts.errors import ConfigurationError
from contracts.fleet import FleetSnapshot, LifecycleState
from device_registry.database import PostgresqlAddress
from device_registry.errors import (
    StoreHeldError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
    TransitionRefusedError,
    UnknownNodeError,
)
from device_registry.fleet_file import parse_fleet_file
from device_registry.store import Store

GAS = ["methane_lel", "temperature"]
GOLDEN = Path(__file__).parents[2] / "golden/device_registry"
AGAINST_A_CONSTRAINT = (sqlite3.IntegrityError, psycopg.IntegrityError)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fleet.sqlite"


@pytest.fixture
def load(store, make_fleet):
    """`load({"gas-1": ["methane_lel"]})`: imports such a fleet file."""

    def load_fleet(nodes, *, retire_missing=False, **fields):
        wanted = parse_fleet_file(make_fleet(nodes, **fields), "fleet.toml")
        return store.import_fleet(wanted, "fleet.toml", "cli:test", 1_000, retire_missing=retire_missing)

    return load_fleet


@pytest.fixture
def snapshot(store):
    return lambda: FleetSnapshot.model_validate_json(store.build_snapshot().body)


@pytest.fixture
def numbers(snapshot):
    return lambda: {(row.node_id, row.quantity): row.channel_id for row in snapshot().channels}


def test_an_empty_registry_gives_an_empty_fleet(snapshot):
    assert snapshot() == FleetSnapshot(revision=0)


def test_the_snapshot_is_what_the_file_says(store, example, snapshot):
    wanted = parse_fleet_file(example, "example_fleet.toml")
    store.import_fleet(wanted, "example_fleet.toml", "cli:test", 1_000)
    fleet = snapshot()
    assert (fleet.revision, store.read_revision()) == (1, 1)
    assert tuple(fleet.districts) == wanted.district
    assert tuple(fleet.sites) == wanted.site
    assert tuple(fleet.gateways) == wanted.gateway
    assert fleet.nodes[0].model_dump() == wanted.node[0].model_dump(exclude={"channel"})
    assert [(row.channel_id, row.quantity) for row in fleet.channels] == [(1, "methane_lel")]
    told = [row.model_dump(exclude={"channel_id"}) for row in fleet.conditions]
    assert told == [row.model_dump(exclude={"channel_id"}) for row in wanted.node[0].channel[0].condition]
    assert {row.channel_id for row in fleet.conditions} == {1}


def test_a_number_with_seventeen_digits_comes_back_exactly(load, snapshot):
    load({"gas-1": GAS}, set_point=0.1 + 0.2)
    assert snapshot().conditions[0].set_point == 0.1 + 0.2


def test_importing_the_same_file_again_changes_nothing(load, store):
    load({"gas-1": GAS})
    audit = store.read_audit(100, None)
    again = load({"gas-1": GAS})
    assert (again.revision, again.changes) == (1, [])
    assert store.read_audit(100, None) == audit


def test_a_changed_set_point_is_one_change_with_before_and_after(load, store, snapshot):
    load({"gas-1": GAS})
    load({"gas-1": GAS}, set_point=20.0)
    assert (snapshot().revision, snapshot().conditions[0].set_point) == (2, 20.0)
    imported, changed = store.read_audit(2, None)
    assert (imported.action, imported.kind, imported.key) == ("imported", "fleet", "fleet.toml")
    assert (changed.action, changed.key, changed.by, changed.time_ns) == ("changed", "gas-1-high", "cli:test", 1_000)
    assert changed.detail == "set_point: 25.0 → 20.0"


def test_scores_of_a_channel_alone_are_one_change_that_says_before_and_after(load, store, snapshot):
    load({"gas-1": GAS})
    assert [channel.scores for channel in snapshot().channels] == [None, None]
    own = {"methane_lel": ["score_flat_line", "score_novelty"]}
    imported = load({"gas-1": GAS}, scores=own)
    assert [(change.action, change.kind, change.key) for change in imported.changes] == [
        ("changed", "channel", "gas-1/methane_lel")
    ]
    assert [(channel.channel_id, channel.scores) for channel in snapshot().channels] == [
        (1, ("score_flat_line", "score_novelty")),
        (2, None),
    ]
    whole, changed = store.read_audit(2, None)
    assert (whole.action, whole.revision) == ("imported", 2)
    assert (changed.action, changed.kind, changed.key) == ("changed", "channel", "gas-1/methane_lel")
    assert changed.detail == "scores: None → ['score_flat_line', 'score_novelty']"


def test_a_default_is_not_told_so_that_a_reader_of_before_goes_on_until_scores_are_used(load, store):
    """Its records refuse what they do not know (version 0.1.0: no scores of channels)."""
    load({"gas-1": GAS}, scores={"temperature": ["score_novelty"]})
    told = json.loads(store.build_snapshot().body)["channels"]
    assert told == [
        {"channel_id": 1, "node_id": "gas-1", "quantity": "methane_lel"},
        {"channel_id": 2, "node_id": "gas-1", "quantity": "temperature", "scores": ["score_novelty"]},
    ]


def test_no_other_score_than_the_standard_one_is_not_the_same_as_the_default(load, snapshot):
    load({"gas-1": GAS}, scores={"methane_lel": []})
    assert [channel.scores for channel in snapshot().channels] == [(), None]
    assert load({"gas-1": GAS}, scores={"methane_lel": []}).changes == []
    assert len(load({"gas-1": GAS}).changes) == 1
    assert [channel.scores for channel in snapshot().channels] == [None, None]


def test_scores_in_another_order_twice_or_with_the_standard_one_are_the_same_scores(load):
    load({"gas-1": GAS}, scores={"methane_lel": ["score_flat_line", "score_novelty"]})
    again = ["score_novelty", "score_ewma_z", "score_flat_line", "score_novelty"]
    assert load({"gas-1": GAS}, scores={"methane_lel": again}).changes == []


def test_a_channel_that_comes_back_has_its_number_and_the_scores_of_the_file(load, snapshot):
    load({"gas-1": GAS}, scores={"methane_lel": ["score_novelty"]})
    load({"gas-1": ["temperature"]}, retire_missing=True)
    load({"gas-1": GAS}, scores={"methane_lel": ["score_residual"]})
    assert [(channel.channel_id, channel.scores) for channel in snapshot().channels] == [
        (1, ("score_residual",)),
        (2, None),
    ]
    assert load({"gas-1": GAS}, scores={"methane_lel": ["score_residual"]}).changes == []


DISK_FAULT = {
    "sqlite": (
        """CREATE TRIGGER disk_fault BEFORE INSERT ON node WHEN NEW.node_id = 'gas-3'
        BEGIN SELECT RAISE(ABORT, 'disk fault'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk fault'
        USING ERRCODE = 'integrity_constraint_violation'; END $$""",
        """CREATE TRIGGER disk_fault BEFORE INSERT ON node FOR EACH ROW WHEN (NEW.node_id = 'gas-3')
        EXECUTE FUNCTION fault()""",
    ),
}


def test_an_import_that_fails_half_way_keeps_nothing_of_it(load, store, intrude, snapshot):
    load({"gas-1": GAS})
    intrude(*DISK_FAULT[store._database.kind])
    with pytest.raises(StoreRefusedError, match="disk fault"):
        load({"gas-1": GAS, "gas-2": GAS, "gas-3": GAS})
    assert [node.node_id for node in snapshot().nodes] == ["gas-1"]
    assert store.read_revision() == 1


def test_channel_numbers_stay_whatever_the_order_of_the_file(load, numbers):
    load({"gas-1": GAS, "gas-2": ["methane_lel"]})
    before = numbers()
    load({"gas-0": ["methane_lel"], "gas-2": ["methane_lel"], "gas-1": ["temperature", "pressure", "methane_lel"]})
    after = numbers()
    assert before == {key: after[key] for key in before}
    assert sorted(after[key] for key in after.keys() - before.keys()) == [4, 5]


def test_a_line_lost_in_an_editor_does_not_silence_an_alarm(load, snapshot):
    load({"gas-1": GAS, "gas-2": GAS})
    with pytest.raises(ConfigurationError) as caught:
        load({"gas-1": ["temperature"]})
    assert {str(fault).partition(": is in")[0] for fault in caught.value.faults} == {
        "$.condition: 'gas-1-high'",
        "$.channel: 'gas-1/methane_lel'",
        "$.node: 'gas-2'",
    }
    assert len(snapshot().channels) == 4


def test_a_retired_channel_keeps_its_number_and_gets_it_back(load, numbers, store):
    load({"gas-1": GAS})
    load({"gas-1": ["temperature"]}, retire_missing=True)
    assert numbers() == {("gas-1", "temperature"): 2}
    load({"gas-1": ["temperature", "pressure"]})
    assert numbers()["gas-1", "pressure"] == 3, "the number of a retired channel is never given again"
    load({"gas-1": ["temperature", "pressure", "methane_lel"]})
    assert numbers()["gas-1", "methane_lel"] == 1
    assert "restored" in {entry.action for entry in store.read_audit(100, None)}


def test_a_node_that_vanished_is_retired_with_its_channels_and_conditions(load, snapshot):
    load({"gas-1": GAS, "gas-2": GAS})
    load({"gas-1": GAS}, retire_missing=True)
    fleet = snapshot()
    assert {node.node_id: node.state for node in fleet.nodes} == {"gas-1": "active", "gas-2": "retired"}
    assert {channel.node_id for channel in fleet.channels} == {"gas-1"}
    assert [condition.condition_id for condition in fleet.conditions] == ["gas-1-high"]


def test_after_retiring_the_same_file_again_changes_nothing(load):
    load({"gas-1": GAS, "gas-2": GAS})
    revision = load({"gas-1": GAS}, retire_missing=True).revision
    assert load({"gas-1": GAS}).revision == revision
    assert load({"gas-1": GAS}, retire_missing=True).revision == revision


def test_a_node_that_was_retired_by_mistake_comes_back_whole(load, store, snapshot, numbers):
    load({"gas-1": GAS, "gas-2": GAS})
    before = numbers()
    load({"gas-1": GAS}, retire_missing=True)
    store.change_state("gas-2", LifecycleState.PROVISIONED, "zhang", 2_000)
    assert numbers() == before
    assert len(snapshot().conditions) == 2
    assert load({"gas-1": GAS, "gas-2": GAS}).changes == []


def test_an_import_never_puts_a_node_under_maintenance_back_to_work(load, store):
    load({"gas-1": GAS}, state="active")
    store.change_state("gas-1", LifecycleState.MAINTENANCE, "zhang", 2_000)
    assert load({"gas-1": GAS}, state="active").changes == []
    assert store.read_node("gas-1").state is LifecycleState.MAINTENANCE


def test_a_site_leaves_only_when_nothing_ever_stood_there(store, make_fleet, load, snapshot):
    more = make_fleet({"gas-1": GAS})
    for site_id in ("empty", "old"):
        more += f'[[site]]\nsite_id = "{site_id}"\ndistrict_id = "north"\ndomain = "gas"\nname = "S"\n'
        more += "latitude = 1.0\nlongitude = 1.0\n"
    more += '[[node]]\nnode_id = "gas-9"\ngateway_id = "gw"\nbus_id = "bus"\nsite_id = "old"\nmodel = "m"\n'
    more += '[[node.channel]]\nquantity = "level"\n'
    store.import_fleet(parse_fleet_file(more, "fleet.toml"), "fleet.toml", "cli:test", 1_000)
    with pytest.raises(ConfigurationError, match=r"\$\.site: 'empty'"):
        load({"gas-1": GAS})
    load({"gas-1": GAS}, retire_missing=True)
    assert {site.site_id for site in snapshot().sites} == {"station", "old"}
    assert load({"gas-1": GAS}).changes == []


def test_a_state_change_is_a_revision_and_an_audit_row_with_the_name(load, store):
    load({"gas-1": GAS})
    node, revision = store.change_state("gas-1", LifecycleState.MAINTENANCE, "zhang", 2_000)
    assert (node.state, revision) == ("maintenance", 2)
    (entry,) = store.read_audit(1, None)
    assert (entry.by, entry.time_ns, entry.revision, entry.key) == ("zhang", 2_000, 2, "gas-1")
    assert entry.detail == "state: 'active' → 'maintenance'"
    assert store.change_state("gas-1", LifecycleState.MAINTENANCE, "li", 3_000) == (node, 2)


def test_a_refused_state_change_leaves_no_trace(load, store):
    load({"gas-1": GAS})
    with pytest.raises(TransitionRefusedError, match="only maintenance, retired"):
        store.change_state("gas-1", LifecycleState.PLANNED, "zhang", 2_000)
    with pytest.raises(UnknownNodeError, match="no node gas-7"):
        store.change_state("gas-7", LifecycleState.RETIRED, "zhang", 2_000)
    assert store.read_revision() == 1


BOTH = {"sqlite", "postgresql"}
REWRITINGS = {
    "UPDATE audit SET \"by\" = 'somebody else'": BOTH,
    "DELETE FROM audit": BOTH,
    "DELETE FROM channel": BOTH,
    "UPDATE channel SET channel_id = channel_id + 100": BOTH,
    "UPDATE channel SET quantity = 'level' WHERE quantity = 'temperature'": BOTH,
    "UPDATE registry SET next_channel_id = 1": BOTH,
    "UPDATE registry SET revision = 0": BOTH,
    "DELETE FROM registry": BOTH,
    "REPLACE INTO audit SELECT entry_id, 0, 'me', 0, '', '', '', '' FROM audit LIMIT 1": {"sqlite"},
    "REPLACE INTO channel VALUES (1, 'gas-1', 'level', 0, NULL)": {"sqlite"},
    "TRUNCATE audit": {"postgresql"},
    "TRUNCATE channel CASCADE": {"postgresql"},
    "TRUNCATE registry": {"postgresql"},
    "INSERT INTO channel VALUES (1, 'gas-1', 'level', 0) ON CONFLICT (channel_id) DO UPDATE SET quantity = 'level'": {
        "postgresql"
    },
}


@pytest.mark.parametrize("statement", REWRITINGS)
def test_history_and_numbers_cannot_be_rewritten(load, intrude, store, statement):
    load({"gas-1": GAS})
    before = store.read_audit(100, None), store.build_snapshot()
    if store._database.kind in REWRITINGS[statement]:
        with pytest.raises(AGAINST_A_CONSTRAINT, match=r"append-only|only grow|for ever"):
            intrude(statement)
    assert (store.read_audit(100, None), store.build_snapshot()) == before


def test_the_audit_log_is_paged_newest_first(load, store):
    load({"gas-1": GAS})
    newest = store.read_audit(3, None)
    rest = store.read_audit(100, newest[-1].entry_id)
    ids = [entry.entry_id for entry in newest + rest]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 8, "district, site, gateway, node, two channels, a condition, and the import itself"


def test_a_lock_is_a_passing_trouble(load, in_trouble):
    with in_trouble(), pytest.raises(StoreUnavailableError, match="lock"):
        load({"gas-1": GAS})
    assert load({"gas-1": GAS}).revision == 1


def test_imports_by_several_processes_at_once_take_turns(place, store, make_fleet):
    """Each sees what the one before it did: no number is given twice, no revision is lost."""
    faults = []

    def import_many(name):
        try:
            with Store(place) as other:
                for count in range(1, 6):
                    wanted = parse_fleet_file(make_fleet({f"{name}-{number}": GAS for number in range(count)}), "f")
                    other.import_fleet(wanted, "f", name, 1_000, retire_missing=True)
        except Exception as error:  # noqa: BLE001  # told below
            faults.append(error)

    threads = [threading.Thread(target=import_many, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    entries = store.read_audit(10_000, None)
    assert len([entry for entry in entries if entry.action == "imported"]) == store.read_revision()
    added = [entry.detail for entry in entries if (entry.action, entry.kind) == ("added", "channel")]
    assert len(set(added)) == len(added) == 3 * 5 * 2


def test_a_file_of_version_0_1_0_is_opened_and_goes_on(path, make_fleet, example):
    file = sqlite3.connect(path)
    file.executescript((GOLDEN / "version_1.sql").read_text())
    file.close()
    with Store(path, is_service=True) as store:
        assert (store.read_revision(), store.read_node("gas-1").state) == (3, "maintenance")
        (entry,) = [entry for entry in store.read_audit(100, None) if entry.revision == 3]
        assert (entry.by, entry.key) == ("upgrade", "gas-1-methane-unusual")
        assert "set_point: 8.0 → 0.727" in entry.detail
        wanted = parse_fleet_file(example, "example_fleet.toml")
        assert store.import_fleet(wanted, "example_fleet.toml", "cli:test", 3_000).changes == []
        changed = parse_fleet_file(example.replace("set_point = 25.0", "set_point = 20.0"), "example_fleet.toml")
        assert store.import_fleet(changed, "example_fleet.toml", "cli:test", 3_000).revision == 4
        snapshot = FleetSnapshot.model_validate_json(store.build_snapshot().body)
        assert [(row.channel_id, row.quantity) for row in snapshot.channels] == [(1, "methane_lel")]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def place_of_version_2(request, tmp_path):
    """With a channel 1 under maintenance, a retired channel 2, and three revisions."""
    if request.param == "sqlite":
        place = tmp_path / "fleet.sqlite"
        with contextlib.closing(sqlite3.connect(place)) as file:
            file.executescript((GOLDEN / "version_2.sql").read_text())
        return place
    server = request.getfixturevalue("postgresql_server")
    place = PostgresqlAddress(server.empty_database("fleet_version_2"), server.password_file)
    with server.connect("fleet_version_2") as client:
        client.execute((GOLDEN / "version_2_postgresql.sql").read_text())
    return place


def test_a_registry_of_version_2_is_opened_with_all_channels_on_their_default_and_goes_on(place_of_version_2, example):
    with Store(place_of_version_2, is_service=True) as store:
        assert store.read_revision() == 3, "a channel without a word on scores is what it was"
        snapshot = FleetSnapshot.model_validate_json(store.build_snapshot().body)
        assert [(row.channel_id, row.scores) for row in snapshot.channels] == [(1, None)]
        assert (len(store.read_audit(100, None)), snapshot.nodes[0].state) == (12, "maintenance")
        with store._database.transaction(is_read_only=True) as connection:
            of_before = connection.exec_driver_sql("SELECT * FROM live_channel").fetchall()
        assert of_before == [(1, "gas-1", "methane_lel")], "what a service of version 2 asks, if it still runs"
        wanted = parse_fleet_file(example, "example_fleet.toml")
        assert store.import_fleet(wanted, "example_fleet.toml", "cli:test", 3_000).changes == []
        both = example.replace("# scores", "scores") + '[[node.channel]]\nquantity = "temperature"\nscores = []\n'
        changed = store.import_fleet(parse_fleet_file(both, "f"), "f", "cli:test", 3_000)
        assert [(change.action, change.key) for change in changed.changes] == [
            ("restored", "gas-1/temperature"),
            ("changed", "gas-1/methane_lel"),
            ("changed", "gas-1/temperature"),
        ]
    with Store(place_of_version_2) as again:
        snapshot = FleetSnapshot.model_validate_json(again.build_snapshot().body)
        assert [(row.channel_id, row.scores) for row in snapshot.channels] == [(1, ("score_novelty",)), (2, ())]


def test_an_upgrade_that_fails_half_way_leaves_the_version_before(place_of_version_2, monkeypatch):
    def lose_power(*_):
        raise RuntimeError("power cut")

    monkeypatch.setattr("device_registry.store._write_version", lose_power)
    with pytest.raises(RuntimeError, match="power cut"):
        Store(place_of_version_2)
    monkeypatch.undo()
    with Store(place_of_version_2) as store:
        assert store.read_revision() == 3


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def test_a_store_of_another_version_is_left_alone(engine, request, tmp_path):
    if engine == "sqlite":
        place = tmp_path / "fleet.sqlite"
        later = sqlite3.connect(place)
        later.execute("PRAGMA user_version = 4")
        later.close()
    else:
        server = request.getfixturevalue("postgresql_server")
        place = PostgresqlAddress(server.make_database("fleet_later"), server.password_file)
        server.execute("CREATE TABLE registry_schema AS SELECT 4::bigint AS version", "fleet_later")
    with pytest.raises(StoreVersionError, match="version 4, this program knows 3"):
        Store(place)


def test_commits_are_durable_against_power_cuts(store):
    wanted = {
        "sqlite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2, "PRAGMA foreign_keys": 1},  # 2 is FULL
        "postgresql": {"SHOW synchronous_commit": "on", "SHOW fsync": "on"},
    }
    with store._database.transaction() as connection:
        for question, answer in wanted[store._database.kind].items():
            assert connection.exec_driver_sql(question).scalar() == answer


@pytest.mark.needs_postgresql
def test_a_snapshot_is_of_one_moment_while_another_process_imports(postgresql_server, make_fleet):
    """Reading is one transaction with one view of all tables."""
    place = PostgresqlAddress(postgresql_server.make_database("fleet_moment"), postgresql_server.password_file)
    with Store(place) as store, Store(place) as other:
        other.import_fleet(parse_fleet_file(make_fleet({"gas-1": GAS}), "f"), "f", "cli:test", 1_000)
        with store._database.transaction(is_read_only=True) as connection:
            before = connection.exec_driver_sql("SELECT revision FROM registry").scalar()
            other.import_fleet(parse_fleet_file(make_fleet({"gas-1": GAS, "gas-2": GAS}), "f"), "f", "cli:test", 2_000)
            assert connection.exec_driver_sql("SELECT count(*) FROM node").scalar() == 1
        assert (before, store.read_revision()) == (1, 2)


@pytest.mark.needs_postgresql
def test_the_second_service_on_a_database_learns_who_holds_it_and_an_import_does_not_mind(
    postgresql_server, make_fleet, monkeypatch
):
    monkeypatch.setattr("device_registry.database.HELD_PATIENCE_S", 0.2)
    place = PostgresqlAddress(postgresql_server.make_database("fleet_held"), postgresql_server.password_file)
    with Store(place, is_service=True) as service:
        with pytest.raises(StoreHeldError, match=r"in use by device-registry \S+ process \d+ \(from 127\.0\.0\.1"):
            Store(place, is_service=True)
        with Store(place) as other:
            other.import_fleet(parse_fleet_file(make_fleet({"gas-1": GAS}), "f"), "f", "cli:test", 1_000)
        assert service.read_revision() == 1
