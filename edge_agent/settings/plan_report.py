"""Report by exception: a node's settings → the rule of a channel, in the quantity's unit. Pure."""

from __future__ import annotations

from edge_agent.lines.report_filter import ReportRule
from edge_agent.settings.configuration import ReportSettings


def plan_report(settings: ReportSettings, channel_range: tuple[float, float] | None) -> ReportRule:
    """The rule, with a percentage turned into the unit by the width of what the instrument can measure."""
    if settings.deadband is not None:
        return ReportRule(settings.deadband, settings.max_silence_s)
    low, high = channel_range or (0.0, 0.0)  # a percentage without a range is a fault of the configuration
    return ReportRule((settings.deadband_percent or 0.0) * (high - low) / 100.0, settings.max_silence_s)
