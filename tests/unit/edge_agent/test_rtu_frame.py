"""What was heard on the line when no answer came."""

import pytest

from contracts.quality import Reason
from edge_agent.modbus.rtu_frame import compute_crc, has_right_crc, judge_remains

ANSWER = bytes.fromhex("020304c87c462804f5")  # Geokon 3810A manual p. 12
JUMO = bytes.fromhex("01030485bcc1b84339")


@pytest.mark.parametrize("frame", [ANSWER, JUMO])
def test_published_frames_have_the_right_crc_and_one_flipped_bit_has_not(frame):
    assert has_right_crc(frame)
    for bit in range(8 * len(frame)):
        spoiled = bytearray(frame)
        spoiled[bit // 8] ^= 1 << (bit % 8)
        assert not has_right_crc(bytes(spoiled))


def test_the_crc_of_the_standards_check_string():
    assert compute_crc(b"123456789") == 0x4B37


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (b"", Reason.NO_ANSWER),
        (ANSWER[:-1] + b"\x00", Reason.CRC_ERROR),
        (b"\x00\xff" + ANSWER[:-1] + b"\x00", Reason.CRC_ERROR),
        (b"\x07" + ANSWER[1:], Reason.CRC_ERROR),
        (bytes.fromhex("0283020000"), Reason.CRC_ERROR),
        (ANSWER[:5], Reason.MALFORMED_FRAME),
        (b"\x00", Reason.MALFORMED_FRAME),
        (b"rubbish on the line", Reason.MALFORMED_FRAME),
    ],
)
def test_silence_corruption_and_rubbish_are_told_apart(heard, expected):
    assert judge_remains(2, 3, 9, heard) is expected
