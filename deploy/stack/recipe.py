"""What the servers of the stack are started with: versions, their configuration as text, and the plan.

One node of each, on loopback, for one machine: no replication, no TLS. PostgreSQL, InfluxDB and Mosquitto want a
password or token all the same, made for each run directory; Kafka has no access control here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from deploy.configuration_text import HOST, HOST_ID
from deploy.layout import RunDirectory
from deploy.plan import Accepts, Answers, Program
from deploy.stack.addresses import BROKER, INFLUXDB, KAFKA, POSTGRESQL, VARIABLES

KAFKA_VERSION: Final = "4.1.1"
INFLUXDB_VERSION: Final = "2.7.12"
POSTGRESQL_MAJOR: Final = 15
PREFERRED_PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {BROKER: 18893, KAFKA: 18892, "kafka-controller": 18894, INFLUXDB: 18886, POSTGRESQL: 18832}
)
KAFKA_OPTIONS: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
"""400 MB resident with this heap. Java's own choices are for machines with cores to spare: G1's collecting beside the
program costs a tenth of Kafka's CPU, and the second compiler, in the first two minutes of a process, as much as Kafka
itself; afterwards its code is no faster here (50,000 readings/s: 2.4 and 2.3 microseconds of CPU a reading)."""
INFLUXDB_ENVIRONMENT: Final = ("GOGC=300", "GOMEMLIMIT=4GiB")
"""Go's garbage collector, which influxd has no options for: it collects when the heap has grown to four times what
lives (default: twice), but above 4 GiB as often as it must. With 27,500 series 700 MB resident instead of 400 after 1.6
million points, 1.9 GB after 8 million; with 300,000 series 2 GB, as by default."""
INFLUXDB_OPTIONS: Final = (
    "--reporting-disabled",
    "--ui-disabled",
    *("--log-level", "warn"),
    "--pprof-disabled",
)
"""With pprof influxd takes a stack trace for every 4 KiB that it allocates (`pprof/pprof.go` of 2.7.12), which is a
seventh of its CPU. The options of storage stay InfluxDB's own, and its log is synced before each answer
(`storage-wal-fsync-delay` 0): larger snapshots and delayed syncs were tried and save nothing."""
ORGANISATION: Final = "citysense"
BUCKET: Final = "citysense"
"""Made by InfluxDB's own set-up, which wants one; the buckets of the platform are made by its own command."""
DATABASE_USER: Final = "citysense"
DATABASES: Final = ("device_registry", "alarm_service")
SIGNAL_FAST_SHUTDOWN: Final = 2
"""SIGINT: PostgreSQL ends now and cleanly. At SIGTERM it waits until its clients have left (its manual, 19.5)."""


@dataclass(frozen=True, slots=True)
class Executables:
    """What there is to start, by absolute path; None: not started here."""

    mosquitto: str | None = None
    java: str | None = None
    kafka_jars: str | None = None
    """The folder."""
    influxd: str | None = None
    postgresql: str | None = None
    """The folder of `postgres`, `initdb`, `psql`."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the plan depends on besides the executables."""

    is_kafka_formatted: bool
    kafka_cluster_id: str
    """22 characters of base64; used once, when the data directory is formatted."""
    is_postgresql_initialised: bool
    as_postgresql_user: tuple[str, ...]
    """What stands before a command so that it runs as a user that PostgreSQL accepts; empty unless root starts it."""


def plan_servers(run: RunDirectory, ports: Mapping[str, int], found: Executables, facts: Facts) -> tuple[Program, ...]:
    """The servers that are there to be started; each stands alone."""
    programs: list[Program] = []
    if found.mosquitto:
        programs.append(_mosquitto(run, ports[BROKER], found.mosquitto))
    if found.java and found.kafka_jars:
        programs += _kafka(run, ports[KAFKA], found.java, found.kafka_jars, facts)
    if found.influxd:
        programs.append(_influxdb(run, ports[INFLUXDB], found.influxd))
    if found.postgresql:
        programs += _postgresql(run, ports[POSTGRESQL], found.postgresql, facts)
    return tuple(programs)


def connection_variables(
    run: RunDirectory, ports: Mapping[str, int], started: frozenset[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The content of `servers.env`."""
    rows: dict[str, dict[str, str]] = {
        BROKER: {"": f"{HOST}:{ports[BROKER]}", "_USER": HOST_ID, "_PASSWORD_FILE": run.password(HOST_ID)},
        KAFKA: {"": f"{HOST}:{ports[KAFKA]}"},
        INFLUXDB: {
            "": f"http://{HOST}:{ports[INFLUXDB]}",
            "_ORG": ORGANISATION,
            "_BUCKET": BUCKET,
            "_TOKEN_FILE": run.token(INFLUXDB),
        },
        POSTGRESQL: {
            "": f"{HOST}:{ports[POSTGRESQL]}",
            "_USER": DATABASE_USER,
            "_PASSWORD_FILE": secret_file(run, POSTGRESQL),
        },
    }
    variables: dict[str, str] = {}
    for name, row in rows.items():
        if name in given:
            variables[VARIABLES[name]] = given[name]
        elif name in started:
            variables |= {f"{VARIABLES[name]}{suffix}": value for suffix, value in row.items()}
    return variables


def secret_file(run: RunDirectory, server: str) -> str:
    """The file of a server's password."""
    return f"{run.secrets}/{server}.password"


def password_file_of_libpq(run: RunDirectory) -> str:
    """What PostgreSQL's own programs read a password from (libpq `passfile`)."""
    return f"{run.secrets}/postgresql.pgpass"


def kafka_folder(run: RunDirectory) -> str:
    """Kafka's logs, in its own sense of the word: the data."""
    return run.data(KAFKA)


def postgresql_folder(run: RunDirectory) -> str:
    """PostgreSQL's data directory."""
    return run.data(POSTGRESQL)


def render_kafka(run: RunDirectory, ports: Mapping[str, int]) -> str:
    """`server.properties`: one node in KRaft mode, broker and controller in one process.

    The quorum is static (`controller.quorum.voters`), so that a run may get other ports than the run before it. Topics
    are made on purpose, never by a reader's typing error.
    """
    return _properties(
        {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{ports['kafka-controller']}",
            "listeners": f"BROKER://{HOST}:{ports[KAFKA]},CONTROLLER://{HOST}:{ports['kafka-controller']}",
            "advertised.listeners": f"BROKER://{HOST}:{ports[KAFKA]}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": kafka_folder(run),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
    )


def render_kafka_logging() -> str:
    """Kafka's messages on standard error, warnings and worse, in UTC."""
    return _properties(
        {
            "status": "error",
            "appender.console.type": "Console",
            "appender.console.name": "console",
            "appender.console.target": "SYSTEM_ERR",
            "appender.console.layout.type": "PatternLayout",
            "appender.console.layout.pattern": "%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %p %c %m%n",
            "rootLogger.level": "warn",
            "rootLogger.appenderRef.console.ref": "console",
        }
    )


def render_databases() -> str:
    """SQL for psql that makes each database that is not there."""
    lines = (
        f"SELECT 'CREATE DATABASE {name}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')\\gexec\n"  # noqa: S608 - names of ours
        for name in DATABASES
    )
    return "".join(lines)


def render_libpq_password(port: int, password: str) -> str:
    """The line of `postgresql.pgpass`."""
    return f"{HOST}:{port}:*:{DATABASE_USER}:{password}\n"


def plan_databases(run: RunDirectory, port: int, folder: str) -> Program:
    """Makes the databases; ends with an exit code other than 0 while PostgreSQL still starts."""
    where = f"host={HOST} port={port} user={DATABASE_USER} dbname=postgres passfile={password_file_of_libpq(run)}"
    options = ("--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", f"{run.root}/config/databases.sql")
    return Program("postgresql-databases", (f"{folder}/psql", where, *options), is_task=True)


def plan_ready_postgresql(port: int, folder: str) -> Program:
    """Ends with 0 when PostgreSQL takes connections: it accepts TCP before, while it recovers."""
    argv = (f"{folder}/pg_isready", "--quiet", "--host", HOST, "--port", str(port))
    return Program("postgresql-ready", argv, is_task=True)


def _mosquitto(run: RunDirectory, port: int, mosquitto: str) -> Program:
    return Program(
        BROKER,
        (mosquitto, "-c", run.broker("mosquitto.conf")),
        ready=(Accepts(HOST, port),),
        address=f"mqtt://{HOST}:{port}",
    )


def _kafka(run: RunDirectory, port: int, java: str, jars: str, facts: Facts) -> tuple[Program, ...]:
    logging = f"-Dlog4j2.configurationFile={run.root}/config/kafka-log4j2.properties"
    command = (java, *KAFKA_OPTIONS, logging, "-cp", f"{jars}/*")
    configuration = f"{run.root}/config/kafka.properties"
    storing = Program(
        "kafka-format",
        (
            *command,
            *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
            *("--cluster-id", facts.kafka_cluster_id, "--config", configuration),
        ),
        is_task=True,
    )
    server = Program(
        KAFKA,
        (*command, "kafka.Kafka", configuration),
        after=() if facts.is_kafka_formatted else (storing.name,),
        ready=(Accepts(HOST, port),),
        address=f"{HOST}:{port}",
    )
    return (server,) if facts.is_kafka_formatted else (storing, server)


def _influxdb(run: RunDirectory, port: int, influxd: str) -> Program:
    folder = run.data(INFLUXDB)
    return Program(
        INFLUXDB,
        (
            *("/usr/bin/env", *INFLUXDB_ENVIRONMENT, influxd),
            *("--http-bind-address", f"{HOST}:{port}"),
            *("--bolt-path", f"{folder}/influxd.bolt", "--sqlite-path", f"{folder}/influxd.sqlite"),
            *("--engine-path", f"{folder}/engine"),
            *INFLUXDB_OPTIONS,
        ),
        ready=(Answers(f"http://{HOST}:{port}/health"),),
        address=f"http://{HOST}:{port}",
    )


def _postgresql(run: RunDirectory, port: int, folder: str, facts: Facts) -> tuple[Program, ...]:
    where = postgresql_folder(run)
    initialising = Program(
        "postgresql-initdb",
        (
            *facts.as_postgresql_user,
            *(f"{folder}/initdb", "--pgdata", where, "--username", DATABASE_USER, "--encoding", "UTF8", "--no-locale"),
            *("--auth-local", "reject", "--auth-host", "scram-sha-256", "--pwfile", f"{where}.password"),
        ),
        is_task=True,
    )
    settings = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": "", "log_timezone": "UTC"}
    server = Program(
        POSTGRESQL,
        (
            *facts.as_postgresql_user,
            *(f"{folder}/postgres", "-D", where),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ),
        after=() if facts.is_postgresql_initialised else (initialising.name,),
        ready=(Accepts(HOST, port),),
        address=f"postgresql://{DATABASE_USER}@{HOST}:{port}",
        stop_signal=SIGNAL_FAST_SHUTDOWN,
    )
    return (server,) if facts.is_postgresql_initialised else (initialising, server)


def _properties(rows: Mapping[str, str]) -> str:
    return "# Written at each start; changes here are lost.\n" + "".join(
        f"{key}={value}\n" for key, value in rows.items()
    )
