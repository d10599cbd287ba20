"""The words `load` and `load-check` of `city-simulator` (shell). They need numpy and duckdb: the extra `platform`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulators.errors import LoadError

if TYPE_CHECKING:
    from simulators.load_check import Differences
    from simulators.load_fleet import LoadPlan
    from simulators.run_load import Login

_FAILED: Final = 1
_LOAD = """a fleet of Sparkplug edge nodes with end-to-end acknowledgement, from one process, open loop: each batch of
readings has its due time, what is made late is counted, the schedule never waits. Ends after --duration, or with
Ctrl-C, and prints what was sent and acknowledged; exit code 1 if something that was committed is not acknowledged in
the end."""
_CHECK = """compares the ledger of a load with what was stored: every committed reading exactly once, by node, quantity,
phenomenon time, value and reason. Prints what is missing, double, altered or unknown; exit code 1 if anything is."""


def add_load_words(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both words to the command line."""
    load = commands.add_parser("load", help="a fleet of Sparkplug edge nodes as load, with a ledger", description=_LOAD)
    _add_fleet(load)
    _add_broker(load)
    _add_run(load)
    _add_faults(load)
    load.set_defaults(act=_on_a_platform(_load))
    check = commands.add_parser("load-check", help="compare a load's ledger with what was stored", description=_CHECK)
    _add_check(check)
    check.set_defaults(act=_on_a_platform(_check))


def _on_a_platform(act: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """An act that says what to install where a module is missing."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return act(arguments)
        except ModuleNotFoundError as error:
            raise LoadError(f"{error.name} is not installed: pip install 'citysense[platform]'") from error

    return run


def _add_fleet(load: argparse.ArgumentParser) -> None:
    group = load.add_argument_group("the fleet")
    group.add_argument("--gateways", type=int, required=True, metavar="N", help="edge nodes, each with a connection")
    group.add_argument("--rate", type=float, required=True, metavar="R", help="readings a second, of all together")
    group.add_argument("--nodes-per-gateway", type=int, default=100, metavar="K", help="sensing devices (default 100)")
    group.add_argument("--districts", type=int, default=4, metavar="D", help="Sparkplug groups (default 4)")
    group.add_argument(
        "--batch-readings", type=int, default=200, metavar="B", help="at most so many readings a DDATA (default 200)"
    )
    group.add_argument(
        "--ewma-only", action="store_true", help="channels are scored by EWMA z alone, not by their domain's detectors"
    )
    group.add_argument("--seed", type=int, default=5, help="the same seed gives the same values (default 5)")
    group.add_argument("--fleet-out", type=Path, metavar="FILE", help="write the fleet for `device-registry import`")
    group.add_argument("--write-only", action="store_true", help="write these two, and send nothing")
    group.add_argument(
        "--broker-out",
        type=Path,
        metavar="DIR",
        help="write DIR/broker.toml for `broker-config render`, and a password for each gateway in DIR/passwords",
    )


def _add_broker(load: argparse.ArgumentParser) -> None:
    group = load.add_argument_group("the broker")
    group.add_argument(
        "--broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="where to connect (default 127.0.0.1:1883)"
    )
    group.add_argument("--protocol", choices=["5", "3.1.1"], default="5", help="MQTT version (default 5)")
    login = group.add_mutually_exclusive_group()
    login.add_argument(
        "--credentials", type=Path, metavar="DIR", help="user name = gateway id, password = DIR/<gateway id>"
    )
    login.add_argument("--username", help="one user name for all, with --password-file")
    login.add_argument("--anonymous", action="store_true", help="no user name (as without any of these three)")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password of --username")
    group.add_argument(
        "--primary-host",
        action="append",
        default=[],
        metavar="[DISTRICT=]ID",
        help="be born only while this Sparkplug host is online (default: at once); may stand once for each district",
    )


def _add_run(load: argparse.ArgumentParser) -> None:
    group = load.add_argument_group("the run")
    group.add_argument("--duration", type=float, metavar="S", help="make readings for so long (default: until Ctrl-C)")
    group.add_argument("--ledger", type=Path, metavar="FILE", help="a new file: every reading, and what became of it")
    group.add_argument("--report", type=Path, metavar="FILE", help="write the final figures as JSON, too")
    group.add_argument(
        "--drain",
        type=float,
        default=60.0,
        metavar="S",
        help="wait so long for the last acknowledgements (default 60); 0: nobody acknowledges, keep nothing to resend",
    )
    group.add_argument(
        "--resend-after", type=float, default=10.0, metavar="S", help="first patience with a batch (default 10)"
    )
    group.add_argument(
        "--backlog-rate", type=float, default=50.0, metavar="B", help="batches a second and gateway again (default 50)"
    )
    group.add_argument(
        "--spool-readings",
        type=int,
        default=20_000_000,
        metavar="N",
        help="unacknowledged readings in memory (default 20 million, 8 octets each and some); the oldest go first",
    )


def _add_faults(load: argparse.ArgumentParser) -> None:
    group = load.add_argument_group("what goes wrong")
    group.add_argument(
        "--bad-share", type=float, default=0.002, help="readings with a bad quality and a reason (default 0.002)"
    )
    group.add_argument(
        "--breach-every", type=float, default=0.0, metavar="S", help="a channel beyond its set-point (default 0: never)"
    )
    group.add_argument(
        "--herd-every", type=float, default=0.0, metavar="S", help="a share of the fleet is cut off (default 0: never)"
    )
    group.add_argument("--herd-share", type=float, default=0.3, help="which share that is (default 0.3)")
    group.add_argument(
        "--death-every", type=float, default=0.0, metavar="S", help="a gateway dies, back in 5 s (default 0: never)"
    )
    group.add_argument(
        "--backlog-share", type=float, default=0.0, help="batches that are held back, then sent as history (default 0)"
    )
    group.add_argument("--backlog-age", type=float, default=60.0, metavar="S", help="for so long (default 60)")


def _add_check(check: argparse.ArgumentParser) -> None:
    check.add_argument("--ledger", type=Path, required=True, metavar="FILE", help="of `city-simulator load --ledger`")
    source = check.add_mutually_exclusive_group(required=True)
    source.add_argument("--parquet", metavar="GLOB", help="the archive: 'parquet/**/*.parquet'")
    source.add_argument("--influx", metavar="URL", help="InfluxDB, read with InfluxQL (1.8, 2.x)")
    source.add_argument("--scored-from-kafka", metavar="HOST:PORT", help="what the score job wrote, with --fleet")
    check.add_argument("--fleet", type=Path, metavar="FILE", help="the fleet.json that a processor keeps")
    check.add_argument("--influx-database", default="readings", help="database, or mapped bucket (default readings)")
    check.add_argument("--influx-token-file", type=Path, metavar="FILE", help="holds a token that may read")
    check.add_argument(
        "--acknowledged-only",
        action="store_true",
        help="a batch that was not acknowledged may be missing (of a load that was killed)",
    )
    check.add_argument("--examples", type=int, default=5, metavar="N", help="print so many of each kind (default 5)")


def _load(arguments: argparse.Namespace) -> int:
    from simulators.load_fleet import LoadOptions, LoadPlan  # noqa: PLC0415  # numpy is not there on each machine

    options = LoadOptions(
        gateways=arguments.gateways,
        rate_per_s=arguments.rate,
        nodes_per_gateway=arguments.nodes_per_gateway,
        districts=arguments.districts,
        batch_readings=arguments.batch_readings,
        is_ewma_only=arguments.ewma_only,
    )
    plan = LoadPlan(options)
    _write_files(plan, arguments)
    return 0 if arguments.write_only else _run(plan, arguments)


def _write_files(plan: LoadPlan, arguments: argparse.Namespace) -> None:
    from simulators.load_fleet import broker_document, fleet_document  # noqa: PLC0415  # as above

    if arguments.fleet_out is not None:
        arguments.fleet_out.write_text(fleet_document(plan), "utf-8")
        print(arguments.fleet_out)
    if arguments.broker_out is None:
        return
    host, port = _address(arguments.broker)
    host_id = next((each for each in arguments.primary_host if "=" not in each), "citysense")
    passwords = arguments.broker_out / "passwords"
    passwords.mkdir(parents=True, exist_ok=True)
    (arguments.broker_out / "persistence").mkdir(exist_ok=True)
    passwords.chmod(0o700)
    for name in (host_id, *(gateway.gateway_id for gateway in plan.gateways)):
        path = passwords / name
        if not path.exists():
            path.touch(0o600)
            path.write_text(f"{secrets.token_urlsafe(32)}\n")
    (arguments.broker_out / "broker.toml").write_text(broker_document(plan, host_id, host, port), "utf-8")
    print(arguments.broker_out / "broker.toml")


def _run(plan: LoadPlan, arguments: argparse.Namespace) -> int:
    from simulators.load_connection import Broker  # noqa: PLC0415  # as above
    from simulators.load_ledger import LoadLedger  # noqa: PLC0415  # as above
    from simulators.load_report import report_document, report_lines  # noqa: PLC0415  # as above
    from simulators.run_load import LoadRun, RunSettings  # noqa: PLC0415  # as above

    _configure_logging()
    host, port = _address(arguments.broker)
    settings = RunSettings(
        broker=Broker(host, port, arguments.protocol),
        login=_login(arguments),
        primary_host=_primary_host(arguments.primary_host, plan),
        duration_s=arguments.duration,
        drain_s=arguments.drain,
        bad_share=arguments.bad_share,
        herd_every_s=arguments.herd_every,
        herd_share=arguments.herd_share,
        death_every_s=arguments.death_every,
        breach_every_s=arguments.breach_every,
        backlog_share=arguments.backlog_share,
        backlog_age_s=arguments.backlog_age,
        resend_after_s=arguments.resend_after,
        backlog_batches_per_s=arguments.backlog_rate,
        spool_readings_max=arguments.spool_readings,
        seed=arguments.seed,
    )
    begun_ns = time.time_ns()
    ledger = None if arguments.ledger is None else LoadLedger(arguments.ledger, plan, begun_ns)

    async def run() -> LoadRun:
        run = LoadRun(plan, settings, ledger, begun_ns)
        await run.run()
        return run

    try:
        figures = asyncio.run(run()).figures
    finally:
        if ledger is not None:
            ledger.close()
    for line in report_lines(figures):
        print(line)
    if arguments.report is not None:
        arguments.report.write_text(json.dumps(report_document(figures), indent=2), "utf-8")
    return 0 if figures.is_all_acknowledged else _FAILED


def _check(arguments: argparse.Namespace) -> int:
    from simulators.check_load import check_influx, check_kafka, check_parquet  # noqa: PLC0415  # as above

    if arguments.parquet is not None:
        found = check_parquet(arguments.ledger, arguments.parquet, arguments.examples)
    elif arguments.influx is not None:
        token_file = arguments.influx_token_file
        token = None if token_file is None else token_file.read_text("utf-8").strip()
        found = check_influx(arguments.ledger, arguments.influx, arguments.influx_database, token, arguments.examples)
    elif arguments.fleet is not None:
        found = check_kafka(arguments.ledger, arguments.scored_from_kafka, arguments.fleet, arguments.examples)
    else:
        raise LoadError("--scored-from-kafka needs --fleet")
    _print_differences(found)
    return 0 if found.is_none(may_lack_unacknowledged=arguments.acknowledged_only) else _FAILED


def _print_differences(found: Differences) -> None:
    for field in fields(found):
        if field.name != "examples":
            print(f"{field.name:24} {getattr(found, field.name):,}")
    for example in found.examples:
        print(f"  {example}")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise LoadError(f"{text!r} is no HOST:PORT")
    return host, int(port)


def _login(arguments: argparse.Namespace) -> Login:
    if arguments.credentials is not None:
        folder: Path = arguments.credentials
        return lambda gateway_id: (gateway_id, (folder / gateway_id).read_text("utf-8").strip())
    if arguments.username is None:
        return lambda _: None
    if arguments.password_file is None:
        raise LoadError("--username needs --password-file")
    password = arguments.password_file.read_text("utf-8").strip()
    return lambda _: (arguments.username, password)


def _primary_host(words: Sequence[str], plan: LoadPlan) -> Callable[[str], str | None]:
    """The host of each district: its own, or the one that was named without a district."""
    of_district = {district: host_id for district, _, host_id in (word.rpartition("=") for word in words)}
    unknown = of_district.keys() - {""} - {gateway.district_id for gateway in plan.gateways}
    if unknown or "" in of_district.values():
        raise LoadError(f"--primary-host {' '.join(words)}: not [DISTRICT=]ID of a district of this fleet")
    return lambda district_id: of_district.get(district_id, of_district.get(""))


def _configure_logging() -> None:
    logging.Formatter.converter = time.gmtime
    layout = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr)
