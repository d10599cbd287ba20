"""Which batches go out again, on a fake clock."""

from contracts.ranges import RangeSet
from edge_agent.uplink.resend_schedule import (
    ACK_DELAY_S,
    AFTER_ALL,
    BACKLOG_WATCHED_MAX,
    BEFORE_ALL,
    WATCHED_MAX,
    WINDOW_FIRST,
    WINDOW_LEAST,
    AckWindow,
    ResendSchedule,
)


def schedule(rate: float = 10.0) -> ResendSchedule:
    made = ResendSchedule(resend_after_s=10.0, backlog_batches_per_s=rate)
    made.take_due(-100.0)
    made.walked_urgent([], 1)
    made.walked([], 1)
    return made


def test_an_acknowledged_batch_is_never_sent_again():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.sent((1, 2), 0.0, is_live=True)
    made.acknowledge(1, RangeSet([(1, 1)]), 1.0)
    assert made.take_due(10.0) == [(1, 2)]


def test_an_acknowledgement_of_another_epoch_changes_nothing():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.acknowledge(2, RangeSet([(1, 1)]), 1.0)
    assert made.take_due(10.0) == [(1, 1)]


def test_patience_doubles_up_to_its_limit():
    made = schedule()
    now_s, waits = 0.0, []
    made.sent((1, 1), now_s, is_live=True)
    for _ in range(6):
        began_s = now_s
        while (1, 1) not in made.take_due(now_s):
            now_s += 1.0
        waits.append(now_s - began_s)
        made.sent((1, 1), now_s, is_live=False)
    assert waits == [10.0, 20.0, 40.0, 80.0, 100.0, 100.0]


def test_what_the_host_asks_for_goes_before_what_timed_out():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.ask([(1, 7), (1, 8)])
    assert made.take_due(50.0) == [(1, 7), (1, 8), (1, 1)]


def test_no_more_than_the_rate_goes_out():
    made = schedule(rate=2.0)
    made.ask([(1, number) for number in range(50)])
    sent = 0
    for tick in range(101):
        due = made.take_due(tick * 0.1)
        for key in due:
            made.sent(key, tick * 0.1, is_live=False)
        sent += len(due)
    assert 19 <= sent <= 23, "10 s at 2 batches a second, and at most one second's worth at the beginning"


def test_the_backlog_is_walked_from_the_oldest_to_its_end_once_per_session():
    made = ResendSchedule(10.0, 8.0)
    assert made.backlog_after == BEFORE_ALL
    made.walked_urgent([], 1)
    made.take_due(0.0)
    made.take_due(0.5)
    count = made.backlog_count()
    assert count == 4
    made.walked([(1, number) for number in range(count)], count)
    assert made.backlog_after == (1, 3)
    assert made.backlog_count() == 0
    made.take_due(2.0)
    made.walked([(1, 10)], made.backlog_count())
    assert made.backlog_after is None
    made.restart()
    assert made.backlog_after == BEFORE_ALL


def test_what_is_on_its_way_unacknowledged_is_bounded_by_a_window():
    made = ResendSchedule(1e6, 1e6)
    made.take_due(0.0)
    made.take_due(1.0)
    count = made.backlog_count()
    assert count == WINDOW_FIRST
    for number in range(count):
        made.sent((1, number), 1.0, is_live=False)
    made.walked([(1, number) for number in range(count)], count)
    made.take_due(1.05)
    assert made.backlog_count() == 0
    made.acknowledge(1, RangeSet([(0, 2)]), 1.1)
    assert made.backlog_count() == 6, "three are through, and the window has grown by three"


def test_a_host_that_acknowledges_nothing_gets_the_backlog_slowly_and_never_more_than_a_bound():
    made = ResendSchedule(1e6, 1e6)
    made.take_due(0.0)
    number = 0
    for second in range(1, 101):
        made.take_due(float(second))
        count = made.backlog_count()
        for _ in range(count):
            number += 1
            made.sent((1, number), float(second), is_live=False)
        assert count <= WINDOW_FIRST
    assert number == BACKLOG_WATCHED_MAX


def test_the_urgent_backlog_is_walked_from_the_newest_back_before_the_rest():
    made = ResendSchedule(10.0, 10.0)
    made.take_due(0.0)
    made.take_due(0.5)
    assert made.urgent_before == AFTER_ALL
    made.walked_urgent([(9, 5), (9, 2)], 2)
    assert made.urgent_before == (9, 2)
    assert made.backlog_count() == 3, "what is urgent takes from the same rate"
    made.walked_urgent([], 2)
    assert made.urgent_before is None
    assert made.backlog_count() == 3
    assert made.backlog_after == BEFORE_ALL
    made.restart()
    assert made.urgent_before == AFTER_ALL


def test_the_backlog_takes_its_share_of_the_line_and_no_more():
    made = ResendSchedule(1e6, 1e6, backlog_bytes_per_s=10_000.0)
    sent, number = 0, 0
    for tick in range(101):
        now_s = tick * 0.1
        made.take_due(now_s)
        count = made.backlog_count()
        keys = [(1, number + at) for at in range(count)]
        for key in keys:
            made.sent(key, now_s, is_live=False, size_bytes=500)
            made.acknowledge(1, RangeSet([(key[1], key[1])]), now_s + 0.01)
        if count:
            made.walked(keys, count)
        sent, number = sent + 500 * count, number + count
    assert 90_000 <= sent <= 110_000, "10 s at 10 kB/s"


def test_live_batches_are_no_part_of_the_backlogs_share():
    made = ResendSchedule(1e6, 10.0, backlog_bytes_per_s=1_000.0)
    made.take_due(0.0)
    made.take_due(1.0)
    before = made.backlog_count()
    made.sent((1, 1), 1.0, is_live=True, size_bytes=10**9)
    assert made.backlog_count() == before > 0


def test_the_window_grows_while_acknowledgements_are_quick_and_shrinks_once_for_each_turn_when_they_slow():
    window = AckWindow()
    for _ in range(1000):
        window.acknowledged(0.2, 1.0)
    assert window.size == BACKLOG_WATCHED_MAX
    for _ in range(50):
        window.acknowledged(0.2 + ACK_DELAY_S + 0.3, 10.0)
    assert window.size == BACKLOG_WATCHED_MAX * 0.5
    for _ in range(100):
        window.acknowledged(0.2, 11.0)
    assert window.size < BACKLOG_WATCHED_MAX * 0.5 + 1.1, "by one a turn from then on"
    for turn in range(100):
        window.acknowledged(5.0, 20.0 + 6.0 * turn)
    assert window.size == WINDOW_LEAST


def test_a_host_that_is_always_slow_is_no_reason_to_send_less():
    window = AckWindow()
    for turn in range(300):
        window.acknowledged(3.0, 3.0 * turn)
    assert window.size == BACKLOG_WATCHED_MAX


def test_memory_is_bounded_and_what_is_forgotten_is_backlog_again():
    made = schedule()
    for number in range(WATCHED_MAX + 5):
        made.sent((1, number), 0.0, is_live=True)
    assert made.watched_count == WATCHED_MAX
    assert made.backlog_after == (1, -1), "the walk begins before batch 0, the oldest forgotten one"


def test_a_batch_that_is_gone_from_the_spool_is_forgotten():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.ask([(1, 2)])
    made.gone((1, 1))
    made.gone((1, 2))
    assert made.take_due(1e6) == []


def test_a_batch_that_could_not_be_sent_live_is_backlog():
    made = schedule()
    assert made.backlog_after is None
    made.unsent((4, 20))
    made.unsent((4, 21))
    assert made.backlog_after == (4, 19)


def test_a_batch_that_reached_the_disk_late_is_walked_again_unless_it_is_on_its_way():
    made = schedule()
    assert made.backlog_after is None
    made.sent((4, 20), 0.0, is_live=True)
    made.committed_late([(4, 20)])
    assert made.backlog_after is None
    made.committed_late([(4, 20), (4, 21)])
    assert made.backlog_after == (4, 20)
