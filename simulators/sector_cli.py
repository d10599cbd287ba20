"""Words of the command line for stations that call an endpoint, and for single instruments on a serial line."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Final

from simulators.gb26875_transmitter import FireTransmitter
from simulators.hj212_station import Hj212Station
from simulators.run_sector import Address, call, call_on_terminal, play
from simulators.sector_caller import COMMANDS, STATES, Caller, FireCaller, Hj212Caller
from simulators.serial_instrument import INSTRUMENTS

_FAILED: Final = 1
_MN: Final = "010000A8900016F000169DC0"
"""The station of the standard's own examples, and of the agent's example configuration."""


def add_sector_words(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `hj212`, `gb26875` and `instrument`."""
    _add_hj212(commands)
    _add_gb26875(commands)
    _add_instrument(commands)


def _add_hj212(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "hj212",
        help="a data logger that reports by HJ 212-2017",
        description="A data logger that reports by HJ 212-2017: sends again what is not answered, does what it is "
        "asked, and prints what goes over the line. Exit code 1: a report was given up, or none was answered.",
    )
    _add_line(parser)
    parser.add_argument("--mn", default=_MN, help=f"its number (default: {_MN})")
    parser.add_argument("--password", default="123456", help="default: 123456")
    parser.add_argument("--st", default="32", help="its system: 32 waste water (default), 22 ambient air, 31 emission")
    parser.add_argument("--period", choices=list(COMMANDS), default="realtime", help="what it reports")
    parser.add_argument(
        "--factor", type=_pair, action="append", metavar="CODE=NUMBER",
        help="repeat it for more (default: w01018=12.5 w01001=7.1)",
    )  # fmt: skip
    parser.add_argument("--flag", default="N", help="of each number: N good, D faulty, C calibrating, M maintained …")
    parser.add_argument("--interval", type=float, default=60.0, metavar="SECONDS", help="between reports")
    parser.add_argument("--count", type=_count, help="stop after so many reports (default: go on)")
    parser.add_argument("--wrong-crc", action="store_true", help="each report is corrupt the first time it is sent")
    parser.set_defaults(act=_run_hj212)


def _add_gb26875(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "gb26875",
        help="a fire transmitter that reports by GB/T 26875.3-2011",
        description="A fire transmitter that reports states of one component by GB/T 26875.3-2011: sends again what "
        "is not confirmed, answers what it is asked, and prints what goes over the line. Exit code 1: a report was "
        "given up, or none was confirmed.",
    )
    _add_line(parser)
    parser.add_argument("--address", type=int, default=3456, help="the transmitter's (default: 3456)")
    parser.add_argument(
        "--component", type=_place, default=(1, 3, 17), metavar="TYPE/SYSTEM/NUMBER",
        help="which component of which system (default: 1/3/17)",
    )  # fmt: skip
    parser.add_argument(
        "--state", action="append", choices=list(STATES), help="repeat it for more (default: normal, fire, normal)"
    )
    parser.add_argument("--interval", type=float, default=5.0, metavar="SECONDS", help="between reports")
    parser.add_argument("--wrong-sum", action="store_true", help="each report is corrupt the first time it is sent")
    parser.set_defaults(act=_run_gb26875)


def _add_line(parser: argparse.ArgumentParser) -> None:
    line = parser.add_mutually_exclusive_group(required=True)
    line.add_argument("--connect", type=_address, metavar="HOST:PORT", help="where the endpoint listens")
    line.add_argument("--link", type=Path, metavar="PATH", help="make a serial port (pseudo-terminal) of this name")
    parser.add_argument(
        "--retry-after", type=float, default=5.0, metavar="SECONDS", help="what is not answered is sent again"
    )
    parser.add_argument("--retries", type=int, default=3, help="so often, then it is given up")
    parser.add_argument(
        "--linger", type=float, default=2.0, metavar="SECONDS", help="stay on the line after the last report"
    )


def _add_instrument(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "instrument",
        help="one serial instrument on a pseudo-terminal",
        description="One serial instrument on a pseudo-terminal, until Ctrl-C; prints what goes over the line.",
    )
    parser.add_argument("name", choices=list(INSTRUMENTS))
    parser.add_argument("--link", type=Path, required=True, metavar="PATH", help="the name of its serial port")
    parser.add_argument(
        "--value", type=_measured, action="append", default=[], metavar="QUANTITY=NUMBER", help="what it measures"
    )
    parser.set_defaults(act=_run_instrument)


def _run_hj212(arguments: argparse.Namespace) -> int:
    station = Hj212Station(
        arguments.mn,
        arguments.password,
        system=arguments.st,
        over_time_s=arguments.retry_after,
        retries=arguments.retries,
    )
    caller = Hj212Caller(
        station,
        dict(arguments.factor or [("w01018", "12.5"), ("w01001", "7.1")]),
        period=arguments.period,
        interval_s=arguments.interval,
        count=arguments.count,
        flag=arguments.flag,
        is_check_wrong=arguments.wrong_crc,
    )
    return _run(caller, arguments)


def _run_gb26875(arguments: argparse.Namespace) -> int:
    transmitter = FireTransmitter(
        arguments.address, "2000-01-01 00:00:00", timeout_s=arguments.retry_after, retries=arguments.retries
    )
    states = arguments.state or ["normal", "fire", "normal"]
    caller = FireCaller(
        transmitter, arguments.component, states, interval_s=arguments.interval, is_sum_wrong=arguments.wrong_sum
    )
    return _run(caller, arguments)


def _run(caller: Caller, arguments: argparse.Namespace) -> int:
    if arguments.connect is not None:
        asyncio.run(call(caller, arguments.connect, linger_s=arguments.linger))
    else:
        asyncio.run(call_on_terminal(caller, arguments.link, linger_s=arguments.linger))
    print(caller.sum_up())
    return _FAILED if caller.has_failed else 0


def _run_instrument(arguments: argparse.Namespace) -> int:
    instrument = INSTRUMENTS[arguments.name]()
    for quantity, number in arguments.value:
        if quantity not in instrument.values:
            print(f"{arguments.name} does not measure {quantity!r}, but {', '.join(instrument.values)}")
            return _FAILED
        instrument.values[quantity] = number
    asyncio.run(play(instrument, arguments.link))
    return 0


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return Address(host.strip("[]"), int(port))


def _pair(text: str) -> tuple[str, str]:
    code, separator, number = text.partition("=")
    if not separator or not code or not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not CODE=NUMBER")
    return code, number


def _measured(text: str) -> tuple[str, float]:
    quantity, number = _pair(text)
    try:
        return quantity, float(number)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {number!r} is no number") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _place(text: str) -> tuple[int, int, int]:
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not TYPE/SYSTEM/NUMBER, such as 1/3/17")
    kind, system, number = map(int, parts)
    if kind > 255 or system > 255 or number >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}: TYPE and SYSTEM are up to 255, NUMBER is below 2^32")
    return kind, system, number
