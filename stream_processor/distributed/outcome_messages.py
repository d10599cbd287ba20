"""What the score job writes to Kafka for what it has found. Pure.

Conditions come first: they are what somebody waits for.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.kafka_topic import ALARM_CONDITIONS, GATEWAY_COMPLETENESS, QUARANTINE, SCORED, UPLINK_COMMANDS
from contracts.record_message import encode_scored
from stream_processor.distributed.kafka_message import KafkaMessage
from stream_processor.distributed.partition_state import Outcome
from stream_processor.distributed.quarantine_message import quarantine_row


def messages_of(outcomes: Sequence[tuple[int, Outcome]]) -> list[KafkaMessage]:
    """The messages of outcomes, each with the partition that it belongs to, in their order."""
    conditions = [
        KafkaMessage(ALARM_CONDITIONS, partition, event.gateway_id.encode(), event.model_dump_json().encode())
        for partition, outcome in outcomes
        for event in outcome.events
    ]
    scored = [KafkaMessage(SCORED, partition, None, encode_scored(outcome.scored)) for partition, outcome in outcomes]
    return [*conditions, *scored, *(message for each in outcomes for message in _messages_beside(*each))]


def _messages_beside(partition: int, outcome: Outcome) -> list[KafkaMessage]:
    return [
        *(
            KafkaMessage(QUARANTINE, partition, None, quarantine_row(bad).model_dump_json().encode())
            for bad in outcome.quarantined
        ),
        *(
            KafkaMessage(GATEWAY_COMPLETENESS, partition, told.gateway_id.encode(), told.model_dump_json().encode())
            for told in outcome.completeness
        ),
        *(
            KafkaMessage(UPLINK_COMMANDS, partition, command.gateway_id.encode(), command.model_dump_json().encode())
            for command in outcome.commands
        ),
    ]
