"""The options of `edge-agent decode` (shell: argparse), apart from it: the agent that runs does not load decoders."""

from __future__ import annotations

import argparse
from typing import Final

DESCRIPTION: Final = (
    "Decodes bytes of a device, with no line and no configuration. Prints one JSON object for each frame (readings "
    "with unit and quality) and for each reject (reason and offset). Exit code 0: all bytes were decoded; 1: there is "
    "a reject; 2: the command or what it was given is wrong."
)


def add_decode_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describes the command to argparse."""
    parser = commands.add_parser("decode", help="what bytes of a device mean, as JSON", description=DESCRIPTION)
    parser.set_defaults(config="")
    parser.add_argument("--list", action="store_true", help="name all that can be decoded")
    parser.add_argument("--device", metavar="PROFILE", help="a profile, a model or a protocol of --list")
    parser.add_argument("--file", metavar="PATH", help="bytes, hexadecimal text, or a capture (pcap, pcapng)")
    parser.add_argument("--pcap", metavar="PATH", help="a capture")
    parser.add_argument("--format", choices=["hex", "raw", "pcap"], help="what the input is, if the guess is wrong")
    parser.add_argument("--profiles", metavar="FOLDER", help="further profiles of one's own")
    parser.add_argument(
        "octets", nargs="*", metavar="HEX", help="bytes as hexadecimal digits; without any, standard input"
    )
