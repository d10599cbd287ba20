"""Answers of the stream processor's read API: last values, trends, completeness, quarantine, health."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from contracts.alarm import ConditionInput, TimeNs
from contracts.identifiers import ChannelId, Identifier
from contracts.quality import Level

_ANSWER = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ChannelLatest(BaseModel):
    """The last observation of a channel by phenomenon time, with the last good one beside it.

    Where the last observation is bad, `value` is what came with it (usually None); the last good value stands
    in fields of its own, with its own time, and is never shown as if it were now.
    """

    model_config = _ANSWER
    channel_id: ChannelId
    phenomenon_ns: TimeNs
    received_ns: TimeNs
    value: float | None
    level: Level
    reason: str
    """Wire name of the reason: `no_answer`."""
    score_ewma_z: float | None
    """0 to 1: 0.5 is 3 standard deviations from the rolling mean (docs/scores.md); None while warming up or where there
    is no value."""
    scores: dict[ConditionInput, float] = {}
    """The other scores that it has (`contracts.detector_set`); one that is warming up is not in it."""
    last_good_value: float | None
    last_good_ns: TimeNs | None


class LatestPage(BaseModel):
    """Answer of `GET /v1/latest`: channels that changed after the asked-for revision."""

    model_config = _ANSWER
    revision: int = Field(ge=0)
    """Ask for `changed_after` this the next time."""
    channels: list[ChannelLatest]


class Trend(BaseModel):
    """Answer of `GET /v1/channels/{channel_id}/trend`: one row per time bucket that holds an observation.

    All lists have the same length. Minimum, maximum and mean are of good and uncertain values; None in a bucket
    that has only bad ones.
    """

    model_config = _ANSWER
    channel_id: ChannelId
    from_ns: TimeNs
    to_ns: TimeNs
    bucket_ns: int
    start_ns: list[int]
    minimum: list[float | None]
    maximum: list[float | None]
    mean: list[float | None]
    score_ewma_z_maximum: list[float | None]
    """The highest. None: no score. Answered from InfluxDB also None if all were below
    `contracts.influx_schema.SCORE_WRITTEN_FROM`."""
    scores_maximum: dict[ConditionInput, list[float | None]] = {}
    """The same of its other scores, each as long as the lists above; one that is nowhere is left out."""
    observation_count: list[int]
    bad_count: list[int]


class WaveformBlock(BaseModel):
    """Samples that follow each other, of one second at most."""

    model_config = _ANSWER
    first_ns: TimeNs
    """When the first sample was taken; sample k was k / sample_rate_hz later."""
    sample_rate_hz: float
    level: Level
    reason: str
    samples: list[float | None]
    """In the quantity's unit; None where the logger gave no number."""


class WaveformPage(BaseModel):
    """Answer of `GET /v1/channels/{channel_id}/waveform`: blocks in order of time."""

    model_config = _ANSWER
    channel_id: ChannelId
    from_ns: TimeNs
    to_ns: TimeNs
    """Blocks that begin before it; earlier than asked for if there were too many for one answer: ask on from here."""
    blocks: list[WaveformBlock]


class CompletenessRow(BaseModel):
    """What the gap ledger knows of one gateway and epoch."""

    model_config = _ANSWER
    gateway_id: Identifier
    epoch: int
    highest_batch: int
    stored_batches: int
    missing_ranges: list[tuple[int, int]]
    """Batches that must have been sent (a higher one was seen) and are neither stored nor lost."""
    lost_ranges: list[tuple[int, int]] = []
    """Batches that the gateway says are gone for good."""
    thinned_readings: int = Field(default=0, ge=0)
    """Readings that the gateway took out of stored batches before it sent them, because its disk was full: told, so
    those batches are stored and not missing."""


class HourCompleteness(BaseModel):
    """How much of one hour of a gateway is stored."""

    model_config = _ANSWER
    hour_ns: TimeNs
    """Begin of the hour, UTC."""
    stored_batches: int = Field(ge=0)
    expected_batches: int = Field(ge=0)
    """Batches that the gateway must have made in this hour, by the numbers before and after."""


class GatewayCompleteness(BaseModel):
    """One message of topic `gateway.completeness`: what the gap ledger knows of one gateway."""

    model_config = _ANSWER
    gateway_id: Identifier
    district_id: Identifier
    epochs: list[CompletenessRow]
    hours: list[HourCompleteness]
    """The newest ones, in order."""


class QuarantineRow(BaseModel):
    """Bad input that was set aside: what it was, from where, and why."""

    model_config = _ANSWER
    received_ns: TimeNs
    topic: str
    reason: str
    detail: str
    payload_hex: str
    """The first 4 KiB of the payload, or what of it was refused."""


class QuarantinePage(BaseModel):
    """Answer of `GET /v1/quarantine`: how many per reason since ever, and the newest ones."""

    model_config = _ANSWER
    totals: dict[str, int]
    newest: list[QuarantineRow]


class AgentLosses(BaseModel):
    """What an edge agent says that it had to give up. Its counters go on over restarts, but for the last two."""

    model_config = _ANSWER
    thinned_readings_total: int = Field(default=0, ge=0)
    """Taken out of its full spool: of each channel and window of time the first, last, lowest and highest stay, and
    all that is not good."""
    discarded_readings_total: int = Field(default=0, ge=0)
    """Dropped: nothing of them is anywhere any more."""
    discarded_samples_total: int = Field(default=0, ge=0)
    """The same, of waveforms."""
    failed_commits_total: int = Field(default=0, ge=0)
    """Commits to its disk that failed; what they held was sent from memory."""
    spools_set_aside_total: int = Field(default=0, ge=0)
    """Spool files that could not be trusted."""
    since_ns: TimeNs = 0
    """Our clock when these totals were first heard."""

    @property
    def is_any(self) -> bool:
        """Whether anything was given up at all."""
        return any(
            (
                self.thinned_readings_total,
                self.discarded_readings_total,
                self.discarded_samples_total,
                self.failed_commits_total,
                self.spools_set_aside_total,
            )
        )


class GatewayHealth(BaseModel):
    """What the bridge knows of one gateway."""

    model_config = _ANSWER
    gateway_id: Identifier
    is_online: bool
    epoch: int | None
    last_payload_ns: TimeNs | None
    losses: AgentLosses | None = None
    """None: the bridge has heard none of its counters since its own start, or the edge node is not ours."""


class BridgeHealth(BaseModel):
    """What a bridge says of itself on topic `gateway.status`, keyed by `bridge/<host id>`."""

    model_config = _ANSWER
    host_id: Identifier
    is_broker_connected: bool
    shed_batches_total: int = Field(ge=0)
    """Since its start."""
    told_ns: TimeNs


class PipelineHealth(BaseModel):
    """Answer of `GET /v1/health`."""

    model_config = _ANSWER
    is_broker_connected: bool
    """Distributed engine: whether a bridge was heard within seconds and any gateway is online."""
    stored_observations_total: int
    duplicate_batches_total: int
    duplicate_observations_total: int = 0
    """Readings that came twice from edge nodes that number no batches: same channel, same time, same value."""
    quarantined_total: int
    unscored_batches_total: int
    """Stored without score and conditions because the pipeline failed on them: anything but 0 is a defect."""
    shed_batches_total: int | None
    """Not taken for want of room, so not acknowledged: their agents send them again. None: not known here (distributed
    engine: each bridge logs its own)."""
    queued_batches: int
    """Received and not yet stored. Distributed engine: messages on Kafka, of about 500 readings or 50 ms each."""
    outbox_events: int
    """Condition events that the alarm service has not yet confirmed."""
    gateways: list[GatewayHealth]
