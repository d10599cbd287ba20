"""One logger with waveforms: asks for its counter, then for the samples that are new. Pure.

    counter → the samples since the last poll that are still in the ring, all channels → counter again

The second look tells what the logger has written over while it was read: those samples are given up, and are lost as
are those that were gone before. A request that fails ends the poll; what it would have brought is asked for in the next
one, if the ring still has it. Samples are numbered (sample_counter), so that nothing is ever read twice or told without
its gap.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

from contracts.quality import Reason
from edge_agent.lines.poll_step import SILENCES, Answer, ModbusRequest, Outcome, Poll, Request
from edge_agent.modbus import register_field
from edge_agent.waveform.sample_counter import SampleCounter
from edge_agent.waveform.sample_ring import build_decoder, plan_stretches, registers_of, words_of
from edge_agent.waveform.waveform_plan import WaveformDevicePlan

REQUESTS_PER_POLL: Final = 16
"""After a silence a deep ring holds much: other devices of the line must have their turn in between."""


class Chunk(NamedTuple):
    """Samples that follow each other, of all channels of a logger."""

    first: int
    """Number of the first sample."""
    samples: tuple[array[float], ...]
    """By channel: binary32, in the channel's unit; all equally long."""


class News(NamedTuple):
    """What a poll has found."""

    newest: int
    """Number of the newest sample that the logger had when it was asked."""
    asked_s: float
    """When that was (monotonic clock)."""
    has_begun_anew: bool
    """Numbers before say nothing about times any more."""
    is_fresh: bool
    """There are samples that were not there at the poll before."""
    chunks: tuple[Chunk, ...]


class WaveformDevice:
    """A logger that is polled."""

    def __init__(self, plan: WaveformDevicePlan, aliases: Sequence[int], block_aliases: Sequence[int]) -> None:
        """Asks for nothing yet.

        Args:
            plan: where its samples are.
            aliases: of the readings, in the order of `plan.channel_names()`.
            block_aliases: of the waveforms.
        """
        self.aliases = tuple(aliases)
        self.block_aliases = tuple(block_aliases)
        counter = plan.counter
        self._plan = plan
        self._decode_count = register_field.build_decoder(counter.field)
        self._counter = SampleCounter(
            counter.modulus, counter.samples_per_count, plan.sample_rate_hz, plan.ring_samples
        )
        self._ask_counter = ModbusRequest(
            plan.device_id, counter.field.function_code, counter.field.address, counter.field.word_count
        )
        is_one_block = plan.ring_samples == counter.samples_per_count
        self._readable = plan.ring_samples - (0 if is_one_block else counter.samples_per_count)
        """Samples that are surely whole: the oldest unit of a ring is being written over before it is counted."""
        self._decoders = [
            [(one.channel_at, build_decoder(one, area.registers_per_sample)) for one in area.fields]
            for area in plan.areas
        ]
        self._next = 0
        """The first sample that was not read."""
        self._fresh_s = -math.inf
        self._news: News | None = None
        self.lost_samples_total = 0

    def take_news(self) -> News | None:
        """What the last poll has found; once."""
        news, self._news = self._news, None
        return news

    def poll(self, now_s: float) -> Poll:
        """Reads what is new. Outcomes are only of what went wrong: samples are in `take_news`."""
        answer = yield self._ask_counter
        if isinstance(answer, Reason):
            return self._fail(answer, now_s)
        before = self._counter.written
        has_begun_anew = not self._count(answer, now_s)
        if has_begun_anew:
            self._next = self._counter.written
            self._fresh_s = now_s
        newest = self._counter.written - 1
        is_fresh = self._counter.written > before
        failure, chunks = yield from self._read_new(now_s)
        self._news = News(newest, now_s, has_begun_anew, is_fresh, tuple(chunks))
        if is_fresh and failure is None:
            self._fresh_s = now_s
        return self._fail(Reason.STALE if failure is None else failure, now_s)

    def _count(self, answer: Answer, now_s: float) -> bool:
        assert not isinstance(answer, Reason)
        return self._counter.take(int(self._decode_count(words_of(answer), 0)), now_s)

    def _read_new(self, now_s: float) -> Generator[Request, Answer, tuple[Reason | None, list[Chunk]]]:
        """The samples that are there and were not read, as far as requests and answers go."""
        oldest = max(self._next, self._counter.written - self._readable)
        wanted = self._within_requests(range(oldest, self._counter.written))
        if not wanted:
            return None, []
        parts: list[list[array[float]]] = [[] for _ in self._plan.waveforms]
        for area, decoders in zip(self._plan.areas, self._decoders, strict=True):
            plan = self._plan
            for stretch in plan_stretches(
                area, plan.device_id, plan.ring_samples, plan.max_registers, self._counter.phase, wanted
            ):
                answer = yield stretch.request
                if isinstance(answer, Reason):
                    return answer, []
                registers = registers_of(answer)
                for channel_at, decode in decoders:
                    parts[channel_at].append(self._scaled(channel_at, decode(registers)))
        answer = yield self._ask_counter
        if isinstance(answer, Reason):
            return answer, []
        if not self._count(answer, now_s):
            return None, []  # started again while it was read: which samples these were, nobody knows
        return None, self._whole_of(wanted, parts)

    def _within_requests(self, wanted: range) -> range:
        """As many samples as the requests of one poll may ask for."""
        registers = REQUESTS_PER_POLL * self._plan.max_registers
        width = sum(area.registers_per_sample for area in self._plan.areas)
        return wanted[: max(1, registers // width)]

    def _scaled(self, channel_at: int, numbers: Sequence[float]) -> array[float]:
        channel = self._plan.waveforms[channel_at]
        scale, offset = channel.scale, channel.offset
        if scale == 1.0 and offset == 0.0:
            return array("f", numbers)
        return array("f", [scale * number + offset for number in numbers])

    def _whole_of(self, wanted: range, parts: list[list[array[float]]]) -> list[Chunk]:
        """What was not written over meanwhile."""
        first = max(wanted.start, self._counter.written - self._readable)
        self.lost_samples_total += min(first, wanted.stop) - self._next
        self._next = wanted.stop
        if first >= wanted.stop:
            return []
        samples = tuple(_joined(of_channel)[first - wanted.start :] for of_channel in parts)
        return [Chunk(first, samples)]

    def _fail(self, reason: Reason, now_s: float) -> list[Outcome]:
        """Silence shows at once; what may be made good from the ring shows when it lasts."""
        if reason not in SILENCES and now_s - self._fresh_s <= self._plan.stale_after_s:
            return []
        return [(alias, None, reason) for alias in self.aliases]


def _joined(parts: Sequence[array[float]]) -> array[float]:
    whole = array("f")
    for part in parts:
        whole += part
    return whole
