"""Waveforms on the Sparkplug wire: one array metric a block of evenly spaced samples, and the features of each second.

A *block* is the samples of one channel that follow each other without a gap, at most one whole second of sample time
(from a whole second since 1970 on). On the wire it is a metric `<node_id>/<quantity>/waveform` with

    datatype    FloatArray (Sparkplug 3.0, section 6.4.17): IEEE 754 binary32, little-endian, in bytes_value
    timestamp   of the first sample, in milliseconds
    properties  SampleRate       Double, Hz: samples a second
                FirstSampleTime  Int64, nanoseconds since 1970, UTC: the same time without rounding
                Quality, Reason  as of any metric, when not good

Sample k was taken at FirstSampleTime + k / SampleRate. It belongs to the registry's channel (node_id, quantity): that
channel has the mean of each second as its ordinary observation, and the other features are channels beside it
(contracts.quantity):

    quantity               mean   x̄ = Σx / n                        of the n samples of the second
    quantity_rms           σ = √(Σ(x - x̄)² / n)                     of the mean-free signal
    quantity_peak          max |x - x̄|
    quantity_peak_to_peak  max x - min x
    quantity_minimum, quantity_maximum
    quantity_cycles_01 …   rainflow cycles closed since the agent's start, by range (ASTM E1049-85, 5.4.4)

rms is that of the vibration, without the static part: gravity in an accelerometer, dead load in a strain gauge would
hide all else. With the mean beside it nothing is lost: the rms of the raw signal is √(x̄² + σ²), the mean-free one of N
seconds √(mean(σ²) + variance of x̄).
"""

from __future__ import annotations

from typing import Final

from contracts.identifiers import format_metric_name, parse_metric_name

SUFFIX: Final = "/waveform"
SAMPLE_RATE: Final = "SampleRate"
"""Property, Double, Hz."""
FIRST_SAMPLE_TIME: Final = "FirstSampleTime"
"""Property, Int64, nanoseconds since 1970, UTC."""
SAMPLE_RATE_MIN_HZ: Final = 0.1
SAMPLE_RATE_MAX_HZ: Final = 100_000.0
BLOCK_SAMPLES_MAX: Final = 100_000
"""More samples in one metric are refused."""


def format_waveform_name(node_id: str, quantity: str) -> str:
    """The metric name of a waveform: `<node_id>/<quantity>/waveform`."""
    return format_metric_name(node_id, quantity) + SUFFIX


def channel_metric_name(metric_name: str) -> str:
    """The metric name of the channel that a metric speaks of: a waveform's is that of its quantity."""
    return metric_name.removesuffix(SUFFIX)


def parse_waveform_name(metric_name: str) -> tuple[str, str] | None:
    """`(node_id, quantity)` of a waveform's metric name, or None if it is none."""
    return parse_metric_name(metric_name.removesuffix(SUFFIX)) if metric_name.endswith(SUFFIX) else None
