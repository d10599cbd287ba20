"""What the polls of a logger become: samples get their times, seconds their features. Pure; time is passed in.

It stands where `DeviceWatch` stands for other devices: what went wrong becomes readings by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from contracts.observation import NANOSECONDS_PER_SECOND
from edge_agent.channel_table import Reading
from edge_agent.lines.device_watch import DeviceWatch
from edge_agent.lines.poll_step import Outcome
from edge_agent.waveform.sample_clock import SampleClock
from edge_agent.waveform.waveform_block import KeepBlocks, WaveformBlock
from edge_agent.waveform.waveform_channel import WaveformChannel
from edge_agent.waveform.waveform_device import Chunk, News, WaveformDevice
from edge_agent.waveform.waveform_plan import WaveformDevicePlan, quantities_of


class WaveformWatch:
    """Memory of one logger."""

    def __init__(
        self,
        device: WaveformDevice,
        failures: DeviceWatch,
        clock: SampleClock,
        channels: Sequence[WaveformChannel],
        keep: KeepBlocks,
    ) -> None:
        """Knows nothing yet.

        Args:
            device: what it finds.
            failures: makes readings of what went wrong.
            clock: gives samples their times.
            channels: in the order of the device's.
            keep: takes the blocks that a poll has finished.
        """
        self._device = device
        self._failures = failures
        self._clock = clock
        self._channels = channels
        self._waiting: list[Chunk] = []
        """Samples that came before the clock was settled."""
        self._keep = keep

    def readings(self, outcomes: Sequence[Outcome], wall_ns: int, now_s: float) -> list[Reading]:
        """The readings of a poll: features of the seconds that it ended, and what went wrong; hands its blocks on."""
        news = self._device.take_news()
        readings = [] if news is None else self._take(news, wall_ns, now_s)
        if outcomes:
            readings += self._failures.readings(outcomes, wall_ns, now_s)
        return readings

    def _take(self, news: News, wall_ns: int, now_s: float) -> list[Reading]:
        if news.has_begun_anew:
            self._clock.begin()
            self._waiting.clear()
            for channel in self._channels:
                channel.interrupt()
        elif news.is_fresh:
            asked_ns = wall_ns - round((now_s - news.asked_s) * NANOSECONDS_PER_SECOND)
            if self._clock.look(news.newest, asked_ns, now_s):
                for channel in self._channels:
                    channel.doubt_clock()
        self._waiting += news.chunks
        if not self._clock.is_settled:
            return []
        waiting, self._waiting = self._waiting, []
        for chunk in waiting:
            for channel, samples in zip(self._channels, chunk.samples, strict=True):
                channel.take(chunk.first, self._clock.time_ns(0), self._clock.period_ns, samples)
        return self._collect()

    def _collect(self) -> list[Reading]:
        blocks: list[WaveformBlock] = []
        readings: list[Reading] = []
        for channel in self._channels:
            of_channel, ended = channel.pop()
            blocks += of_channel
            readings += ended
        if blocks:
            self._keep(blocks)
        return readings


def build_waveform_watch(
    plan: WaveformDevicePlan, device: WaveformDevice, failures: DeviceWatch, keep: KeepBlocks
) -> WaveformWatch:
    """The watch of a device that was built of the same plan."""
    aliases = iter(device.aliases)
    channels = [
        WaveformChannel(one, plan.sample_rate_hz, alias, [*islice(aliases, len(quantities_of(one)))])
        for one, alias in zip(plan.waveforms, device.block_aliases, strict=True)
    ]
    return WaveformWatch(device, failures, SampleClock(plan.sample_rate_hz), channels, keep)
