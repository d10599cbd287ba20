"""Commanded writes on a line that is busy: done in turn, or given up and then never done."""

import asyncio
import json

from contracts.configuration import check_settings
from contracts.quality import Reason
from edge_agent.lines.bus_schedule import DeviceRhythm
from edge_agent.lines.device_watch import DeviceWatch
from edge_agent.lines.poll_bus import BusPoller, PolledDevice
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.outputs import field_control
from edge_agent.outputs.actuator import Actuator, ActuatorSettings
from edge_agent.outputs.audit_log import AuditLog
from edge_agent.outputs.field_control import FieldControl

HORN = {"name": "horn", "function_code": 5, "address": 7, "data_type": "coil", "minimum": 0, "maximum": 1}


class BusyDriver:
    """A line whose first answer comes when the test lets it."""

    def __init__(self):
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.writes = []

    async def open(self):
        pass

    async def exchange(self, request):
        if isinstance(request, ModbusWrite):
            self.writes.append(request.values)
            return ()
        self.asked.set()
        await self.answer.wait()
        return Reason.NO_ANSWER

    def close(self):
        pass


class OneDevice:
    aliases = (1,)

    def poll(self, _now_s):
        answer = yield object()
        return [(1, None, answer)]


class NoSink:
    def put(self, bus_id, readings):
        pass

    def line_changed(self, bus_id, is_up):
        pass


async def on_a_busy_line(tmp_path, act):
    """Runs `act(control, driver)` while the line's only poll waits for its answer."""
    driver = BusyDriver()
    device = PolledDevice("one", OneDevice(), DeviceWatch({1: 10.0}), DeviceRhythm(0.01, 1.0))
    poller = BusPoller("rs485", driver, [device], NoSink())
    actuator = Actuator("rs485", "siren", 1, check_settings(ActuatorSettings, HORN, "test"))
    control = FieldControl([actuator], {"rs485": poller}, AuditLog(tmp_path / "audit.jsonl"))
    polling = asyncio.create_task(poller.run())
    async with asyncio.timeout(10):
        await driver.asked.wait()
        await act(control, driver)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    return driver.writes


def test_a_write_waits_for_the_answer_to_the_request_before_it(tmp_path):
    async def act(control, driver):
        writing = asyncio.create_task(control.obey("rs485", "siren/horn", 1.0))
        lines = tmp_path / "audit.jsonl"
        while not lines.exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert driver.writes == []
        driver.answer.set()
        assert await writing == "done"

    assert asyncio.run(on_a_busy_line(tmp_path, act)) == [(1,)]


def test_a_write_that_was_given_up_is_never_done_late(tmp_path, monkeypatch):
    monkeypatch.setattr(field_control, "WRITE_TIMEOUT_S", 0.05)

    async def act(control, driver):
        outcome = await control.obey("rs485", "siren/horn", 1.0)
        assert outcome == "failed: the line had no turn for it within 0.05 s"
        driver.answer.set()
        assert await control.obey("rs485", "siren/horn", 0.0) == "done"

    assert asyncio.run(on_a_busy_line(tmp_path, act)) == [(0,)]
    outcomes = [json.loads(line)["outcome"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [outcome.partition(":")[0] for outcome in outcomes] == ["asked", "failed", "asked", "done"]


def test_a_write_to_another_bus_or_name_is_refused_and_audited(tmp_path):
    async def act(control, driver):
        driver.answer.set()
        for bus_id, name in (("tcp", "siren/horn"), ("rs485", "siren/light")):
            assert (await control.obey(bus_id, name, 1.0)).startswith("refused: no actuator of that name")

    assert asyncio.run(on_a_busy_line(tmp_path, act)) == []
    assert (tmp_path / "audit.jsonl").read_text().count("refused") == 2
