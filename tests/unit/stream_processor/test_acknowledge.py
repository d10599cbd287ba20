"""What gateways are told once their batches are stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.ranges import RangeSet
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommandKind
from stream_processor.distributed.acknowledge import RANGES_PER_COMMAND, acknowledgements

DISTRICTS = {"gw-1": "harbour", "gw-2": "old-town"}
IDENTITIES = st.lists(
    st.builds(BatchIdentity, st.sampled_from(["gw-1", "gw-2", "gw-gone"]), st.integers(0, 3), st.integers(0, 40))
)


@given(IDENTITIES)
def test_each_batch_of_a_known_gateway_is_acknowledged_and_no_other(identities):
    told = set()
    for command in acknowledgements(identities, DISTRICTS):
        assert command.kind is UplinkCommandKind.ACKNOWLEDGE
        assert command.district_id == DISTRICTS[command.gateway_id]
        for first, last in RangeSet.from_flat(command.flat_ranges):
            told |= {BatchIdentity(command.gateway_id, command.epoch, batch) for batch in range(first, last + 1)}
    assert told == {identity for identity in identities if identity.gateway_id in DISTRICTS}


def test_batches_of_one_epoch_are_one_command_of_merged_ranges():
    identities = [BatchIdentity("gw-1", 7, batch) for batch in (3, 1, 2, 9, 2)]
    (command,) = acknowledgements(identities, DISTRICTS)
    assert command.flat_ranges == (1, 3, 9, 9)


def test_scattered_batches_are_several_commands_that_a_broker_takes():
    identities = [BatchIdentity("gw-1", 7, 2 * number) for number in range(RANGES_PER_COMMAND + 1)]
    sizes = [len(command.flat_ranges) for command in acknowledgements(identities, DISTRICTS)]
    assert sizes == [2 * RANGES_PER_COMMAND, 2]
