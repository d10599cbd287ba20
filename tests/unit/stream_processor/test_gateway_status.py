"""What the bridge tells of its gateways on `gateway.status`."""

from __future__ import annotations

import pytest

from contracts.query import AgentLosses, GatewayHealth
from stream_processor.distributed.gateway_status import REFRESH_NS, BridgeStatus, GatewayStatus
from stream_processor.host_session import EdgeNode

NOW = 1_761_955_200_000_000_000


@pytest.fixture
def status():
    board = GatewayStatus()
    board.take_fleet({"gw-1": "harbour"})
    return board


def told(status, edge_node, now_ns):
    edge_nodes = {} if edge_node is None else {("harbour", "gw-1"): edge_node}
    return list(status.pop_due(edge_nodes, now_ns))


def test_a_start_tells_everybody_as_offline_once(status):
    offline = GatewayHealth(gateway_id="gw-1", is_online=False, epoch=None, last_payload_ns=None)
    assert told(status, None, NOW) == [("gw-1", offline)]
    assert told(status, None, NOW + 10 * REFRESH_NS) == []


def test_births_and_deaths_and_new_epochs_are_told_at_once(status):
    told(status, None, NOW)
    edge_node = EdgeNode("harbour", "gw-1", is_online=True, epoch=7, last_payload_ns=NOW)
    ((_, born),) = told(status, edge_node, NOW + 1)
    assert (born.is_online, born.epoch, born.last_payload_ns) == (True, 7, NOW)
    edge_node.epoch = 8
    assert [health.epoch for _, health in told(status, edge_node, NOW + 2)] == [8]
    edge_node.go_offline(NOW + 3)
    assert [health.is_online for _, health in told(status, edge_node, NOW + 3)] == [False]
    assert told(status, edge_node, NOW + 4) == []


def test_what_an_agent_had_to_give_up_is_told_at_once(status):
    edge_node = EdgeNode("harbour", "gw-1", is_online=True, epoch=7, last_payload_ns=NOW)
    told(status, edge_node, NOW)
    edge_node.losses = AgentLosses(thinned_readings_total=5, since_ns=NOW + 1)
    assert [health.losses.thinned_readings_total for _, health in told(status, edge_node, NOW + 1)] == [5]
    assert told(status, edge_node, NOW + 2) == []


def test_payloads_alone_are_told_seldom(status):
    edge_node = EdgeNode("harbour", "gw-1", is_online=True, epoch=7, last_payload_ns=NOW)
    told(status, edge_node, NOW)
    edge_node.last_payload_ns = NOW + 1
    assert told(status, edge_node, NOW + REFRESH_NS - 1) == []
    assert [health.last_payload_ns for _, health in told(status, edge_node, NOW + REFRESH_NS)] == [NOW + 1]
    assert told(status, edge_node, NOW + 9 * REFRESH_NS) == [], "nothing came since"


def test_a_gateway_that_left_the_fleet_is_told_as_gone_and_of_other_districts_nothing_is_said(status):
    told(status, None, NOW)
    status.take_fleet({})
    stranger = {("hill", "gw-3"): EdgeNode("hill", "gw-3", is_online=True)}
    assert list(status.pop_due(stranger, NOW)) == [("gw-1", None)]
    assert list(status.pop_due(stranger, NOW)) == []


def test_a_bridge_tells_of_itself_at_each_change_and_every_ten_seconds():
    status = BridgeStatus("citysense")
    assert status.key == "bridge/citysense"

    def due(now_s, connected=True, shed=0):
        told = status.pop_due(now_s * 1_000_000_000, is_broker_connected=connected, shed_batches_total=shed)
        return None if told is None else (told.is_broker_connected, told.shed_batches_total)

    assert due(0, connected=False) == (False, 0)
    assert due(1, connected=False) is None
    assert due(2) == (True, 0)
    assert due(3, shed=5) == (True, 5)
    assert due(12, shed=5) is None
    assert due(13, shed=5) == (True, 5)
    assert due(1, shed=5) == (True, 5)  # a clock that was set back
