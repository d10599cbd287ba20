"""What `edge-agent scan` tries, in which order, and how it says what it found. Pure.

A device is found by any answer to a read of one holding register: registers, or an exception, which a device that is
there gives too. What is heard and is no answer hints at another speed or parity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

from contracts.quality import REASONS, Reason
from edge_agent.lines.poll_step import Answer

Parity = Literal["N", "E", "O"]
USUAL_BAUD_RATES: Final = (9600, 19200, 115200, 38400, 4800, 57600, 2400)
"""The standard's default is 19200; devices come with 9600 more often than with any other."""
PARITIES: Final[tuple[Parity, ...]] = ("N", "E", "O")
ALL_DEVICE_IDS: Final = range(1, 248)
_ANSWERED: Final = frozenset(
    {
        Reason.MODBUS_ILLEGAL_FUNCTION,
        Reason.MODBUS_ILLEGAL_ADDRESS,
        Reason.MODBUS_ILLEGAL_VALUE,
        Reason.MODBUS_DEVICE_FAILURE,
        Reason.MODBUS_DEVICE_BUSY,
        Reason.MODBUS_EXCEPTION,
    }
)


@dataclass(frozen=True, slots=True)
class LineSetting:
    """How a serial port is opened."""

    baud_rate: int
    parity: Parity

    @property
    def stop_bits(self) -> Literal[1, 2]:
        """One: devices without parity are set to 8N1 in practice, though the standard wants two stop bits then."""
        return 1

    def __str__(self) -> str:
        return f"{self.baud_rate} 8{self.parity}{self.stop_bits}"


def line_settings(baud_rates: Sequence[int], parities: Sequence[Parity]) -> Iterator[LineSetting]:
    """All settings: speeds in the given order without parity first, as devices are delivered."""
    return (LineSetting(baud_rate, parity) for parity, baud_rate in product(parities, baud_rates))


def parse_device_ids(text: str) -> list[int]:
    """`1-20,31` → ids in their order. Raises ValueError with what is allowed."""
    ids: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part!r} is no device id and no range like 1-20")
        span = range(int(first), int(last if dash else first) + 1)
        if not span or span[0] not in ALL_DEVICE_IDS or span[-1] not in ALL_DEVICE_IDS:
            raise ValueError(f"{part!r}: device ids are 1 to 247")
        ids += [one for one in span if one not in ids]
    return ids


def is_device(answer: Answer) -> bool:
    """Whether somebody with this id answered."""
    return not isinstance(answer, Reason) or answer in _ANSWERED


def is_noise(answer: Answer) -> bool:
    """Whether something was heard that is no answer at this speed."""
    return isinstance(answer, Reason) and answer in {Reason.CRC_ERROR, Reason.MALFORMED_FRAME}


def describe_found(where: str, device_id: int, answer: Answer) -> str:
    """A line for a device."""
    if isinstance(answer, Reason):
        return f"{where}  device_id {device_id:3}  answers: {REASONS[answer].text}"
    return f"{where}  device_id {device_id:3}  answers: holding register 0 = {next(iter(answer))}"


def describe_effort(setting_count: int, id_count: int, timeout_s: float) -> str:
    """What lies ahead, at worst."""
    worst_s = setting_count * id_count * timeout_s * 1.5
    return (
        f"trying {setting_count} line settings x {id_count} device ids, at most {worst_s / 60.0:.0f} min; "
        "ends after the first setting at which a device answers (--all: goes on)"
    )
