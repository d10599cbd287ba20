"""The process that refits forests beside a job: the real one, and ones that fail."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

from stream_processor.detectors.group_contract import Frames
from stream_processor.detectors.group_forest import RING_SPACING_NS, GroupForest
from stream_processor.detectors.isolation_fit import fit_forest
from stream_processor.detectors.isolation_forest import RefitOrder
from stream_processor.refit_forest import ForestRefitter, RefitFailure
from tests.process_tree import children_of

WITHIN_S = 60.0
WIDTH = 4


def forest_of(assets=1, frames=140):
    """A detector whose assets are due."""
    forest = GroupForest(WIDTH)
    forest.grow(assets)
    random = np.random.default_rng(assets)
    for at in range(frames):
        values = random.normal(20.0, 1.0, (assets, WIDTH))
        times_ns = np.full(assets, at * RING_SPACING_NS)
        forest.learn(Frames(np.arange(assets), times_ns, values, np.full(values.shape, 0.1)))
    return forest


class OneOrder:
    """Gives one order, whatever is in it, and notes what came of it."""

    def __init__(self, samples):
        self.orders = [RefitOrder(3, 1, 7, samples)]
        self.answers = []

    def due_refits(self, limit):
        given, self.orders = self.orders[:limit], self.orders[limit:]
        return given

    def take_fitted(self, fitted):
        self.answers.append(fitted)

    def take_failure(self, row, serial):
        self.answers.append((row, serial))


def step_until(refitter, forests, is_done):
    """The failures, and the longest that a step took of this thread."""
    failures, longest_s, until_s = [], 0.0, time.monotonic() + WITHIN_S
    while not is_done():
        assert time.monotonic() < until_s, f"nothing after {WITHIN_S} s; failures: {failures}"
        before_s = time.thread_time()
        failures += refitter.step(forests)
        longest_s = max(longest_s, time.thread_time() - before_s)
        time.sleep(0.02)
    return failures, longest_s


def score_of(forest, asset):
    values = np.full((1, WIDTH), 20.0)
    return forest.score(Frames(np.array([asset]), np.array([0]), values, np.full(values.shape, 0.1)))[0]


@pytest.fixture
def start():
    started = []

    def make(*command, timeout_s=WITHIN_S):
        started.append(ForestRefitter(command, timeout_s) if command else ForestRefitter(timeout_s=timeout_s))
        return started[-1]

    yield make
    for each in started:
        each.close()


def test_all_assets_that_are_due_are_fitted_as_on_the_spot_and_no_step_waits(start):
    forests = [forest_of(assets=2), forest_of()]
    failures, longest_s = step_until(
        start(),
        forests,
        lambda: not np.isnan([score_of(forests[at], asset) for at, asset in ((0, 0), (0, 1), (1, 0))]).any(),
    )
    assert failures == []
    assert longest_s < 0.2
    here = forest_of(assets=2)
    for order in here.due_refits():
        here.take_fitted(fit_forest(order))
    assert here.snapshot() == forests[0].snapshot()


def test_no_more_is_ordered_than_can_wait(start):
    forest = forest_of(assets=9)
    start(sys.executable, "-c", "import time; time.sleep(50)").step([forest])
    assert len(forest.due_refits()) == 9 - 4


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit('out of memory')", "ended with 1: out of memory"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("print('no forest')", "no state of detector fitted_forest"),
        ("import time; time.sleep(50)", "timed out"),
    ],
)
def test_a_refit_that_fails_is_told_once_with_its_asset_and_the_next_one_runs(start, program, told):
    refitter = start(sys.executable, "-c", program, timeout_s=WITHIN_S if "sleep" not in program else 0.5)
    forest = forest_of(assets=2)
    found = []
    until_s = time.monotonic() + WITHIN_S
    while len(found) < 2:
        assert time.monotonic() < until_s
        found += refitter.step([forest])
        time.sleep(0.02)
    assert all(isinstance(each, RefitFailure) for each in found)
    assert [each.text.partition(":")[0] for each in found] == ["forest 1 of asset 0", "forest 1 of asset 1"]
    assert told in found[0].text
    assert forest.due_refits() == []  # the next is ordered when it would have been anyway


def test_a_program_that_is_not_there_is_told(start):
    asked = OneOrder(np.zeros((200, WIDTH), dtype=np.float32))
    (failure,), _ = step_until(start("/no/such/python"), [asked], lambda: asked.answers)
    assert "/no/such/python" in failure.text
    assert asked.answers == [(3, 1)]


def test_an_order_that_makes_no_forest_is_told_with_the_reason(start):
    asked = OneOrder(np.zeros((1, WIDTH), dtype=np.float32))
    (failure,), _ = step_until(start(), [asked], lambda: asked.answers)
    assert "1 frames of asset 3 make no forest" in failure.text


def test_a_refitter_that_is_closed_leaves_no_process_and_does_not_wait_for_one():
    before = children_of(os.getpid())
    refitter = ForestRefitter((sys.executable, "-c", "import time; time.sleep(50)"))
    refitter.step([forest_of(assets=2)])
    until_s = time.monotonic() + WITHIN_S
    while not children_of(os.getpid()) - before:
        assert time.monotonic() < until_s, "no refit was begun"
        time.sleep(0.02)
    begun_s = time.monotonic()
    refitter.close()
    assert time.monotonic() - begun_s < 10.0
    assert children_of(os.getpid()) - before == set()


def test_a_refitter_that_is_closed_before_its_thread_has_begun_starts_no_process():
    before = children_of(os.getpid())
    refitter = ForestRefitter()
    refitter.step([forest_of(assets=2)])
    refitter.close()
    assert children_of(os.getpid()) - before == set()
