"""Waveforms in the agent: numbers, times, gaps, features, the spool, and who goes first on the line."""

from __future__ import annotations

import json
import math
import struct
from array import array
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.errors import ConfigurationError
from contracts.quality import Reason
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import decode_payload
from edge_agent.channel_table import ChannelTable
from edge_agent.lines.build_poller import build_line, build_watch
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import parse_configuration
from edge_agent.settings.load_profiles import load_profiles
from edge_agent.spool.reading_buffer import MAX_BATCH_SAMPLES, ReadingBuffer
from edge_agent.spool.replace_spool import Salvage
from edge_agent.spool.store_readings import LOST_RANGES_MAX, Spool
from edge_agent.spool.thin_spool import RoomMaker
from edge_agent.uplink.ddata_codec import encode_ddata
from edge_agent.uplink.sparkplug_session import BatchReady, Connected, EdgeNode, SessionState, step
from edge_agent.waveform.sample_clock import SETTLING_LOOKS, SampleClock
from edge_agent.waveform.sample_counter import SampleCounter
from edge_agent.waveform.waveform_block import WaveformBlock
from edge_agent.waveform.waveform_channel import WaveformChannel
from edge_agent.waveform.waveform_plan import WaveformChannelPlan

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
WALL_NS = 1_761_955_200 * SECOND_NS
CONFIGURATION = """
[gateway]
gateway_id = "gw-1"
district_id = "harbour"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "loggers"
kind = "modbus_tcp"
host = "127.0.0.1"
[[bus.node]]
node_id = "span-1"
profile = "{profile}"
device_id = 1
{more}
"""


@pytest.fixture(scope="module")
def profiles():
    return load_profiles()


def plan_of(profiles, profile="waveform_ring", more="poll_interval_s = 0.2"):
    settings = parse_configuration(CONFIGURATION.format(profile=profile, more=more), "agent.toml", profiles)
    return plan_agent(settings, profiles, Path("/")).lines[0]


# --- the counter --------------------------------------------------------------------------------------------------


def test_a_counter_that_wraps_goes_on():
    counter = SampleCounter(1 << 16, 1, 100.0, 512)
    assert not counter.take(65_530, 0.0), "the first look begins"
    assert counter.take(20, 0.3)
    assert counter.written == 26
    assert (26 + counter.phase) % 512 == 20, "the ring's places are those of the count"


def test_a_counter_that_wraps_in_the_middle_of_the_ring_begins_anew():
    counter = SampleCounter(1 << 32, 1, 100.0, 1_000)
    counter.take((1 << 32) - 6, 0.0)
    assert not counter.take(20, 0.3)
    assert (counter.written + counter.phase) % 1_000 == 20


def test_a_silence_of_several_turns_of_the_counter_is_told_by_the_clock():
    counter = SampleCounter(1 << 16, 1, 100.0)
    counter.take(0, 0.0)
    assert counter.take(2_000_000 % 65_536, 20_000.0)
    assert counter.written == 2_000_000


@pytest.mark.parametrize("register", [3, 90_000])
def test_a_logger_that_was_started_again_begins_anew_and_no_number_is_used_twice(register):
    counter = SampleCounter(1 << 32, 1, 100.0)
    counter.take(50_000, 0.0)
    counter.take(50_100, 1.0)
    assert not counter.take(register, 1.2)
    assert counter.written == 100
    assert (counter.written + counter.phase) == register


def test_blocks_count_as_samples():
    counter = SampleCounter(1 << 16, 100, 100.0)
    counter.take(7, 0.0)
    assert counter.take(9, 2.0)
    assert counter.written == 200


# --- the clock ----------------------------------------------------------------------------------------------------


class Crystal:
    """A logger whose crystal is off, looked at by polls that come late by chance."""

    def __init__(self, rate_hz=100.0, off_ppm=0.0):
        self.clock = SampleClock(rate_hz)
        self.period_s = (1.0 + off_ppm * 1e-6) / rate_hz
        self.now_s = 0.0
        self.wall_step_ns = 0
        self.times = []

    def run(self, seconds, delays=(0.01, 0.19, 0.05, 0.11)):
        jumps = 0
        for number in range(int(seconds / 0.2)):
            self.now_s += 0.2
            newest = int((self.now_s - delays[number % len(delays)]) / self.period_s)
            wall_ns = WALL_NS + round(self.now_s * SECOND_NS) + self.wall_step_ns
            jumps += self.clock.look(newest, wall_ns, self.now_s)
            if self.clock.is_settled:
                self.times.append((newest, self.clock.time_ns(newest)))
        return jumps

    def error_s(self):
        newest, time_ns = self.times[-1]
        return (time_ns - WALL_NS - self.wall_step_ns) / SECOND_NS - newest * self.period_s


def test_a_clock_settles_before_it_gives_times():
    crystal = Crystal()
    crystal.run(0.2 * SETTLING_LOOKS)
    assert not crystal.clock.is_settled
    crystal.run(2.0)
    assert crystal.clock.is_settled
    assert abs(crystal.error_s()) < 0.02, "the quickest look counts, not the mean"


@pytest.mark.parametrize("off_ppm", [-100.0, 0.0, 100.0])
def test_a_crystal_that_is_off_is_followed_for_a_day_without_a_jump(off_ppm):
    crystal = Crystal(off_ppm=off_ppm)
    assert crystal.run(3_600) == 0
    assert abs(crystal.error_s()) < 0.03
    periods = [(b - a) / (n - m) for (m, a), (n, b) in pairwise(crystal.times) if n > m]
    assert all(abs(period / 1e7 - 1.0) < 6e-4 for period in periods), "no second is longer or shorter than by 500 ppm"
    assert all(b > a for (m, a), (n, b) in pairwise(crystal.times) if n > m), "time never goes back"


@pytest.mark.parametrize("step_s", [-3_600, 3_600])
def test_a_gateway_clock_that_is_set_moves_the_times_once_and_says_so(step_s):
    crystal = Crystal()
    crystal.run(120)
    crystal.wall_step_ns = step_s * SECOND_NS
    assert crystal.run(20) == 1
    assert abs(crystal.error_s()) < 0.05


def test_a_late_answer_moves_nothing():
    crystal = Crystal()
    crystal.run(30)
    assert crystal.run(0.4, delays=(3.0, 3.0)) == 0
    assert abs(crystal.error_s()) < 0.05


# --- a poll -------------------------------------------------------------------------------------------------------


class Logger:
    """Registers of `waveform_ring` or `waveform_block`: sample k has the value k (acceleration) and -k (strain)."""

    def __init__(self, taken=0):
        self.taken = taken
        self.counted = 0
        self.requests = []
        self.refuses = {}
        self.taken_per_request = 0

    def answer(self, request):
        self.requests.append((request.function_code, request.address, request.count))
        self.taken += self.taken_per_request
        if request.address in self.refuses:
            return self.refuses[request.address]
        if request.address == 0:
            if request.function_code == 4:
                return [self.taken // 100 & 0xFFFF]
            return list(struct.unpack(">2H", struct.pack(">I", self.taken)))
        if request.function_code == 4:
            end = self.taken // 100 * 100
            return [number & 0xFFFF for number in range(end - 100, end)][request.address - 10 :][: request.count]
        return self._ring(request)

    def _ring(self, request):
        base, sign = (1000, 1.0) if request.address < 3000 else (3000, -1.0)
        words = []
        for place in range((request.address - base) // 2, (request.address - base + request.count) // 2):
            number = self.taken - 1 - (self.taken - 1 - place) % 1_000
            words += struct.unpack(">2H", struct.pack(">f", sign * number))
        return words


class Polled:
    """A device with its watch, polled by hand."""

    def __init__(self, profiles, profile="waveform_ring", taken=0, **more):
        self.line = plan_of(profiles, profile, **more)
        self.channels = ChannelTable()
        self.built = build_line(self.line, self.channels)
        (self.device,) = self.built.devices
        self.blocks = []
        self.watch = build_watch(self.line.devices[0], self.device, self.blocks.extend)
        self.logger = Logger(taken)
        self.now_s = 100.0

    def poll(self):
        steps = self.device.poll(self.now_s)
        try:
            request = next(steps)
            while True:
                request = steps.send(self.logger.answer(request))
        except StopIteration as stop:
            outcomes = stop.value
        wall_ns = WALL_NS + round((self.now_s - 100.0) * SECOND_NS)
        return self.watch.readings(outcomes, wall_ns, self.now_s)

    def run(self, seconds, rate=100):
        readings = []
        for _ in range(round(seconds / 0.2)):
            self.now_s += 0.2
            self.logger.taken += round(0.2 * rate)
            readings += self.poll()
        return readings

    def samples(self, quantity):
        alias = self.channels.add("loggers", "span-1", f"{quantity}/waveform")
        return [number for block in self.blocks if block.alias == alias for number in block.samples]

    def of(self, readings, quantity):
        alias = self.channels.aliases()["span-1", quantity]
        return [(value, Reason(reason)) for one, _, value, reason in readings if one == alias]


def test_each_sample_of_a_ring_is_read_once_in_few_requests(profiles):
    polled = Polled(profiles, taken=123_456)
    polled.poll()
    polled.logger.requests.clear()
    polled.run(15)
    samples = polled.samples("acceleration")
    first = samples[0]
    assert first == 123_456.0, "what was there before us is not read"
    assert samples == [first + at for at in range(len(samples))]
    assert polled.samples("strain") == [-number for number in samples]
    assert len(samples) >= 1_100, "the ring was passed once"
    per_poll = len(polled.logger.requests) / 75
    assert per_poll <= 4.2, "counter, two rings, counter"


def test_each_sample_of_a_block_is_read_once(profiles):
    polled = Polled(profiles, "waveform_block", taken=12_300)
    polled.poll()
    polled.run(10)
    samples = polled.samples("acceleration")
    assert samples == pytest.approx([0.001 * (number) for number in range(12_300, 12_300 + len(samples))], rel=1e-6)
    assert len(samples) >= 700
    assert all(count <= 125 for *_, count in polled.logger.requests)


def test_a_block_that_is_replaced_while_it_is_read_is_not_believed(profiles):
    polled = Polled(profiles, "waveform_block", taken=0)
    polled.poll()
    polled.run(5)
    polled.logger.taken_per_request = 60
    polled.run(0.4)
    polled.logger.taken_per_request = 0
    polled.run(6)
    samples = polled.samples("acceleration")
    assert all(round(b / 0.001) - round(a / 0.001) in (1, 101, 201) for a, b in pairwise(samples)), "whole blocks"
    assert polled.device.lost_samples_total in (100, 200)


def test_a_ring_bridges_a_silence_and_what_it_cannot_is_a_gap_that_shows(profiles):
    polled = Polled(profiles, taken=5_000)
    polled.poll()
    polled.run(5)
    polled.now_s, polled.logger.taken = polled.now_s + 6.0, polled.logger.taken + 600
    readings = polled.run(6)
    assert polled.device.lost_samples_total == 0
    assert all(reason is Reason.OK for _, reason in polled.of(readings, "strain_rms"))
    polled.now_s, polled.logger.taken = polled.now_s + 30.0, polled.logger.taken + 3_000
    readings = polled.run(6)
    samples = polled.samples("acceleration")
    gaps = [b - a for a, b in pairwise(samples) if b != a + 1.0]
    assert len(gaps) == 1
    assert polled.device.lost_samples_total == gaps[0] - 1
    reasons = [reason for _, reason in polled.of(readings, "strain_rms")]
    assert reasons.count(Reason.INCOMPLETE) == 2, "the second before the gap and the one behind it"


def test_silence_shows_at_once_and_a_refused_block_when_it_lasts(profiles):
    polled = Polled(profiles, taken=5_000)
    polled.poll()
    polled.run(4)
    polled.logger.refuses = {0: Reason.NO_ANSWER}
    assert {Reason(reason) for *_, reason in polled.run(0.2)} == {Reason.NO_ANSWER}
    polled.logger.refuses = {}
    assert any(value is not None for _, _, value, _ in polled.run(3))
    polled.logger.refuses = dict.fromkeys(range(1000, 5000), Reason.MODBUS_ILLEGAL_ADDRESS)
    assert {Reason(reason) for *_, reason in polled.run(4)} <= {Reason.OK, Reason.INCOMPLETE}
    assert Reason.MODBUS_ILLEGAL_ADDRESS in {Reason(reason) for *_, reason in polled.run(4)}


def test_a_logger_that_stands_still_is_stale(profiles):
    polled = Polled(profiles, taken=5_000)
    polled.poll()
    polled.run(4)
    told = polled.run(7, rate=0)
    assert Reason.STALE in {Reason(reason) for _, _, value, reason in told if value is None}


def test_a_logger_that_is_started_again_is_followed_again(profiles):
    polled = Polled(profiles, taken=500_000)
    polled.poll()
    polled.run(5)
    polled.logger.taken = 10
    polled.run(8)
    samples = polled.samples("acceleration")
    assert samples[-1] == 10 + len([number for number in samples if number < 500_000]) - 1 + 20
    times = [block.first_ns for block in polled.blocks if block.alias == polled.blocks[0].alias]
    assert all(b > a for a, b in pairwise(times))


def test_features_are_channels_with_their_quantities_and_one_reading_a_second(profiles):
    more = "poll_interval_s = 0.2\nwaveform = { cycle_bin_width = { strain = 5.0 }, cycle_bins = 3 }"
    polled = Polled(profiles, taken=0, more=more)
    names = {quantity for _, quantity in polled.line.devices[0].channel_names()}
    assert {"strain", "strain_rms", "strain_peak", "acceleration_maximum", "strain_cycles_03"} <= names
    assert "acceleration_cycles_01" not in names
    polled.poll()
    readings = polled.run(10)
    means = polled.of(readings, "acceleration")
    assert 7 <= len(means) <= 10
    assert [b[0] - a[0] for a, b in pairwise(means[1:])] == pytest.approx([100.0] * (len(means) - 2), abs=1.1)
    assert polled.of(readings, "acceleration_rms")[2][0] == pytest.approx(100 / math.sqrt(12), rel=0.03)
    rules = polled.built.report_rules()
    assert rules[polled.channels.aliases()["span-1", "strain_cycles_01"]].max_silence_s == 60.0


# --- a second -----------------------------------------------------------------------------------------------------


def channel(low=-1e3, high=1e3, bins=0):
    plan = WaveformChannelPlan("n", "strain", 1.0, 0.0, low, high, True, ("mean", "maximum"), float(bins > 0), bins)
    return WaveformChannel(plan, 100.0, 1, range(2, 4 + bins))


PERIOD = Fraction(10 * MS_NS)


def test_a_sample_beyond_the_range_makes_its_second_out_of_range():
    one = channel(high=50.0)
    one.take(0, WALL_NS, PERIOD, array("f", [1.0] * 99 + [51.0] + [1.0] * 150))
    blocks, readings = one.pop()
    assert [block.reason for block in blocks] == [Reason.OUT_OF_RANGE, Reason.OK]
    assert [reason for alias, *_, reason in readings if alias == 3] == [Reason.OUT_OF_RANGE, Reason.OK]


def test_what_is_no_number_is_left_out_and_a_second_without_any_has_no_value():
    one = channel(bins=1)
    one.take(0, WALL_NS, PERIOD, array("f", [1.0, math.nan, 3.0] + [2.0] * 97 + [math.nan] * 100 + [0.0]))
    blocks, readings = one.pop()
    assert readings[0][1:] == (WALL_NS, 2.0, Reason.OK)
    assert readings[3][2:] == (None, Reason.NOT_A_NUMBER)
    assert math.isnan(blocks[0].samples[1]), "the samples are sent as they are"


def test_a_clock_that_was_set_back_gives_no_two_readings_one_time():
    one = channel()
    one.take(0, WALL_NS, PERIOD, array("f", [1.0] * 150))
    one.doubt_clock()
    one.take(150, WALL_NS - 2_000 * MS_NS, PERIOD, array("f", [1.0] * 250))
    _, readings = one.pop()
    times = [time_ns for alias, time_ns, *_ in readings if alias == 2]
    assert len(set(times)) == len(times)
    assert times == sorted(times)
    assert Reason.CLOCK_SUSPECT in {Reason(reason) for *_, reason in readings}


# --- the configuration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "more", "words"),
    [
        ("waveform_ring", "poll_interval_s = 20.0", "the logger writes over its samples after 10 s"),
        ("waveform_block", "poll_interval_s = 1.5", "the logger writes over its samples after 1 s"),
        ("waveform_ring", "waveform = { cycle_bin_width = { tilt = 1.0 } }", "the profile does not sample it"),
        ("waveform_ring", "waveform = { cycle_bin_width = { strain = 0.0 } }", "greater than 0"),
        ("waveform_ring", "waveform = { cycle_bins = 17 }", "less than or equal to 16"),
        ("waveform_ring", "measures = 'strain'", "leave measures out"),
        ("waveform_ring", "channel_index = 3", "leave channel_index out"),
        (
            "waveform_ring",
            "calibration.strain = { kind = 'polynomial', coefficients = [1.0] }",
            "samples take a calibration of kind 'linear'",
        ),
        ("waveform_ring", "report.tilt = { deadband = 1.0 }", "the profile does not measure it"),
        ("honeywell_sensepoint_xrl", "waveform = {}", "has no waveforms"),
    ],
)
def test_what_does_not_fit_a_logger_is_named_before_anything_runs(profiles, profile, more, words):
    with pytest.raises(ConfigurationError, match=words):
        plan_of(profiles, profile, more)


def test_a_plan_is_the_same_for_the_same_configuration(profiles):
    assert plan_of(profiles) == plan_of(profiles)
    assert repr(plan_of(profiles)) == repr(plan_of(profiles))
    assert plan_of(profiles) != plan_of(profiles, more="poll_interval_s = 0.3")


# --- the spool ----------------------------------------------------------------------------------------------------


def block(alias=1, count=100, second=0):
    samples = array("f", [float(number) for number in range(count)])
    return WaveformBlock(alias, WALL_NS + second * SECOND_NS, 100.0, int(Reason.OK), samples)


@pytest.fixture
def channels():
    table = ChannelTable()
    table.add("loggers", "span-1", "strain/waveform")
    table.add("loggers", "span-1", "strain")
    return table


def sealed(buffer):
    batches = buffer.seal()
    buffer.committed(batches)
    return batches


def test_waveforms_have_batches_of_their_own_of_bounded_size():
    buffer = ReadingBuffer(7, 1_000_000)
    buffer.put("loggers", [(2, WALL_NS, 1.0, 0)])
    buffer.put_waveforms("loggers", [block(count=MAX_BATCH_SAMPLES // 2, second=at) for at in range(5)])
    batches = sealed(buffer)
    assert [(len(one.readings), len(one.waveforms)) for one in batches] == [(1, 0), (0, 2), (0, 2), (0, 1)]
    assert [one.batch for one in batches] == [1, 2, 3, 4]
    assert buffer.waiting_samples == 0


def test_while_the_disk_refuses_the_oldest_waveforms_go_and_no_reading_for_them():
    buffer = ReadingBuffer(7, 1_000)
    buffer.put("loggers", [(2, WALL_NS, 1.0, 0)])
    for second in range(30):
        buffer.put_waveforms("loggers", [block(second=second)])
        buffer.seal()
        buffer.failed()
    assert buffer.waiting_samples <= 1_000
    assert buffer.discarded_samples_total == 2_000
    assert buffer.discarded_total == 0
    kept = buffer.seal()
    assert sum(len(one.readings) for one in kept) == 1
    assert [one.waveforms[0].first_ns for one in kept if one.waveforms][-1] == WALL_NS + 29 * SECOND_NS


def test_a_block_comes_back_from_the_disk_and_from_a_file_that_was_set_aside(tmp_path, channels):
    spool = Spool(tmp_path / "spool.sqlite", 1 << 24)
    buffer = ReadingBuffer(7, 1_000_000)
    buffer.put_waveforms("loggers", [block(), block(second=1)])
    spool.commit(sealed(buffer), channels)
    (stored,) = spool.read_batches_after((-1, -1), 10)
    assert stored.readings == []
    assert [(node_id, name) for node_id, name, _ in stored.waveforms] == [("span-1", "strain/waveform")] * 2
    assert stored.waveforms[1][2].samples == block().samples
    spool.close()
    salvage = Salvage(tmp_path / "spool.sqlite")
    other = Spool(tmp_path / "other.sqlite", 1 << 24)
    other.restore(salvage.next_batches())
    assert other.read_batch(7, 1).waveforms == stored.waveforms
    assert other.delete(7, RangeSet([(1, 1)])) == 1
    other.close()


def test_a_full_spool_drops_the_oldest_waveforms_before_it_thins_any_reading(tmp_path, channels):
    spool = Spool(tmp_path / "spool.sqlite", 4 << 20)
    buffer = ReadingBuffer(7, 10_000_000)
    room = RoomMaker(4 << 20, lambda: 1 << 40, {})
    count = 0
    for second in range(800):
        buffer.put("loggers", [(2, WALL_NS + second * SECOND_NS, float(second % 7), 0)])
        buffer.put_waveforms("loggers", [block(count=2_000, second=second)])
        batches = sealed(buffer)
        count += len(batches)
        spool.commit(batches, channels)
        while room.step(spool):
            pass
    tally = spool.tally()
    assert tally.dropped_samples_total > 0
    assert (tally.thinned_readings_total, tally.dropped_readings_total) == (0, 0)
    left = spool.read_batches_after((-1, -1), 10_000)
    assert sum(len(one.readings) for one in left) == 800, "every reading is there"
    blocks = [one for one in left if one.waveforms]
    assert (
        sum(len(each.samples) for one in blocks for *_, each in one.waveforms) + tally.dropped_samples_total
        == 1_600_000
    )
    lost = sum(ranges.count for _, ranges in spool.lost())
    assert lost == min(count - len(left), LOST_RANGES_MAX), "and is told as lost; older ranges when the host asks"
    spool.close()


# --- the session --------------------------------------------------------------------------------------------------


def test_a_birth_names_the_array_and_data_carry_it(channels):
    node = EdgeNode("harbour", "gw-1", 7, None, channels)
    state, effects = step(node, SessionState(), Connected(0), 1)
    born = {metric.name: metric for metric in decode_payload(effects[1].payload).metrics}
    metric = born["span-1/strain/waveform"]
    assert (metric.datatype, metric.value, metric.alias) == (DataType.FLOAT_ARRAY, None, 1)
    assert metric.properties["engUnit"].value == "um/m"
    assert metric.timestamp_ms == 1
    buffer = ReadingBuffer(7, 1_000)
    buffer.put_waveforms("loggers", [block(count=3)])
    (batch,) = sealed(buffer)
    _, (publish,) = step(node, state, BatchReady(batch, True), 2)
    payload = decode_payload(publish.payload, {1: DataType.FLOAT_ARRAY})
    assert [metric.name for metric in payload.metrics[:2]] == ["Uplink/Epoch", "Uplink/Batch"]
    assert payload.metrics[2].value == [0.0, 1.0, 2.0]
    assert payload.metrics[2].datatype is DataType.FLOAT_ARRAY
    assert payload.metrics[2].is_historical


def test_a_block_is_on_the_wire_as_another_encoder_writes_it():
    vector = json.loads((Path(__file__).parents[2] / "golden/waveform/float_array.json").read_text())
    expected = vector["expected"]
    found = WaveformBlock(
        expected["alias"],
        expected["first_ns"],
        expected["sample_rate_hz"],
        Reason[expected["reason"].upper()],
        array("f", expected["samples"]),
    )
    octets = encode_ddata(
        (), now_ms=expected["timestamp_ms"], seq=expected["seq"], epoch=expected["epoch"], batch=expected["batch"],
        is_historical=False, waveforms=[found],
    )  # fmt: skip
    assert octets.hex() == vector["ddata_hex"]
