"""Register plan and decoding against published frames."""

import json
import struct
from pathlib import Path

import pytest

from edge_agent.register_plan import Field, RegisterType, WordOrder, build_decoder, narrow_read, plan_reads

EXCHANGES = json.loads((Path(__file__).parents[2] / "golden/edge_frames/modbus_rtu.json").read_text())["exchanges"]


def holding(address: int, kind: RegisterType = RegisterType.U16) -> Field:
    return Field(3, address, kind)


def registers_of(frame_hex: str) -> list[int]:
    frame = bytes.fromhex(frame_hex)
    return list(struct.unpack(f">{frame[2] // 2}H", frame[3 : 3 + frame[2]]))


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda one: one["id"])
def test_published_answers_decode_to_their_published_values(exchange):
    expected = next(iter(exchange["expected"].values()))
    order = WordOrder.CDAB if "CDAB" in exchange.get("word_order", "") else WordOrder.ABCD
    kind = RegisterType.F32 if exchange["quantity"] == 2 else RegisterType.U16
    field = Field(3, exchange["address"], kind, order)
    assert build_decoder(field)(registers_of(exchange["response_hex"]), 0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (WordOrder.ABCD, [0x4228, 0x0000]),
        (WordOrder.CDAB, [0x0000, 0x4228]),
        (WordOrder.BADC, [0x2842, 0x0000]),
        (WordOrder.DCBA, [0x0000, 0x2842]),
    ],
)
def test_each_word_order_reads_the_same_42(order, words):
    assert build_decoder(Field(3, 0, RegisterType.F32, order))(words, 0) == 42.0


def test_signed_wide_and_masked_fields():
    assert build_decoder(Field(3, 0, RegisterType.S16))([0xFFFE], 0) == -2
    assert build_decoder(Field(3, 0, RegisterType.S32))([0xFFFF, 0xFFFD], 0) == -3
    assert build_decoder(Field(3, 0, RegisterType.U32))([0x0001, 0x0002], 0) == 65538
    assert build_decoder(Field(3, 0, RegisterType.F64))([0x4045, 0, 0, 0], 0) == 42.0
    assert build_decoder(Field(3, 0, mask=0x0F00))([0x1A42], 0) == 0xA


def test_neighbours_are_one_request_and_a_small_hole_is_read_along():
    reads = plan_reads([holding(106), holding(102, RegisterType.F32), holding(107)], max_hole_registers=8)
    assert [(read.address, read.count) for read in reads] == [(102, 6)]


def test_a_large_hole_another_function_code_and_a_full_answer_each_begin_a_new_request():
    far = plan_reads([holding(0), holding(20)], max_hole_registers=8)
    assert [(read.address, read.count) for read in far] == [(0, 1), (20, 1)]
    mixed = plan_reads([holding(0), Field(4, 1)])
    assert [(read.function_code, read.count) for read in mixed] == [(3, 1), (4, 1)]
    full = plan_reads([holding(address) for address in range(200)], max_registers=125)
    assert [(read.address, read.count) for read in full] == [(0, 125), (125, 75)]


def test_a_refused_request_is_tried_without_its_holes_then_in_halves_then_given_up():
    (read,) = plan_reads([holding(0), holding(4), holding(5)], max_hole_registers=8)
    without_holes = narrow_read(read)
    assert [(part.address, part.count) for part in without_holes] == [(0, 1), (4, 2)]
    halves = narrow_read(without_holes[1])
    assert [(part.address, part.count) for part in halves] == [(4, 1), (5, 1)]
    assert narrow_read(halves[0]) == ()
