"""The plan of the demonstration, its ports, its restarts and its words: all pure."""

from __future__ import annotations

import tomllib

import pytest

from contracts.access import Principal, authenticate
from deploy import configuration_text
from deploy.announcement import format_happenings, format_moved_ports, read_happenings
from deploy.configuration_text import PRINCIPALS, RENDERERS, City, GatewayAccount
from deploy.layout import RunDirectory
from deploy.plan import FieldFacts, Program, Tools, check_order, plan_city, plan_embedded, stop_waves
from deploy.ports import PREFERRED_PORTS, choose_ports
from deploy.restart_policy import is_wedged, next_delay_s

CITY = City(
    run=RunDirectory('/srv/a "quoted" folder'),
    ports=PREFERRED_PORTS,
    tokens={name: f"token of {name}" for name in PRINCIPALS},
    gateways=(GatewayAccount("gw-1", "harbour"), GatewayAccount("gw-2", "riverside")),
    system_user="root",
)
FIELD = FieldFacts((18502, 18503), ("/srv/pty/rs485-1",))


def plan(mosquitto: str | None = "/usr/sbin/mosquitto") -> dict[str, Program]:
    return {
        program.name: program
        for program in plan_city(
            CITY, Tools("/venv/bin/python", mosquitto), FIELD, plan_embedded(CITY, "/venv/bin/python")
        )
    }


def test_everything_comes_after_what_it_waits_for() -> None:
    check_order(plan().values())


def test_a_plan_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="b: not planned before it: \\['a'\\]"):
        check_order([Program("b", ("/b",), after=("a",))])


def test_there_is_one_agent_for_each_gateway() -> None:
    assert plan()["gw-2"].argv[1:] == ("-m", "edge_agent.cli", "run", "--config", CITY.run.demo("gw-2.toml"))


def test_programs_stop_before_what_they_depend_on() -> None:
    programs = list(plan().values())
    position = {name: index for index, wave in enumerate(stop_waves(programs)) for name in wave}
    tasks = {program.name for program in programs if program.is_task}
    assert set(position) == {program.name for program in programs} - tasks
    for program in programs:
        for name in set(program.after) - tasks:
            assert position[program.name] < position[name], f"{program.name} stops after {name}"


def test_the_systems_mosquitto_is_used_where_there_is_one() -> None:
    broker = plan("/usr/sbin/mosquitto")
    assert broker["broker"].argv[0] == "/usr/sbin/mosquitto"
    assert "mosquitto" in broker["broker-config"].argv


def test_the_embedded_broker_is_used_where_there_is_none() -> None:
    broker = plan(None)
    assert broker["broker"].argv[:3] == ("/venv/bin/python", "-m", "iotcore")
    assert "rumqttd" in broker["broker-config"].argv


@pytest.mark.parametrize("name", sorted(RENDERERS))
def test_every_configuration_is_toml_and_holds_no_token_in_clear(name: str) -> None:
    text = RENDERERS[name](CITY)
    tomllib.loads(text)
    assert "token of" not in text


def test_the_hashes_prove_the_tokens() -> None:
    document = tomllib.loads(configuration_text.render_alarm_service(CITY))
    principals = [Principal(**row) for row in document["principal"]]
    found = authenticate("Bearer token of stream-processor", principals)
    assert found is not None
    assert (found.name, found.role) == ("stream-processor", "processor")


def test_a_path_with_quotes_survives() -> None:
    document = tomllib.loads(configuration_text.render_console(CITY))
    assert document["store"]["path"] == '/srv/a "quoted" folder/data/console.sqlite'


def test_a_taken_port_is_replaced_by_the_next_free_one() -> None:
    taken = {18080, 18081}
    ports = choose_ports({"console": 18080, "alarm-service": 18081}, lambda port: port not in taken)
    assert ports == {"console": 18082, "alarm-service": 18083}


def test_no_two_programs_get_one_port() -> None:
    assert choose_ports({"a": 10, "b": 10}, lambda port: True) == {"a": 10, "b": 11}


def test_no_free_port_is_said() -> None:
    with pytest.raises(ValueError, match="no free port for a from 10 to"):
        choose_ports({"a": 10}, lambda port: False)


def test_only_moved_ports_are_announced() -> None:
    chosen = {"console": 18080, "broker": 18885}
    assert format_moved_ports({"console": 18080, "broker": 18883}, chosen) == (
        "  port 18883 is taken: broker uses 18885"
    )


def test_restarts_wait_ever_longer_up_to_half_a_minute() -> None:
    delays = [next_delay_s(None, 0.1)]
    while len(delays) < 9:
        delays.append(next_delay_s(delays[-1], 0.1))
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_healthy_minute_forgives() -> None:
    assert next_delay_s(30.0, 60.0) == 0.5


def test_a_broker_is_wedged_when_it_has_run_and_refused_for_ten_seconds() -> None:
    assert is_wedged(unconnected_for_s=10.0, broker_ran_for_s=60.0)
    assert not is_wedged(unconnected_for_s=9.9, broker_ran_for_s=60.0)
    assert not is_wedged(unconnected_for_s=60.0, broker_ran_for_s=9.9)


SCENARIO = {
    "event": [{"kind": "gas_leak", "node": "xrl-7", "at_s": 30, "peak": 45.0, "quantity": "methane_lel"}],
    "fault": [{"kind": "no_answer", "node": "xrl-9", "at_s": 10, "for_s": 60}],
    "bus": [{"bus_id": "gas-tcp", "kind": "modbus_tcp"}],
}
FLEET = {
    "node": [
        {
            "node_id": "xrl-7",
            "channel": [{"quantity": "methane_lel", "condition": [{"set_point": 25}, {"set_point": 10}]}],
        }
    ]
}


def test_what_will_happen_is_told_in_order_with_the_wall_clock() -> None:
    text = format_happenings(read_happenings(SCENARIO, FLEET), 1000.0, 1004.0, lambda time_s: f"<{time_s:g}>")
    lines = text.splitlines()
    assert lines[1].startswith("  <1010>  in 6 s    xrl-9 for 60 s stops answering")
    assert lines[2].startswith("  <1030>  in 26 s   a gas leak grows at xrl-7")
    assert "within a second of 10 %LEL, the next one at 25" in lines[2]


def test_a_leak_below_every_set_point_promises_no_alarm() -> None:
    weak = {"event": [{**SCENARIO["event"][0], "peak": 5.0}]}
    assert "it raises no alarm" in read_happenings(weak, FLEET)[0].text
