"""Commands of local outputs with real programs, and an output that is tried until it stands as it should."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from contracts.configuration import check_settings
from contracts.quality import Reason
from edge_agent.outputs.actuator import Actuator, ActuatorSettings
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.outputs.field_control import FieldControl
from edge_agent.outputs.output_settings import CommandAction, OutputSettings
from edge_agent.outputs.switch_outputs import OutputSwitcher, run_command

HORN = {"name": "horn", "function_code": 5, "address": 7, "data_type": "coil", "minimum": 0, "maximum": 1}
CONDITION = {"node_id": "gas-1", "quantity": "methane_lel", "set_point": 25}


def command(*argv, timeout_s=5.0):
    return CommandAction(kind="command", argv=argv, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("argv", "outcome"),
    [
        (["true"], "done"),
        (["false"], "failed: false: exit code 1"),
        (["sh", "-c", "exit 7"], "failed: sh: exit code 7"),
        (["sh", "-c", "kill -9 $$"], "failed: sh: exit code -9"),
        (["no-such-program"], "failed: no-such-program: [Errno 2] No such file or directory: 'no-such-program'"),
        (["tru\0e"], "failed: tru\0e: embedded null byte"),
    ],
)
def test_a_program_is_judged_by_its_exit_code(tmp_path, argv, outcome):
    assert asyncio.run(run_command(command(*argv), tmp_path)) == outcome


def test_arguments_are_passed_as_they_are_with_no_shell_between(tmp_path):
    assert asyncio.run(run_command(command("touch", "a b;$(touch c)"), tmp_path)) == "done"
    assert [path.name for path in tmp_path.iterdir()] == ["a b;$(touch c)"]


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path):
    script = "sleep 60 & echo $! > child; sleep 60"
    began_s = time.monotonic()
    outcome = asyncio.run(run_command(command("sh", "-c", script, timeout_s=0.5), tmp_path))
    assert outcome == "failed: sh: killed after 0.5 s"
    assert time.monotonic() - began_s < 10
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    asyncio.run(until(lambda: not status.exists() or status.read_text().split()[2] == "Z"))


class Line:
    """A line whose answers are given; notes the values that were written."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.values = []

    async def write(self, write):
        self.values.append(write.values[0])
        return self.answers.pop(0) if self.answers else Reason.OK


def switcher(tmp_path, line, **actions):
    actuator = Actuator("rs485", "siren", 1, check_settings(ActuatorSettings, HORN, "test"))
    audit = AuditLog(tmp_path / "audit.jsonl")
    write = {"kind": "write", "node_id": "siren", "actuator": "horn"}
    table = {"output_id": "siren", "condition": [CONDITION], "on": {**write, "value": 1}, "off": {**write, "value": 0}}
    control = FieldControl([actuator], {"rs485": line}, audit)
    return OutputSwitcher(check_settings(OutputSettings, {**table, **actions}, "test"), control, audit, tmp_path)


def outcomes(tmp_path):
    path = tmp_path / "audit.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(entry["target"], entry["outcome"].partition(":")[0]) for entry in map(json.loads, lines)]


async def until(check):
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def play(output, *steps):
    """Switches as the steps say, each after the check before it holds."""

    async def go():
        task = asyncio.create_task(output.run())
        for is_on, check in steps:
            output.switch(is_on, "gas-1/methane_lel was 30")
            await until(check)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


def test_each_switch_is_done_once_and_has_one_audit_line(tmp_path):
    line = Line()
    play(
        switcher(tmp_path, line),
        (True, lambda: len(outcomes(tmp_path)) == 1),
        (True, lambda: True),
        (False, lambda: len(outcomes(tmp_path)) == 2),
    )
    assert line.values == [1, 0]
    assert outcomes(tmp_path) == [("siren on", "done"), ("siren off", "done")]


def test_a_failed_switch_is_tried_again_and_audited_once_for_each_reason(tmp_path):
    line = Line(Reason.NO_ANSWER, Reason.NO_ANSWER, Reason.LINE_LOST)
    play(switcher(tmp_path, line), (True, lambda: len(outcomes(tmp_path)) == 3))
    assert line.values == [1, 1, 1, 1]
    assert outcomes(tmp_path) == [("siren on", "failed"), ("siren on", "failed"), ("siren on", "done")]


def test_a_switch_that_is_not_wanted_any_more_is_given_up(tmp_path):
    line = Line(Reason.NO_ANSWER)
    play(
        switcher(tmp_path, line),
        (True, lambda: len(line.values) == 1),
        (False, lambda: len(outcomes(tmp_path)) == 2),
    )
    assert line.values == [1, 0]


def test_without_an_off_action_the_output_stays_until_a_person_resets_it(tmp_path):
    line = Line()
    play(
        switcher(tmp_path, line, off=None),
        (True, lambda: len(outcomes(tmp_path)) == 1),
        (False, lambda: len(outcomes(tmp_path)) == 2),
    )
    assert line.values == [1]


def test_a_siren_does_not_wait_for_a_disk(tmp_path):
    (tmp_path / "audit.jsonl").mkdir()
    line = Line()
    play(switcher(tmp_path, line), (True, lambda: line.values == [1]), (False, lambda: line.values == [1, 0]))
