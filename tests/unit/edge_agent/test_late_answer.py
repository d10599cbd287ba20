"""How long a line and a device are left alone after a silence, on a fake clock."""

from edge_agent.modbus.late_answer import LateAnswerGuard


def test_an_unexpected_silence_rests_the_whole_line_and_a_repeated_one_only_the_device():
    guard = LateAnswerGuard(0.3)
    assert guard.note(7, is_heard=False, now_s=10.0) == 0.15
    assert guard.wait_s(8, 10.15) == 0.0
    assert guard.note(7, is_heard=False, now_s=20.0) == 0.0, "the dead do not hold up the living"
    assert guard.wait_s(8, 20.0) == 0.0
    assert guard.wait_s(7, 20.05) > 0.09


def test_a_device_that_answers_again_rests_for_a_time_out_before_its_next_question():
    guard = LateAnswerGuard(0.3)
    guard.note(7, is_heard=False, now_s=10.0)
    assert guard.note(7, is_heard=True, now_s=11.0) == 0.0
    assert round(guard.wait_s(7, 11.0), 6) == 0.3
    guard.note(7, is_heard=True, now_s=11.5)
    assert guard.wait_s(7, 11.5) == 0.0


def test_a_device_that_always_answers_never_waits():
    guard = LateAnswerGuard(0.3)
    assert guard.note(1, is_heard=True, now_s=1.0) == 0.0
    assert guard.wait_s(1, 1.0) == 0.0


def test_after_a_late_answer_those_to_the_other_questions_are_waited_for():
    guard = LateAnswerGuard(0.05)
    for asked_s in (10.0, 10.1):
        guard.wait_s(7, asked_s)
        guard.note(7, is_heard=False, now_s=asked_s + 0.05)
    guard.wait_s(7, 10.2)  # what was asked at 10.1 is answered now, 0.11 s late
    guard.note(7, is_heard=True, now_s=10.21)
    next_s = 10.21 + guard.wait_s(7, 10.21)
    assert next_s > 10.2 + 0.11, "the answer to the last question is as late"


def test_a_silence_of_long_ago_is_not_waited_for():
    guard = LateAnswerGuard(0.05)
    guard.wait_s(7, 10.0)
    guard.note(7, is_heard=False, now_s=10.05)
    guard.wait_s(7, 70.0)
    guard.note(7, is_heard=True, now_s=70.01)
    assert round(guard.wait_s(7, 70.01), 6) == 0.05
