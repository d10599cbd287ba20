"""Report by exception: what is held back, and what never is."""

import pytest

from contracts.quality import Reason
from edge_agent.lines.report_filter import ReportedSink, ReportRule

OK = Reason.OK
SECOND = 1_000_000_000


class Sent:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.readings = []
        self.lines = []

    def put(self, bus_id, readings):
        assert readings, "no empty batches"
        self.readings += readings

    def line_changed(self, bus_id, is_up):
        self.lines.append((bus_id, is_up))


def reported(values, deadband: float, max_silence_s: float = 60.0) -> list[int]:
    """Seconds of the values that were sent; one value a second."""
    sent = Sent()
    sink = ReportedSink(sent, {1: ReportRule(deadband, max_silence_s)})
    for second, (value, reason) in enumerate(values):
        sink.put("b", [(1, second * SECOND, value, int(reason))])
    return [reading[1] // SECOND for reading in sent.readings]


def test_only_a_change_beyond_the_deadband_from_the_last_reported_value_is_news():
    values = [(20.0, OK), (20.4, OK), (20.5, OK), (20.6, OK), (20.2, OK), (20.0, OK)]
    assert reported(values, 0.5) == [0, 3, 5], "a slow drift is seen too"


def test_after_the_maximum_silence_an_unchanged_value_is_reported():
    assert reported([(1.0, OK)] * 25, 0.5, max_silence_s=10.0) == [0, 10, 20]


@pytest.mark.parametrize("bad", [(20.0, Reason.WARM_UP), (None, Reason.NO_ANSWER), (20.0, Reason.CLOCK_SUSPECT)])
def test_a_change_of_quality_is_news_both_ways_and_a_bad_value_always_is(bad):
    assert reported([(20.0, OK), bad, bad, (20.0, OK), (20.0, OK)], 5.0) == [0, 1, 2, 3]


def test_a_deadband_of_nothing_reports_every_change():
    assert reported([(1.0, OK), (1.0, OK), (1.1, OK)], 0.0) == [0, 2]


def test_a_channel_without_a_rule_and_a_line_that_changes_are_always_reported():
    sent = Sent()
    sink = ReportedSink(sent, {1: ReportRule(5.0, 60.0)})
    for second in range(3):
        sink.put("b", [(1, second * SECOND, 7.0, 0), (2, second * SECOND, 7.0, 0)])
    sink.line_changed("b", False)
    assert [reading[0] for reading in sent.readings] == [1, 2, 2, 2]
    assert sent.lines == [("b", False)]
