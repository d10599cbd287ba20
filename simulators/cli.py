"""`city-simulator`: field devices of a city that does not exist, faults in them, load, and ledgers of what was told."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from contracts.errors import ConfigurationError, Fault
from simulators.configuration import FieldSettings, parse_configuration
from simulators.demo_city import DemoOptions, build_demo
from simulators.errors import SimulatorError
from simulators.field import JsonObject
from simulators.load_cli import add_load_words
from simulators.read_instruments import read_instruments
from simulators.run_field import run_field
from simulators.scenario import FaultKind
from simulators.sector_cli import add_sector_words
from simulators.serve_control import send_command
from simulators.spool_ledger import attach_spool_ledger, read_spool_ledger

_FAILED: Final = 1
_FAULTY_CONFIGURATION: Final = 2


def main() -> None:
    """Runs the program; exits with 0, 1 (it could not be done) or 2 (faulty configuration or arguments)."""
    arguments = _build_parser().parse_args()
    try:
        code = arguments.act(arguments)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        code = _FAULTY_CONFIGURATION
    except (SimulatorError, OSError) as error:
        sys.stderr.write(f"city-simulator: {error}\n")
        code = _FAILED
    sys.exit(code)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="city-simulator", description=__doc__)
    parser.add_argument("--version", action="version", version=f"city-simulator {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("field", aliases=["run"], help="run the field devices of a configuration")
    run.add_argument("--config", type=Path, required=True)
    run.set_defaults(act=_run)
    check = commands.add_parser("check-config", help="name every fault of a configuration")
    check.add_argument("--config", type=Path, required=True)
    check.set_defaults(act=_check)
    _add_orders(commands)
    _add_demo(commands)
    _add_ledger(commands)
    add_sector_words(commands)
    add_load_words(commands)
    return parser


def _add_orders(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fault = _add_order(commands, "fault", "let a device or a line of a running field fail", _fault)
    subject = fault.add_mutually_exclusive_group(required=True)
    subject.add_argument("--node")
    subject.add_argument("--bus", help="for line_lost")
    fault.add_argument("--kind", required=True, choices=[kind.value for kind in FaultKind])
    fault.add_argument("--for", dest="for_s", type=float, required=True, metavar="SECONDS")
    fault.add_argument("--value", type=float, help="for out_of_range, in the quantity's unit")
    fault.add_argument("--quantity", help="for out_of_range and not_a_number")
    fault.add_argument("--code", type=int, help="for modbus_exception")
    leak = _add_order(commands, "leak", "let a gas leak grow in a running field", _leak)
    leak.add_argument("--node", required=True)
    leak.add_argument("--quantity", default="methane_lel")
    leak.add_argument("--peak", type=float, default=45.0)
    leak.add_argument("--rise", type=float, default=25.0, metavar="SECONDS")
    leak.add_argument("--hold", type=float, default=180.0, metavar="SECONDS")
    leak.add_argument("--fall", type=float, default=40.0, metavar="SECONDS")
    leak.add_argument("--set-point", type=float, action="append", default=[], help="tell when it is truly crossed")
    fire = _add_order(commands, "fire", "let a fire detector of a running field see fire", _fire)
    fire.add_argument("--node", required=True)
    fire.add_argument("--hold", type=float, default=180.0, metavar="SECONDS")
    clear = _add_order(commands, "clear", "end all that was ordered for a node or bus", _clear)
    clear.add_argument("subject", metavar="NODE_OR_BUS")
    _add_order(commands, "status", "tell how a running field is", _status)


def _add_order(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, act: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary)
    parser.add_argument("--control", type=Path, required=True, help="the control socket of the running field")
    parser.set_defaults(act=act)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    defaults = DemoOptions()
    demo = commands.add_parser("write-demo", help="write the configurations of the demonstration city")
    demo.add_argument("--out", type=Path, required=True, metavar="DIR")
    demo.add_argument("--broker-host", default=defaults.broker_host)
    demo.add_argument("--broker-port", type=int, required=True)
    demo.add_argument("--protocol", choices=["5", "3.1.1"], default=defaults.protocol, help="MQTT version")
    demo.add_argument("--primary-host", default=defaults.primary_host)
    demo.add_argument(
        "--modbus-port", type=int, nargs=3, default=defaults.modbus_ports, metavar=("GAS", "TANKS", "FIRE")
    )
    demo.add_argument(
        "--password-file",
        action="append",
        default=[],
        metavar="GATEWAY=PATH",
        help="MQTT password of an agent; its user name is the gateway id; a relative path is relative to DIR",
    )
    demo.add_argument("--spool-folder", default=defaults.spool_folder)
    demo.add_argument("--pty-folder", default=defaults.pty_folder)
    demo.add_argument("--leak-at", type=float, default=defaults.leak_at_s, metavar="SECONDS")
    demo.add_argument("--without-scenario", action="store_true", help="no leak and no faults")
    demo.add_argument("--seed", type=int, default=defaults.seed)
    demo.set_defaults(act=_write_demo)


def _add_ledger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ledger = commands.add_parser("ledger", help="witness what an edge agent commits to its spool")
    acts = ledger.add_subparsers(required=True, metavar="ACT")
    attach = acts.add_parser("attach", help="install the ledger in a spool file")
    attach.add_argument("spool", type=Path)
    attach.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="for the spool to come to be")
    attach.set_defaults(act=_attach)
    listing = acts.add_parser("list", help="print each committed reading as a JSON line")
    listing.add_argument("spool", type=Path)
    listing.set_defaults(act=_list)


def _run(arguments: argparse.Namespace) -> int:
    _configure_logging()
    settings = _read_configuration(arguments.config)
    asyncio.run(run_field(settings, arguments.config.parent, read_instruments()))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    _read_configuration(arguments.config)
    print(f"{arguments.config}: ok")
    return 0


def _fault(arguments: argparse.Namespace) -> int:
    names = ("node", "bus", "kind", "for_s", "value", "quantity", "code")
    order = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return _send(arguments.control, {"command": "fault", "order": order})


def _leak(arguments: argparse.Namespace) -> int:
    order = {
        "kind": "gas_leak",
        "node": arguments.node,
        "quantity": arguments.quantity,
        "peak": arguments.peak,
        "rise_s": arguments.rise,
        "hold_s": arguments.hold,
        "fall_s": arguments.fall,
    }
    return _send(arguments.control, {"command": "happen", "order": order, "set_points": arguments.set_point})


def _fire(arguments: argparse.Namespace) -> int:
    order = {"kind": "fire", "node": arguments.node, "hold_s": arguments.hold}
    return _send(arguments.control, {"command": "happen", "order": order})


def _clear(arguments: argparse.Namespace) -> int:
    return _send(arguments.control, {"command": "clear", "subject": arguments.subject})


def _status(arguments: argparse.Namespace) -> int:
    return _send(arguments.control, {"command": "status"})


def _send(control: Path, command: JsonObject) -> int:
    print(json.dumps(send_command(control, command)))
    return 0


def _write_demo(arguments: argparse.Namespace) -> int:
    options = DemoOptions(
        broker_host=arguments.broker_host,
        broker_port=arguments.broker_port,
        protocol=arguments.protocol,
        primary_host=arguments.primary_host,
        modbus_ports=tuple(arguments.modbus_port),
        password_files=_parse_password_files(arguments.password_file),
        spool_folder=arguments.spool_folder,
        pty_folder=arguments.pty_folder,
        leak_at_s=arguments.leak_at,
        has_scenario=not arguments.without_scenario,
        seed=arguments.seed,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in build_demo(options).items():
        path = arguments.out / name
        path.write_text(text, "utf-8")
        print(path)
    return 0


def _parse_password_files(pairs: Sequence[str]) -> dict[str, str]:
    faults = [Fault("--password-file", f"{pair!r}: not GATEWAY=PATH") for pair in pairs if not all(pair.partition("="))]
    if faults:
        raise ConfigurationError("write-demo", faults)
    return {gateway: path for gateway, _, path in (pair.partition("=") for pair in pairs)}


def _attach(arguments: argparse.Namespace) -> int:
    attach_spool_ledger(arguments.spool, arguments.wait)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for row in read_spool_ledger(arguments.spool):
        print(json.dumps(row._asdict()))
    return 0


def _read_configuration(path: Path) -> FieldSettings:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error
    return parse_configuration(text, str(path), read_instruments())


def _configure_logging() -> None:
    logging.Formatter.converter = time.gmtime
    layout = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, datefmt="%Y-%m-%dT%H:%M:%S")


def _version() -> str:
    try:
        return version("citysense")
    except PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    main()
