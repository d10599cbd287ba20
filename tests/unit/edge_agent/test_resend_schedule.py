"""Which batches go out again, on a fake clock."""

from contracts.ranges import RangeSet
from edge_agent.resend_schedule import BACKLOG_WATCHED_MAX, BEFORE_ALL, WATCHED_MAX, ResendSchedule


def schedule(rate: float = 10.0) -> ResendSchedule:
    made = ResendSchedule(resend_after_s=10.0, backlog_batches_per_s=rate)
    made.take_due(-100.0)
    made.walked([], 1)
    return made


def test_an_acknowledged_batch_is_never_sent_again():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.sent((1, 2), 0.0, is_live=True)
    made.acknowledge(1, RangeSet([(1, 1)]))
    assert made.take_due(10.0) == [(1, 2)]


def test_an_acknowledgement_of_another_epoch_changes_nothing():
    made = schedule()
    made.sent((1, 1), 0.0, is_live=True)
    made.acknowledge(2, RangeSet([(1, 1)]))
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
    made = ResendSchedule(10.0, 10.0)
    assert made.backlog_after == BEFORE_ALL
    made.take_due(0.0)
    made.take_due(1.0)
    count = made.backlog_count()
    assert count == 10
    made.walked([(1, number) for number in range(count)], count)
    assert made.backlog_after == (1, 9)
    assert made.backlog_count() == 0
    made.take_due(2.0)
    made.walked([(1, 10)], made.backlog_count())
    assert made.backlog_after is None
    made.restart()
    assert made.backlog_after == BEFORE_ALL


def test_a_host_that_acknowledges_nothing_gets_a_window_of_the_backlog_only():
    made = ResendSchedule(1e6, 1e6)
    made.take_due(0.0)
    made.take_due(1.0)
    count = made.backlog_count()
    assert count == BACKLOG_WATCHED_MAX
    for number in range(count):
        made.sent((1, number), 1.0, is_live=False)
    made.walked([(1, number) for number in range(count)], count)
    made.take_due(2.0)
    assert made.backlog_count() == 0
    made.acknowledge(1, RangeSet([(0, 4)]))
    assert made.backlog_count() == 5


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
