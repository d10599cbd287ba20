"""The options of `edge-agent scan` (shell: argparse), apart from it: the agent that runs does not load it."""

from __future__ import annotations

import argparse

from edge_agent.commands.scan_plan import PARITIES, USUAL_BAUD_RATES


def add_scan_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command to argparse."""
    text = "find Modbus devices: walks baud rates, parities and device ids; exit code 1 if nobody answers"
    parser = commands.add_parser("scan", help=text, description=text)
    parser.set_defaults(config="")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", metavar="PATH", help="a serial port")
    where.add_argument("--host", metavar="HOST", help="a Modbus TCP endpoint")
    parser.add_argument("--tcp-port", type=int, default=502, metavar="N", help="its port (502)")
    parser.add_argument("--framing", choices=["tcp", "rtu", "ascii"], help="tcp with --host, rtu with --port")
    parser.add_argument("--baud-rates", default=",".join(map(str, USUAL_BAUD_RATES)), metavar="LIST")
    parser.add_argument("--parities", default=",".join(PARITIES), metavar="LIST", help="of N, E and O")
    parser.add_argument("--ids", default="1-247", metavar="LIST", help="device ids: 1-20,31")
    parser.add_argument("--timeout", type=float, default=0.1, metavar="SECONDS", help="for one device (0.1)")
    parser.add_argument("--all", action="store_true", help="go on after the first setting with a device")
