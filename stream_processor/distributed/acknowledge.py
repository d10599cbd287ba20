"""What gateways are told once their batches are durably stored. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from contracts.ranges import RangeSet
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommand, UplinkCommandKind

RANGES_PER_COMMAND: Final = 500
"""More are several commands, so that no NCMD is too large for a broker."""


def acknowledgements(identities: Iterable[BatchIdentity], districts: Mapping[str, str]) -> Iterator[UplinkCommand]:
    """One command for each gateway and epoch (more if its batches are very scattered).

    Args:
        identities: batches that are stored, in any order, also several times.
        districts: gateway_id → district_id. A gateway that is not in it (it has left the fleet) cannot be reached and
            is told nothing: should it come back, it sends its batches again.
    """
    for (gateway_id, epoch), ranges in _ranges_of(identities).items():
        district_id = districts.get(gateway_id)
        if district_id is None:
            continue
        flat = ranges.flatten()
        for first in range(0, len(flat), 2 * RANGES_PER_COMMAND):
            yield UplinkCommand(
                kind=UplinkCommandKind.ACKNOWLEDGE,
                district_id=district_id,
                gateway_id=gateway_id,
                epoch=epoch,
                flat_ranges=tuple(flat[first : first + 2 * RANGES_PER_COMMAND]),
            )


def _ranges_of(identities: Iterable[BatchIdentity]) -> dict[tuple[str, int], RangeSet]:
    ranges: dict[tuple[str, int], RangeSet] = {}
    for identity in sorted(set(identities)):
        ranges.setdefault((identity.gateway_id, identity.epoch), RangeSet()).add(identity.batch)
    return ranges
