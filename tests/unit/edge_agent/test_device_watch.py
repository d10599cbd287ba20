"""What of a poll becomes a reading, on a fake clock."""

from contracts.quality import Reason
from edge_agent.lines.device_watch import DeviceWatch, PhenomenonClock, is_silent

MS = 1_000_000
SILENT = [(1, None, Reason.NO_ANSWER)]
GOOD = [(1, 2.5, Reason.OK)]


def watch() -> DeviceWatch:
    return DeviceWatch({1: 10.0, 2: 10.0})


def test_times_are_whole_milliseconds_and_strictly_increase_even_if_the_clock_stands():
    clock = PhenomenonClock()
    assert clock.stamp(5 * MS + 999_999) == (5 * MS, False)
    assert clock.stamp(5 * MS + 999_999) == (6 * MS, False)
    assert clock.stamp(9 * MS) == (9 * MS, False)


def test_a_clock_that_was_stepped_back_marks_what_is_read_until_it_has_caught_up():
    keeper = watch()
    start_ns = 1_000_000 * MS
    assert keeper.readings(GOOD, start_ns, 0.0) == [(1, start_ns, 2.5, Reason.OK)]
    assert keeper.readings(GOOD, start_ns - 2_000 * MS, 1.0) == [(1, start_ns + MS, 2.5, Reason.CLOCK_SUSPECT)]
    assert keeper.readings(GOOD, start_ns + 10 * MS, 2.0) == [(1, start_ns + 10 * MS, 2.5, Reason.OK)]


def test_a_dead_channel_says_so_at_once_and_then_once_per_repeat_time():
    keeper = watch()
    said = [now_s for now_s in range(35) if keeper.readings(SILENT, now_s * 1000 * MS, float(now_s))]
    assert said == [0, 10, 20, 30]


def test_another_reason_is_news_and_so_is_the_same_one_after_a_recovery():
    keeper = watch()
    assert keeper.readings(SILENT, 1 * MS, 0.0)
    assert keeper.readings([(1, None, Reason.CRC_ERROR)], 2 * MS, 0.1)
    assert keeper.readings(GOOD, 3 * MS, 0.2)
    assert keeper.readings([(1, None, Reason.CRC_ERROR)], 4 * MS, 0.3)
    assert not keeper.readings([(1, None, Reason.CRC_ERROR)], 5 * MS, 0.4)


def test_a_value_with_a_bad_reason_is_kept_every_time():
    keeper = watch()
    for now_s in range(5):
        assert keeper.readings([(1, 120.0, Reason.OUT_OF_RANGE)], now_s * 1000 * MS, float(now_s))


def test_only_a_poll_without_any_answer_is_silent():
    assert is_silent(SILENT)
    assert is_silent([(1, None, Reason.MODBUS_GATEWAY_UNAVAILABLE)]), "the gateway speaks, the device does not"
    assert not is_silent([(1, None, Reason.NO_ANSWER), (2, 1.0, Reason.OK)])
    assert not is_silent([(1, None, Reason.CRC_ERROR)])
