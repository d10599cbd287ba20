"""`edge-agent decode` (shell): bytes of a device → one JSON object a frame or reject, on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edge_agent.commands.capture_file import CaptureError, read_packets
from edge_agent.commands.capture_flow import FlowPiece, read_flows
from edge_agent.commands.decode import Decodable, UnknownDeviceError, decoder_of, list_decodable
from edge_agent.commands.decode_input import InputError, InputFormat, guess_format, parse_hex
from edge_agent.commands.decoded import Decoded, Decoder, JsonObject, Rejected, describe_decoded
from edge_agent.settings.load_profiles import load_profiles

EXIT_ALL_DECODED: Final = 0
EXIT_REJECTS: Final = 1
EXIT_USAGE: Final = 2

_PIECE_BYTES: Final = 65_536


def decode_command(chosen: argparse.Namespace) -> int:
    """Does what the arguments say; gives the exit code. Raises ConfigurationError for a faulty profile."""
    profiles = load_profiles(None if chosen.profiles is None else Path(chosen.profiles))
    if chosen.list:
        for one in list_decodable(profiles):
            models = f" ({', '.join(one.models)})" if one.models else ""
            print(f"{one.name:28} {one.source.title}{models}")
        return EXIT_ALL_DECODED
    if chosen.device is None:
        print("edge-agent decode: --device PROFILE is missing (decode --list names them)", file=sys.stderr)
        return EXIT_USAGE
    try:
        decodable = decoder_of(chosen.device, profiles)
        octets, input_format = _read_input(chosen)
        return _print_decoded(decodable, octets, input_format)
    except (UnknownDeviceError, InputError, CaptureError, OSError) as error:
        print(f"edge-agent decode: {error}", file=sys.stderr)
        return EXIT_USAGE


def _read_input(chosen: argparse.Namespace) -> tuple[bytes, InputFormat]:
    """The input, and what it is."""
    path = chosen.pcap or chosen.file
    given = " ".join(chosen.octets)
    if path is None and len(chosen.octets) == 1 and not _is_hex(given) and Path(given).is_file():
        path = given
    elif path is not None and given:
        raise InputError("give either bytes or a file, not both")
    if path is not None:
        octets = Path(path).read_bytes()
        guessed = "pcap" if chosen.pcap else guess_format(octets, is_file=True)
    elif given:
        if len(chosen.octets) == 1 and not _is_hex(given) and any(letter in given for letter in "/."):
            raise InputError(f"there is no file {given!r}, and it is no hexadecimal text")
        octets, guessed = given.encode(), "hex"
    else:
        if sys.stdin.isatty():
            print("edge-agent decode: type or paste bytes as hexadecimal digits, then Ctrl-D", file=sys.stderr)
        octets = sys.stdin.buffer.read()
        guessed = guess_format(octets, is_file=False)
    input_format: InputFormat = chosen.format or guessed
    if input_format == "hex":
        octets = parse_hex(octets)
    if not octets:
        raise InputError("there are no bytes to decode")
    return octets, input_format


def _is_hex(text: str) -> bool:
    try:
        return bool(parse_hex(text.encode()))
    except InputError:
        return False


def _print_decoded(decodable: Decodable, octets: bytes, input_format: InputFormat) -> int:
    is_good = True
    if input_format == "pcap":
        described = _decode_flows(decodable, read_flows(read_packets(octets)))
    else:
        described = _decode_stream(decodable, octets)
    for found, fields in described:
        is_good = is_good and not isinstance(found, Rejected)
        print(json.dumps(fields, ensure_ascii=False, allow_nan=False))
    return EXIT_ALL_DECODED if is_good else EXIT_REJECTS


def _decode_stream(decodable: Decodable, octets: bytes) -> Iterator[tuple[Decoded, JsonObject]]:
    decoder = decodable.source.build()
    for at in range(0, len(octets), _PIECE_BYTES):
        for found in decoder.feed(octets[at : at + _PIECE_BYTES]):
            yield found, describe_decoded(found, decodable.name)
    for found in decoder.finish():
        yield found, describe_decoded(found, decodable.name)


def _decode_flows(decodable: Decodable, pieces: Iterable[FlowPiece]) -> Iterator[tuple[Decoded, JsonObject]]:
    pairs: dict[str, tuple[Decoder, Decoder]] = {}
    for piece in pieces:
        if piece.flow not in pairs:
            pairs[piece.flow] = decodable.source.build_pair()
        decoder = pairs[piece.flow][0 if piece.is_from_opener else 1]
        for found in decoder.feed(piece.octets):
            yield found, _describe_in_flow(found, decodable, piece.flow, piece.is_from_opener)
    for flow, pair in pairs.items():
        for decoder, is_from_opener in zip(pair, (True, False), strict=True):
            for found in decoder.finish():
                yield found, _describe_in_flow(found, decodable, flow, is_from_opener)


def _describe_in_flow(found: Decoded, decodable: Decodable, flow: str, is_from_opener: bool) -> JsonObject:
    direction = "sent" if is_from_opener else "received"
    return describe_decoded(found, decodable.name) | {"flow": flow, "direction": direction}
