"""What was said on `uplink.commands` becomes NCMDs of this bridge's gateways."""

from __future__ import annotations

import pytest

from contracts import uplink
from contracts.sparkplug.payload import decode_payload
from contracts.uplink_command import UplinkCommand, UplinkCommandKind
from stream_processor.distributed.uplink_ncmd import parse_uplink_commands, plan_ncmds
from stream_processor.host_session import EdgeNode

ACKNOWLEDGE, RESEND = UplinkCommandKind.ACKNOWLEDGE, UplinkCommandKind.RESEND
NOW = 1_761_955_200_000_000_000


def said(kind, *flat, gateway="gw-1", district="harbour", epoch=7):
    return UplinkCommand(kind=kind, district_id=district, gateway_id=gateway, epoch=epoch, flat_ranges=flat)


def plan(*commands, edge_nodes=(), hears=lambda _: True):
    known = {(each.district_id, each.gateway_id): each for each in edge_nodes}
    return [
        (each.topic, [metric.value for metric in decode_payload(each.payload).metrics])
        for each in plan_ncmds(commands, known, hears, NOW)
    ]


def test_what_is_said_of_one_epoch_becomes_one_message():
    commands = [
        said(ACKNOWLEDGE, 1, 3),
        said(ACKNOWLEDGE, 9, 9),
        said(ACKNOWLEDGE, 4, 5),
        said(ACKNOWLEDGE, 1, 1, epoch=8),
    ]
    topic = "spBv1.0/harbour/NCMD/gw-1"
    assert plan(*commands) == [(topic, [7, [1, 5, 9, 9]]), (topic, [8, [1, 1]])]


def test_an_acknowledgement_and_a_request_have_the_names_that_agents_know():
    online = EdgeNode("harbour", "gw-1", is_online=True)
    known = {("harbour", "gw-1"): online}
    commands = [said(ACKNOWLEDGE, 1, 1), said(RESEND, 2, 2)]
    planned = plan_ncmds(commands, known, lambda _: True, NOW)
    names = [[metric.name for metric in decode_payload(each.payload).metrics] for each in planned]
    assert names == [[uplink.ACK_EPOCH, uplink.ACK_RANGES], [uplink.RESEND_EPOCH, uplink.RESEND_RANGES]]


@pytest.mark.parametrize(
    "edge_nodes", [(), (EdgeNode("harbour", "gw-1", is_online=False),)], ids=["unheard", "offline"]
)
def test_who_is_not_online_is_acknowledged_and_asked_for_nothing(edge_nodes):
    planned = plan(said(ACKNOWLEDGE, 1, 1), said(RESEND, 2, 2), edge_nodes=edge_nodes)
    assert [values for _, values in planned] == [[7, [1, 1]]]


def test_gateways_of_other_districts_are_another_bridges():
    commands = [said(ACKNOWLEDGE, 1, 1), said(ACKNOWLEDGE, 1, 1, gateway="gw-3", district="hill")]
    planned = plan(*commands, hears=lambda district: district == "hill")
    assert [topic for topic, _ in planned] == ["spBv1.0/hill/NCMD/gw-3"]


def test_a_message_that_is_no_command_is_counted_and_the_others_are_taken():
    good = said(ACKNOWLEDGE, 1, 1)
    commands, malformed = parse_uplink_commands([b"{}", good.model_dump_json().encode(), None, b"\xff"])
    assert (commands, malformed) == ([good], 3)
