"""Local alarms and outputs over a restart of the agent, and over the return of a device."""

from __future__ import annotations

import asyncio
import json

import pytest

from contracts.quality import Reason
from edge_agent.channel_table import ChannelTable
from edge_agent.outputs.device_return import DeviceReturns
from edge_agent.outputs.keep_alarms import AlarmFile
from edge_agent.outputs.local_alarm import LocalAlarms
from edge_agent.outputs.output_settings import LocalConditionSettings, OutputSettings, WriteAction
from edge_agent.outputs.plan_outputs import plan_conditions, plan_returns

SECOND = 1_000_000_000
NO_ANSWER = int(Reason.NO_ANSWER)


def output(**condition) -> OutputSettings:
    words = {"node_id": "gas-1", "quantity": "methane_lel", "set_point": 25.0, **condition}
    close = WriteAction(kind="write", node_id="valve-1", actuator="close", value=1.0)
    return OutputSettings(output_id="valve", condition=(LocalConditionSettings(**words),), on=close)


def alarms(channels: ChannelTable | None = None, **condition) -> LocalAlarms:
    table = ChannelTable() if channels is None else channels
    table.add("rs485", "gas-1", "methane_lel")
    return LocalAlarms(plan_conditions([output(**condition)], table))


def restarted(before: LocalAlarms, **condition) -> tuple[LocalAlarms, list[str]]:
    """What the next process makes of it, with other aliases."""
    channels = ChannelTable()
    channels.add("other", "node", "level")
    after = alarms(channels, **condition)
    return after, after.restore(json.loads(json.dumps(before.as_document())))


def feed(one: LocalAlarms, alias: int, *readings: tuple[float, float]) -> list[bool]:
    return [switch.is_on for switch in one.take([(alias, round(s * SECOND), value, 0) for s, value in readings])]


def test_an_active_alarm_is_on_again_at_once_and_ends_by_the_same_rule():
    before = alarms(deadband=2.0)
    assert feed(before, 1, (0, 30.0)) == [True]
    after, switched_on = restarted(before, deadband=2.0)
    assert switched_on == ["valve"]
    assert feed(after, 2, (5, 24.0)) == [], "within the deadband it stays active: a new condition would be off"
    assert feed(after, 2, (6, 20.0)) == [False]


def test_a_delay_that_ran_goes_on():
    before = alarms(on_delay_s=10.0)
    assert feed(before, 1, (100, 30.0), (104, 30.0)) == []
    after, switched_on = restarted(before, on_delay_s=10.0)
    assert switched_on == []
    assert feed(after, 2, (109, 30.0)) == []
    assert feed(after, 2, (110, 30.0)) == [True]


def test_a_clock_that_was_lost_makes_no_alarm_deaf():
    before = alarms()
    assert feed(before, 1, (1_000_000, 1.0)) == [False]
    after, _ = restarted(before)
    assert feed(after, 2, (5, 30.0)) == [True]


def test_another_set_point_is_another_condition_and_begins_anew():
    before = alarms()
    feed(before, 1, (0, 30.0))
    after, switched_on = restarted(before, set_point=40.0)
    assert switched_on == []
    assert feed(after, 2, (1, 30.0)) == [False]


@pytest.mark.parametrize("garbage", [{}, {"valve": 3}, {"valve": {"is_on": True}}, {"valve": {"conditions": [1]}}])
def test_a_document_of_something_else_is_nothing(garbage):
    assert alarms().restore(garbage) == []


def test_what_has_changed_is_in_the_file_and_a_torn_file_is_nothing(tmp_path, caplog):
    one = alarms()
    file = AlarmFile(tmp_path / "local-alarms.json")
    feed(one, 1, (0, 30.0))

    async def scenario() -> None:
        task = asyncio.create_task(file.run(one))
        file.note_change()
        async with asyncio.timeout(10):
            while not (tmp_path / "local-alarms.json").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert alarms().restore(file.read()) == ["valve"]
    (tmp_path / "local-alarms.json").write_text('{"valve": {"is_')
    assert file.read() == {}
    assert "local_alarms_unusable" in caplog.text


def test_while_it_runs_an_output_that_is_the_same_keeps_its_state():
    channels = ChannelTable()
    one = alarms(channels, deadband=2.0)
    feed(one, 1, (0, 30.0))
    one.replace(plan_conditions([output(deadband=2.0)], channels))
    assert one.is_on("valve")
    assert feed(one, 1, (1, 24.0)) == []
    assert feed(one, 1, (2, 1.0)) == [False]


def test_a_device_that_is_back_has_its_outputs_set_again_once():
    channels = ChannelTable()
    channels.add("rs485", "gas-1", "methane_lel")
    valve = channels.add("rs485", "valve-1", "level")
    returns = DeviceReturns(plan_returns([output()], channels))
    assert returns.take([(valve, 1, 5.0, 0), (1, 1, None, NO_ANSWER), (1, 2, 3.0, 0)]) == []
    assert returns.take([(valve, 2, None, NO_ANSWER)]) == []
    assert returns.take([(valve, 3, None, int(Reason.LINE_LOST))]) == []
    assert returns.take([(valve, 4, 5.0, 0)]) == ["valve"]
    assert returns.take([(valve, 5, 5.0, 0)]) == []
