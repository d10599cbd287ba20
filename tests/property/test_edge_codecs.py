"""Properties of what turns bytes into readings and readings into bytes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import Reason
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import decode_payload
from edge_agent.channel_table import Reading
from edge_agent.modbus.register_field import Field, RegisterType, WordOrder, build_decoder
from edge_agent.modbus.register_limits import RegisterLimits
from edge_agent.modbus.register_plan import plan_reads
from edge_agent.spool.reading_buffer import ReadingBuffer
from edge_agent.uplink.ddata_codec import encode_ddata

fields = st.builds(
    Field,
    function_code=st.sampled_from([3, 4]),
    address=st.integers(0, 0xFFF0),
    register_type=st.sampled_from([one for one in RegisterType if one is not RegisterType.BIT]),
)
reasons = st.sampled_from(list(Reason)).map(int)
readings = st.tuples(
    st.integers(1, 1000),
    st.integers(0, 2**42).map(lambda ms: ms * 1_000_000),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    reasons,
).filter(lambda reading: reading[2] is not None or reading[3] != Reason.OK)


@given(
    st.lists(fields, max_size=40),
    st.integers(4, 125),
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 0xFFF0), st.integers(1, 4)), max_size=5),
)
def test_a_plan_covers_every_legal_field_once_within_the_devices_limits(
    wanted: list[Field], most: int, cost: int, refused: list[tuple[int, int]]
) -> None:
    limits = RegisterLimits(max_count={3: most, 4: most})
    for first, length in refused:
        limits.note_refused(3, first, first + length)
    legal = {field for field in wanted if not limits.refuses(field.function_code, field.address, field.end)}
    reads = plan_reads(wanted, limits, cost)
    assert sorted(map(repr, (field for read in reads for field in read.fields))) == sorted(map(repr, legal))
    for read in reads:
        assert read.count <= most
        assert not limits.refuses(read.function_code, read.address, read.end)
        for field in read.fields:
            assert field.function_code == read.function_code
            assert read.address <= field.address
            assert field.end <= read.end


@given(st.sets(st.integers(0, 60), min_size=1, max_size=9), st.integers(3, 20), st.integers(0, 9))
def test_a_plan_is_the_cheapest_of_all_that_there_are(addresses: set[int], most: int, cost: int) -> None:
    ordered = sorted(addresses)
    best = min(
        sum(cost + run[-1] + 1 - run[0] for run in runs)
        for runs in all_cuts(ordered)
        if all(run[-1] + 1 - run[0] <= most for run in runs)
    )
    reads = plan_reads([Field(3, one) for one in ordered], RegisterLimits(max_count={3: most}), cost)
    assert sum(cost + read.count for read in reads) == best


def all_cuts(ordered: list[int]) -> Iterator[list[list[int]]]:
    for cut in range(1 << (len(ordered) - 1)):
        runs = [[ordered[0]]]
        for at, one in enumerate(ordered[1:]):
            if cut >> at & 1:
                runs.append([one])
            else:
                runs[-1].append(one)
        yield runs


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from(list(WordOrder)), st.integers(0, 3))
def test_each_word_order_reads_back_what_struct_wrote(number: int, order: WordOrder, at: int) -> None:
    a, b, c, d = struct.pack(">i", number)
    octets = {"ABCD": (a, b, c, d), "CDAB": (c, d, a, b), "BADC": (b, a, d, c), "DCBA": (d, c, b, a)}[order]
    words = [7] * at + list(struct.unpack(">HH", bytes(octets)))
    assert build_decoder(Field(3, 0, RegisterType.S32, order))(words, at) == number


@given(st.lists(readings, max_size=30), st.integers(0, 255), st.integers(0, 2**63 - 1), st.booleans())
def test_ddata_decodes_to_what_was_encoded(rows: list[Reading], seq: int, batch: int, is_historical: bool) -> None:
    octets = encode_ddata(rows, now_ms=1, seq=seq, epoch=3, batch=batch, is_historical=is_historical)
    payload = decode_payload(octets, dict.fromkeys(range(1, 1001), DataType.DOUBLE))
    metrics = [metric for metric in payload.metrics if metric.alias is not None]
    assert payload.seq == seq
    assert [(one.alias, one.timestamp_ms, one.value, one.is_historical) for one in metrics] == [
        (alias, ns // 1_000_000, value, is_historical) for alias, ns, value, _ in rows
    ]
    for metric, (_, _, value, reason) in zip(metrics, rows, strict=True):
        named = metric.properties.get("Reason")
        assert (named is None) == (reason == Reason.OK and value is not None)
        assert value is None or math.copysign(1.0, metric.value) == math.copysign(1.0, value)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.booleans()), max_size=30))
def test_a_buffer_hands_on_or_counts_every_reading(turns: list[tuple[str, int, bool]]) -> None:
    buffer = ReadingBuffer(1, limit=50)
    put, committed, numbers = 0, 0, []
    for bus_id, count, is_disk_well in turns:
        buffer.put(bus_id, [(1, number, None, 64) for number in range(count)])
        put += count
        sealed = buffer.seal()
        if is_disk_well:
            buffer.committed(sealed)
            committed += sum(len(one.readings) for one in sealed)
            numbers += [one.batch for one in sealed]
        else:
            buffer.failed()
    assert committed + buffer.discarded_total + buffer.waiting_count == put
    assert numbers == sorted(set(numbers))
