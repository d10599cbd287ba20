"""Waveforms: however samples are cut into polls, what is computed is the same, and the same as of the whole."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import rainflow
from hypothesis import given
from hypothesis import strategies as st

from contracts.quality import Reason
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.payload import decode_payload
from edge_agent.uplink.ddata_codec import encode_ddata
from edge_agent.waveform.cycle_counter import CycleCounter
from edge_agent.waveform.waveform_block import WaveformBlock, decode_blocks, encode_blocks
from edge_agent.waveform.waveform_channel import WaveformChannel
from edge_agent.waveform.waveform_plan import WaveformChannelPlan
from edge_agent.waveform.window_features import FEATURES

SECOND_NS = 1_000_000_000
BEGIN_NS = 1_761_955_200 * SECOND_NS + 370_000_000
floats32 = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
steps = st.integers(-5, 5).map(float)


@st.composite
def cut_series(draw, elements, min_size=0, max_size=400):
    """A series, and the places where it is cut."""
    series = draw(st.lists(elements, min_size=min_size, max_size=max_size))
    return series, sorted(draw(st.lists(st.integers(0, len(series)), max_size=12)))


def parts(series, cuts):
    bounds = [0, *cuts, len(series)]
    return [(first, series[first:last]) for first, last in pairwise(bounds) if last > first]


def whole_count(series, width):
    """By the library, over the whole series at once."""
    counts = Counter()
    for cycle_range, _, count, _, _ in rainflow.extract_cycles(series):
        if number := math.ceil(cycle_range / width):
            counts[number] += count
    return counts


@given(cut_series(st.one_of(steps, floats32), min_size=3))
def test_rainflow_over_parts_is_rainflow_over_the_whole(cut):
    series, cuts = cut
    counter = CycleCounter(1.0, 64)
    for _, part in parts(series, cuts):
        counter.take(part)
    counts = whole_count(series, 1.0)
    expected = [sum(count for number, count in counts.items() if min(number, 64) == bin_at) for bin_at in range(1, 65)]
    assert counter.half_cycles() == expected


@given(cut_series(steps, min_size=3))
def test_a_closed_cycle_is_never_taken_back_and_the_residue_only_shrinks(cut):
    series, cuts = cut
    counter = CycleCounter(1.0, 16)
    for _, part in parts(series, cuts):
        before = counter.counts.copy()
        counter.take(part)
        assert all(now >= was for now, was in zip(counter.counts, before, strict=True))
        ranges = [abs(b - a) for a, b in pairwise(counter.residue)]
        if len(counter.residue) > 2:
            assert all(later < earlier for earlier, later in pairwise(ranges))


def features_of(series, cuts, rate_hz):
    plan = WaveformChannelPlan("n", "strain", 1.0, 0.0, -1e7, 1e7, True, tuple(FEATURES), 0.0, 0)
    channel = WaveformChannel(plan, rate_hz, 1, range(2, 2 + len(FEATURES)))
    period = Fraction(SECOND_NS) / Fraction(rate_hz)
    for first, part in parts(series, cuts):
        channel.take(first, BEGIN_NS, period, array("f", part))
    return channel.pop()


@given(cut_series(floats32, min_size=150), st.sampled_from([50.0, 100.0, 60.0, 128.0]))
def test_features_are_numpys_on_any_split_and_blocks_are_the_samples(cut, rate_hz):
    series, cuts = cut
    blocks, readings = features_of(series, cuts, rate_hz)
    assert (blocks, readings) == features_of(series, [], rate_hz), "the split does not matter, bit for bit"
    samples = np.array(series, np.float32)
    times_ns = np.array(
        [BEGIN_NS + int(Fraction(SECOND_NS) / Fraction(rate_hz) * number) for number in range(len(series))]
    )
    seconds = times_ns // SECOND_NS
    assert b"".join(block.samples.tobytes() for block in blocks) == samples[seconds < seconds[-1]].tobytes()
    of_second: dict[int, dict[int, tuple]] = {}
    for alias, time_ns, value, reason in readings:
        of_second.setdefault(time_ns // SECOND_NS, {})[alias] = value, reason
    assert set(of_second) == set(seconds[seconds < seconds[-1]].tolist())
    for second, found in of_second.items():
        x = samples[seconds == second].astype(np.float64)
        expected = (x.mean(), x.std(), np.abs(x - x.mean()).max(), np.ptp(x), x.min(), x.max())
        scale = max(1.0, float(np.abs(x).max()))
        for at, number in enumerate(expected):
            value, reason = found[2 + at]
            assert math.isclose(value, number, rel_tol=1e-9, abs_tol=1e-9 * scale)
            assert reason == (Reason.INCOMPLETE if second == seconds[0] else Reason.OK), "it began within a second"


blocks = st.builds(
    WaveformBlock,
    st.integers(0, 2**31),
    st.integers(-(2**62), 2**62),
    st.floats(0.1, 1e5),
    st.sampled_from([int(reason) for reason in Reason]),
    st.lists(st.floats(width=32), max_size=50).map(lambda values: array("f", values)),
)


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.lists(blocks, max_size=5))
def test_a_batch_of_blocks_comes_back_to_the_bit(epoch, batch, given_blocks):
    octets = encode_blocks(epoch, batch, given_blocks)
    again = decode_blocks(epoch, batch, octets)
    assert [one._replace(samples=None) for one in again] == [one._replace(samples=None) for one in given_blocks]
    assert [one.samples.tobytes() for one in again] == [one.samples.tobytes() for one in given_blocks]


@given(st.lists(blocks, min_size=1, max_size=3), st.data())
def test_a_damaged_batch_is_told_and_never_read(given_blocks, data):
    octets = bytearray(encode_blocks(1, 2, given_blocks))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= 1 << data.draw(st.integers(0, 7))
    for wrong in (bytes(octets), bytes(octets[:at])):
        try:
            decode_blocks(1, 2, wrong)
        except ValueError:
            continue
        raise AssertionError("a changed bit was not noticed")


@given(st.lists(blocks.filter(lambda one: one.first_ns >= 0), min_size=1, max_size=3), st.booleans())
def test_a_ddata_of_blocks_is_a_payload_that_any_protocol_buffer_library_reads(given_blocks, is_historical):
    octets = encode_ddata((), now_ms=1, seq=3, epoch=4, batch=5, is_historical=is_historical, waveforms=given_blocks)
    message = wire.Payload.FromString(octets)
    assert message.seq == 3
    assert [metric.bytes_value for metric in message.metrics[2:]] == [one.samples.tobytes() for one in given_blocks]
    for metric, one in zip(decode_payload(octets).metrics[2:], given_blocks, strict=True):
        assert metric.alias == one.alias
        assert metric.is_historical is is_historical
        assert metric.timestamp_ms == one.first_ns // 1_000_000
        assert metric.properties["SampleRate"].value == one.sample_rate_hz
        assert metric.properties["FirstSampleTime"].value == one.first_ns
