"""A new configuration is on trial against what flowed before."""

from __future__ import annotations

from edge_agent.settings.configuration_trial import (
    SETTLED_S,
    UPLINK,
    ConfigurationTrial,
    Verdict,
    flow_of,
    wanted_flows,
)

PATIENCE_S = 600.0
A, B = flow_of("a"), flow_of("b")


def trial(*wanted: str) -> ConfigurationTrial:
    return ConfigurationTrial(frozenset(wanted), 0.0, PATIENCE_S)


def test_it_passes_when_all_that_flowed_before_flows_and_some_time_has_gone_by():
    one = trial(A, B, UPLINK)
    one.see([A, UPLINK], 5.0)
    assert one.judge(SETTLED_S) is Verdict.GOES_ON, "b is missed"
    one.see([B], 70.0)
    assert one.judge(70.0) is Verdict.PASSED


def test_it_does_not_pass_at_once():
    one = trial(A)
    one.see([A], 1.0)
    assert one.judge(2.0) is Verdict.GOES_ON
    assert one.judge(SETTLED_S) is Verdict.PASSED


def test_what_never_comes_fails_it_after_the_patience():
    one = trial(A, UPLINK)
    for now_s in range(0, int(PATIENCE_S), 10):
        one.see([A], float(now_s))
        assert one.judge(float(now_s)) is Verdict.GOES_ON
    assert one.judge(PATIENCE_S) is Verdict.FAILED
    assert one.stopped(PATIENCE_S) == [UPLINK]


def test_what_came_and_stopped_fails_it_too():
    one = trial(A, B)
    one.see([A], 10.0)
    assert one.judge(PATIENCE_S - 1) is Verdict.GOES_ON
    one.see([B], PATIENCE_S - 1)
    assert one.judge(PATIENCE_S - 0.5) is Verdict.PASSED, "both have come"
    another = trial(A, B)
    another.see([A], 10.0)
    another.see([A], PATIENCE_S)
    assert another.judge(PATIENCE_S) is Verdict.FAILED


def test_a_gateway_that_never_had_data_has_nothing_to_go_back_to():
    one = trial()
    assert one.judge(100 * PATIENCE_S) is Verdict.GOES_ON
    one.see([A], 100 * PATIENCE_S)
    assert one.judge(100 * PATIENCE_S) is Verdict.PASSED


def test_a_line_that_the_new_configuration_does_not_have_is_not_missed():
    assert wanted_flows([A, B, UPLINK], ["a", "c"]) == {A, UPLINK}
