"""The recipes of the real servers: what is pinned, what is rendered, what is planned."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from deploy.errors import BuildError
from deploy.layout import RunDirectory
from deploy.plan import check_order
from deploy.stack import recipe
from deploy.stack.fetch_kafka import CHECKSUMS, POM, check_jars, read_checksums
from deploy.stack.recipe import Executables, Facts

ROOT = Path(__file__).parents[3]
RUN = RunDirectory("/srv/run")
PORTS = dict(recipe.PREFERRED_PORTS)
ALL = Executables("/usr/sbin/mosquitto", "/usr/bin/java", "/cache/kafka", "/cache/influxd", "/usr/lib/pg/bin")
NEW = Facts(False, "A" * 22, False, ("/usr/bin/setpriv", "--reuid", "postgres"))
OLD = Facts(True, "A" * 22, True, ())


def plan(found=ALL, facts=OLD):
    return {program.name: program for program in recipe.plan_servers(RUN, PORTS, found, facts)}


def test_a_new_run_directory_is_formatted_and_initialised_before_the_servers_start():
    programs = plan(facts=NEW)
    check_order(programs.values())
    assert programs["kafka"].after == ("kafka-format",)
    assert programs["postgresql"].after == ("postgresql-initdb",)
    assert programs["postgresql-initdb"].argv[:3] == NEW.as_postgresql_user
    assert programs["postgresql"].argv[:3] == NEW.as_postgresql_user


def test_an_old_run_directory_is_only_started():
    assert set(plan()) == {"mosquitto", "kafka", "influxdb", "postgresql"}


def test_only_what_there_is_to_start_is_planned():
    assert set(plan(Executables(influxd="/cache/influxd"))) == {"influxdb"}
    assert plan(Executables()) == {}


def test_every_server_listens_on_loopback_only():
    text = " ".join(" ".join(program.argv) for program in plan(facts=NEW).values()) + recipe.render_kafka(RUN, PORTS)
    assert "0.0.0.0" not in text
    assert "listeners=BROKER://127.0.0.1:18892,CONTROLLER://127.0.0.1:18894\n" in text
    assert "--http-bind-address 127.0.0.1:18886" in text
    assert "listen_addresses=127.0.0.1" in text


def test_influxdb_syncs_what_it_is_given_before_it_answers():
    assert "wal" not in " ".join(plan()["influxdb"].argv), "its own choice is to sync its log at each write"


def test_a_reader_who_mistypes_a_topic_makes_none():
    assert "auto.create.topics.enable=false\n" in recipe.render_kafka(RUN, PORTS)


def test_the_plan_holds_no_secret():
    text = " ".join(" ".join(program.argv) for program in plan(facts=NEW).values())
    assert not re.search(r"password=|token=", text)


def test_a_server_that_the_user_named_is_told_as_named_and_others_with_their_credentials():
    given = {"kafka": "k-1:9092,k-2:9092"}
    told = recipe.connection_variables(RUN, PORTS, frozenset({"influxdb"}), given)
    assert told == {
        "CITYSENSE_KAFKA": "k-1:9092,k-2:9092",
        "CITYSENSE_INFLUXDB": "http://127.0.0.1:18886",
        "CITYSENSE_INFLUXDB_ORG": "citysense",
        "CITYSENSE_INFLUXDB_BUCKET": "citysense",
        "CITYSENSE_INFLUXDB_TOKEN_FILE": "/srv/run/secrets/influxdb.token",
    }


def test_the_versions_that_we_tell_are_those_that_are_fetched():
    version = ET.parse(POM).findtext(".//{*}properties/{*}kafka.version")
    assert version == recipe.KAFKA_VERSION
    module = (ROOT / "deploy/stack/influxdb/go.mod").read_text()
    assert f"github.com/influxdata/influxdb/v2 v{recipe.INFLUXDB_VERSION}\n" in module
    assert f"kafka_2.13-{recipe.KAFKA_VERSION}.jar" in read_checksums(CHECKSUMS.read_text())


def test_a_jar_that_is_changed_missing_or_unknown_stops_the_fetching(tmp_path):
    (tmp_path / "good.jar").write_bytes(b"good")
    (tmp_path / "changed.jar").write_bytes(b"evil")
    (tmp_path / "unknown.jar").write_bytes(b"?")
    good = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"
    wanted = {"good.jar": good, "changed.jar": good, "missing.jar": good}
    with pytest.raises(BuildError, match=r"jars\.sha256 says: changed\.jar, missing\.jar, unknown\.jar;"):
        check_jars(tmp_path, wanted)


def test_jars_that_are_what_was_pinned_are_taken(tmp_path):
    (tmp_path / "good.jar").write_bytes(b"good")
    check_jars(tmp_path, {"good.jar": "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"})
