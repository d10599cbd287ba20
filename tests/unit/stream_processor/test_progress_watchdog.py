"""The progress watchdog: behind without a commit for longer than the limit is wedged; nothing else is."""

from __future__ import annotations

from stream_processor.distributed.progress_watchdog import PartitionProgress, ProgressWatchdog

LIMIT_S = 60.0


def behind(committed):
    return PartitionProgress(committed, 100)


def test_a_partition_that_is_behind_and_commits_nothing_is_named_when_the_limit_is_reached():
    watchdog = ProgressWatchdog(LIMIT_S)
    seen = [watchdog.observe(now_s, {3: behind(10), 4: behind(int(now_s))}) for now_s in (0.0, 30.0, 59.9, 60.0)]
    assert seen == [[], [], [], [3]]


def test_each_commit_begins_the_time_anew():
    watchdog = ProgressWatchdog(LIMIT_S)
    assert not any(watchdog.observe(50.0 * step, {0: behind(step)}) for step in range(10))


def test_a_group_that_has_never_committed_is_judged_too():
    watchdog = ProgressWatchdog(LIMIT_S)
    watchdog.observe(0.0, {0: behind(None)})
    assert watchdog.observe(60.0, {0: behind(None)}) == [0]


def test_an_empty_partition_is_not_behind():
    watchdog = ProgressWatchdog(LIMIT_S)
    for now_s in (0.0, 100.0, 200.0):
        assert watchdog.observe(now_s, {0: PartitionProgress(None, 0), 1: PartitionProgress(100, 100)}) == []


def test_a_worker_that_is_forgiven_gets_the_whole_time_again():
    watchdog = ProgressWatchdog(LIMIT_S)
    watchdog.observe(0.0, {0: behind(10)})
    watchdog.forgive()
    assert watchdog.observe(60.0, {0: behind(10)}) == []
    assert watchdog.observe(119.0, {0: behind(10)}) == []
    assert watchdog.observe(120.0, {0: behind(10)}) == [0]


def test_a_partition_that_comes_back_after_a_rebalance_gets_the_whole_time_again():
    watchdog = ProgressWatchdog(LIMIT_S)
    watchdog.observe(0.0, {0: behind(10)})
    watchdog.observe(30.0, {})
    assert watchdog.observe(61.0, {0: behind(10)}) == []


def test_one_that_was_caught_up_meanwhile_gets_the_whole_time_again():
    watchdog = ProgressWatchdog(LIMIT_S)
    watchdog.observe(0.0, {0: behind(10)})
    watchdog.observe(30.0, {0: PartitionProgress(10, 10)})
    assert watchdog.observe(61.0, {0: behind(10)}) == []
