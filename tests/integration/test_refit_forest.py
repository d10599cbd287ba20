"""The process that refits forests beside a job: the real one, and ones that fail."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from stream_processor.detectors.isolation_fit import fit_forest
from stream_processor.detectors.isolation_forest import FittedForest, RefitOrder
from stream_processor.refit_forest import ForestRefitter, RefitFailure

WITHIN_S = 60.0


def order_of(row, count=200):
    samples = np.random.default_rng(row).normal(size=(count, 4)).astype(np.float32)
    return RefitOrder(row, 1, 7, samples)


def answers(refitter, orders, wanted):
    """What came back, and the longest that a step took."""
    found, longest_s, until_s = [], 0.0, time.monotonic() + WITHIN_S
    while len(found) < wanted:
        assert time.monotonic() < until_s, f"{len(found)} of {wanted} answers after {WITHIN_S} s"
        before_s = time.thread_time()
        found += refitter.step(orders)
        longest_s = max(longest_s, time.thread_time() - before_s)
        orders = []
        time.sleep(0.02)
    return found, longest_s


@pytest.fixture
def start():
    started = []

    def make(*command, timeout_s=WITHIN_S):
        started.append(ForestRefitter(command, timeout_s) if command else ForestRefitter(timeout_s=timeout_s))
        return started[-1]

    yield make
    for each in started:
        each.close()


def test_forests_come_back_one_after_another_as_if_fitted_on_the_spot_and_a_step_does_not_wait(start):
    found, longest_s = answers(start(), [order_of(0), order_of(5)], 2)
    assert [each.row for each in found] == [0, 5]
    assert longest_s < 0.2
    for each in found:
        assert isinstance(each, FittedForest)
        here = fit_forest(order_of(each.row))
        np.testing.assert_array_equal(each.quantiles, here.quantiles)
        for one, other in zip(each.forests, here.forests, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit('out of memory')", "ended with 1: out of memory"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("print('no forest')", "no state of detector fitted_forest"),
        ("import time; time.sleep(50)", "timed out"),
    ],
)
def test_a_refit_that_fails_is_told_with_its_asset_and_the_next_one_runs(start, program, told):
    refitter = start(sys.executable, "-c", program, timeout_s=WITHIN_S if "sleep" not in program else 0.5)
    found, _ = answers(refitter, [order_of(3), order_of(4)], 2)
    assert all(isinstance(each, RefitFailure) for each in found)
    assert found[0].text.startswith("forest 1 of asset 3: ")
    assert told in found[0].text


def test_a_program_that_is_not_there_is_told(start):
    (failure,), _ = answers(start("/no/such/python"), [order_of(1)], 1)
    assert "/no/such/python" in failure.text


def test_an_order_that_makes_no_forest_is_told_with_the_reason(start):
    (failure,), _ = answers(start(), [order_of(2, count=1)], 1)
    assert "1 frames of asset 2 make no forest" in failure.text
