"""Register plan and decoding against published frames."""

import json
import re
import struct
from pathlib import Path

import pytest

from edge_agent.modbus.register_field import (
    Field,
    RegisterType,
    WordOrder,
    build_block_decoder,
    build_decoder,
    decode_text,
    encode_number,
)
from edge_agent.modbus.register_limits import LimitMemory, RegisterLimits, parse_memory
from edge_agent.modbus.register_plan import plan_reads

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
    reads = plan_reads([holding(106), holding(102, RegisterType.F32), holding(107)], request_cost=8)
    assert [(read.address, read.count) for read in reads] == [(102, 6)]


def test_a_large_hole_another_function_code_and_a_full_answer_each_begin_a_new_request():
    far = plan_reads([holding(0), holding(20)], request_cost=8)
    assert [(read.address, read.count) for read in far] == [(0, 1), (20, 1)]
    mixed = plan_reads([holding(0), Field(4, 1)])
    assert [(read.function_code, read.count) for read in mixed] == [(3, 1), (4, 1)]
    full = plan_reads([holding(address) for address in range(200)])
    assert sorted(read.count for read in full) == [75, 125]


def test_a_long_run_with_holes_is_cut_at_its_holes_and_not_where_the_first_request_is_full():
    wanted = [holding(address) for address in (*range(100), *range(110, 210))]
    reads = plan_reads(wanted, request_cost=12)
    assert [(read.address, read.count) for read in reads] == [(0, 100), (110, 100)]


def test_no_request_contains_a_refused_span_and_an_illegal_field_is_left_out():
    limits = RegisterLimits()
    limits.note_refused(3, 5, 6)
    limits.note_refused(3, 9, 12)  # nothing may be read from before 10 to behind 11
    reads = plan_reads([holding(address) for address in range(20)], limits)
    assert [(read.address, read.count) for read in reads] == [(0, 5), (6, 4), (10, 10)]
    reads = plan_reads([holding(address) for address in range(20)], RegisterLimits(max_count={3: 8}))
    assert len(reads) == 3


def test_coils_are_asked_for_by_the_thousand():
    reads = plan_reads([Field(1, address, RegisterType.BIT) for address in range(0, 4000, 50)])
    assert len(reads) == 2
    assert all(read.count <= 2000 for read in reads)


def test_a_refused_span_within_another_takes_its_place_and_an_answer_forgives_it():
    limits = RegisterLimits()
    limits.note_refused(3, 0, 10)
    limits.note_refused(3, 4, 6)
    assert limits.refused == {3: {(4, 6)}}
    limits.forgive(3, 4, 6)
    assert not limits.refuses(3, 0, 100)


def test_what_a_model_refuses_survives_its_file():
    memory = LimitMemory()
    learnt = RegisterLimits(max_count={3: 20}, answered_count={3: 20, 4: 3})
    learnt.note_refused(3, 5, 6)
    memory.learn("some_meter", RegisterLimits(), learnt)
    document = json.loads(json.dumps(memory.as_document()))
    assert parse_memory(document).limits_of("some_meter") == learnt
    assert parse_memory(document).limits_of("another") == RegisterLimits()


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "$"),
        ({"version": 2, "models": {}}, "$"),
        ({"version": 1, "models": {"m": 3}}, "$.models.m"),
        ({"version": 1, "models": {"m": {"7": {}}}}, "$.models.m.7"),
        ({"version": 1, "models": {"m": {"3": {"longest": 0}}}}, "$.models.m.3.longest"),
        ({"version": 1, "models": {"m": {"3": {"refused": [[5, 5]]}}}}, "$.models.m.3.refused"),
    ],
)
def test_a_memory_file_of_another_shape_is_refused_with_its_place(document, place):
    with pytest.raises(ValueError, match="^" + place.replace("$", r"\$").replace(".", r"\.") + ":"):
        parse_memory(document)


@pytest.mark.parametrize("order", list(WordOrder))
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (RegisterType.U16, 0xA1B2),
        (RegisterType.S16, -2),
        (RegisterType.U32, 0xA1B2C3D4),
        (RegisterType.S32, -3),
        (RegisterType.U64, 0x0001_A1B2_C3D4_E5F6),
        (RegisterType.S64, -4),
        (RegisterType.F32, 42.5),
        (RegisterType.F64, -0.1),
    ],
)
def test_what_is_written_reads_back_in_every_word_order(order, kind, number):
    words = encode_number(number, kind, order)
    assert all(0 <= word <= 0xFFFF for word in words)
    assert build_decoder(Field(3, 0, kind, order))([7, *words], 1) == number


def test_bytes_of_a_register_and_eight_byte_integers():
    assert build_decoder(Field(3, 0, RegisterType.U8_HIGH))([0xF102], 0) == 0xF1
    assert build_decoder(Field(3, 0, RegisterType.U8_LOW))([0xF102], 0) == 0x02
    assert build_decoder(Field(3, 0, RegisterType.S8_HIGH))([0xF102], 0) == -15
    assert build_decoder(Field(3, 0, RegisterType.S8_LOW, WordOrder.BADC))([0xF102], 0) == -15
    assert build_decoder(Field(3, 0, RegisterType.U64))([0, 1, 2, 3], 0) == 0x0001_0002_0003
    assert build_decoder(Field(3, 0, RegisterType.U64, WordOrder.CDAB))([3, 2, 1, 0], 0) == 0x0001_0002_0003


@pytest.mark.parametrize(
    ("number", "kind"),
    [(-1, RegisterType.U16), (65536, RegisterType.U16), (1.5, RegisterType.S16), (1e39, RegisterType.F32)],
)
def test_a_number_that_a_type_cannot_hold_is_an_error_that_names_both(number, kind):
    with pytest.raises(ValueError, match=f"{re.escape(str(number))}.*{kind}"):
        encode_number(number, kind)


def test_a_block_of_fields_decodes_as_each_field_alone():
    kinds = [kind for kind in RegisterType if kind is not RegisterType.BIT]
    for order in WordOrder:
        fields, address = [], 100
        for kind in kinds:
            fields.append(Field(3, address, kind, order))
            address += fields[-1].word_count + 1
        words = [(7919 * at + 257) % 0x4000 for at in range(address - 100)]
        for chosen in (fields, fields[::2], [fields[0], *fields], [Field(3, 101, mask=0x0F0), *fields]):
            places = [(field, field.address - 100) for field in chosen]
            numbers = build_block_decoder(places, len(words))(words)
            assert list(numbers) == [build_decoder(field)(words, at) for field, at in places]


def test_a_text_ends_at_its_nul_and_may_have_its_bytes_swapped():
    assert decode_text([0x4D65, 0x7468, 0x616E, 0x6500, 0xFFFF]) == "Methane"
    assert decode_text([0x654D, 0x6874, 0x2020], WordOrder.BADC) == "Meth"
