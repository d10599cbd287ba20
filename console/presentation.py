"""What stands in each place of the page, as texts: cells of a channel, fields of an alarm, banners, counters.

A bad observation has no current value: its cell is a dash, whatever number came with it, and the last good value
stands beside it with its time. The same cells fill the first page and every later change, so both read the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from console.fleet_query import level_of
from console.score_view import describe_highest
from console.texts import Wording
from console.view_model import Source, State, needs_acknowledgement
from contracts.alarm import Alarm, ConditionDefinition, ConditionInput
from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from contracts.quality import Level
from contracts.quantity import QUANTITIES
from contracts.query import AgentLosses, ChannelLatest, GatewayHealth

NO_VALUE: Final = "—"
NO_LEVEL: Final = "none"
"""`data-level` of a channel that never sent anything."""

OUTBOX_PATIENCE_NS: Final = 5 * NANOSECONDS_PER_SECOND
"""Condition events may wait this long for the alarm service before the page says so."""


LOSSES_SHOWN_NS: Final = 86_400 * NANOSECONDS_PER_SECOND
"""What a gateway gave up stands in the banner for a day, and in the gateways' panel for good."""
LOSSES_SHOWN_MAX: Final = 3
"""Gateways that the banner names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom and when a page is made."""

    wording: Wording
    zone: dt.tzinfo
    now_ns: int


@dataclass(frozen=True, slots=True)
class ChannelCells:
    """The changing cells of a channel's row."""

    channel_id: int
    level: str
    reason: str
    """Wire name; empty if there is no observation."""
    value: str
    quality: str
    last_good: str
    observed_ms: int | None
    """For the age, which the browser counts."""
    score: str
    """The highest of its scores."""
    detector: str
    """Who says so, or that it warms up."""
    is_unusual: bool


@dataclass(frozen=True, slots=True)
class AlarmFields:
    """An alarm as the list shows it."""

    alarm_id: int
    state: str
    colour: str
    colour_text: str
    priority_text: str
    title: str
    site: str
    node_id: str
    quantity: str
    value: str
    set_point: str
    state_text: str
    since_ms: int
    since_text: str
    history: str
    """Who acknowledged it, or when it returned; may be empty."""
    can_acknowledge: bool
    channel_id: int


@dataclass(frozen=True, slots=True)
class GatewayFields:
    """A gateway as the panel shows it; a dash stands for what it has not told."""

    gateway_id: str
    connection: str
    last_payload: str
    thinned: str
    discarded: str
    discarded_samples: str
    failed_commits: str
    set_aside: str
    since: str


@dataclass(frozen=True, slots=True)
class Counters:
    """The figures at the top; a dash stands for what nobody has told."""

    nodes: str
    good: str
    uncertain: str
    bad: str
    silent: str
    gateways: str
    quarantine: str

    def to_json(self) -> dict[str, str]:
        """By the name that the page's elements have."""
        return asdict(self)


def describe_channel(state: State, channel_id: int, reader: Reader) -> ChannelCells:
    """The cells of a channel that stands in the fleet."""
    row = state.latest.get(channel_id)
    quantity = state.places[channel_id].channel.quantity
    wording = reader.wording
    if row is None:
        nothing = wording("fleet.no_observation")
        return ChannelCells(channel_id, NO_LEVEL, "", NO_VALUE, nothing, "", None, NO_VALUE, "", is_unusual=False)
    is_bad = row.level is Level.BAD
    highest = describe_highest(row, wording)
    return ChannelCells(
        channel_id=channel_id,
        level=row.level.value,
        reason=row.reason,
        value=NO_VALUE if is_bad or row.value is None else format_value(row.value, quantity),
        quality=_describe_quality(row, wording),
        last_good=_describe_last_good(row, quantity, reader) if is_bad else "",
        observed_ms=row.phenomenon_ns // NANOSECONDS_PER_MILLISECOND,
        score=highest.score,
        detector=highest.detector,
        is_unusual=highest.is_unusual,
    )


def describe_alarm(alarm: Alarm, site_name: str, reader: Reader) -> AlarmFields:
    """The fields of an alarm."""
    wording = reader.wording
    return AlarmFields(
        alarm_id=alarm.alarm_id,
        state=alarm.state.value,
        colour=alarm.colour.value,
        colour_text=wording(f"colour.{alarm.colour.value}"),
        priority_text=wording("alarms.priority", priority=alarm.priority),
        title=alarm.title,
        site=site_name,
        node_id=alarm.node_id,
        quantity=wording.quantity(alarm.quantity),
        value=format_value(alarm.value, alarm.quantity),
        set_point=_describe_alarm_limit(alarm, wording),
        state_text=wording(f"state.{alarm.state.value}"),
        since_ms=alarm.phenomenon_ns // NANOSECONDS_PER_MILLISECOND,
        since_text=wording("alarms.since", time=format_time(alarm.phenomenon_ns, reader)),
        history=_describe_history(alarm, reader),
        can_acknowledge=needs_acknowledgement(alarm),
        channel_id=alarm.channel_id,
    )


def describe_counters(state: State) -> Counters:
    """The counters. What comes from a source that is not live is not told."""
    is_fleet_known = state.fleet_revision is not None
    is_latest_live = state.sources[Source.LATEST].is_live
    health = state.health if state.sources[Source.HEALTH].is_live else None
    counts = state.level_counts

    def count(level: Level | None) -> str:
        return str(counts.get(level, 0)) if is_fleet_known and is_latest_live else NO_VALUE

    online = sum(gateway.is_online for gateway in health.gateways) if health else None
    return Counters(
        nodes=str(state.node_count) if is_fleet_known else NO_VALUE,
        good=count(Level.GOOD),
        uncertain=count(Level.UNCERTAIN),
        bad=count(Level.BAD),
        silent=count(None),
        gateways=f"{NO_VALUE if online is None else online} / {state.gateway_count}" if is_fleet_known else NO_VALUE,
        quarantine=str(health.quarantined_total) if health else NO_VALUE,
    )


def describe_banners(state: State, reader: Reader) -> list[str]:
    """What is wrong with what the page shows, gravest first; empty if all of it is live."""
    down = [source for source in Source if not state.sources[source].is_live]
    if Source.LATEST in down and Source.HEALTH in down:
        down.remove(Source.HEALTH)  # one service, one banner
    return [_describe_down(state, source, reader) for source in down] + _describe_health(state, reader)


def describe_gateways(state: State, reader: Reader) -> list[GatewayFields]:
    """All gateways: first those that had to give up anything, then those that are offline, each by name."""
    gateways = [] if state.health is None else state.health.gateways
    order = sorted(gateways, key=lambda one: (not _has_losses(one), one.is_online, one.gateway_id))
    return [_describe_gateway(gateway, reader) for gateway in order]


def describe_conditions(conditions: tuple[ConditionDefinition, ...], wording: Wording) -> list[str]:
    """Each condition of a channel on a line: title, side and set-point."""
    lines = []
    for condition in conditions:
        value = f"{condition.set_point:g}"
        if condition.input is not ConditionInput.VALUE:
            value = wording("alarms.score", detector=wording.detector(condition.input), value=value)
        side = wording(f"trend.{condition.direction.value}", value=value)
        lines.append(f"{wording('colour.' + condition.colour.value)}: {condition.title} ({side})")
    return lines


def level_name(state: State, channel_id: int) -> str:
    """`data-level` of a channel."""
    level = level_of(state, channel_id)
    return NO_LEVEL if level is None else level.value


def format_value(value: float, quantity: str) -> str:
    """A value with its unit and the quantity's number of decimals: `12.3 %LEL`."""
    row = QUANTITIES.get(quantity)
    if row is None:
        return f"{value:g}"
    number = f"{value:.{row.decimals}f}"
    if float(number) == 0.0:
        number = number.lstrip("-")
    return f"{number} {row.unit_symbol}".rstrip()


def format_time(time_ns: int, reader: Reader) -> str:
    """`12:03:10` in the city's zone, with the date before it if it is not today's."""
    moment = _to_datetime(time_ns, reader.zone)
    is_today = moment.date() == _to_datetime(reader.now_ns, reader.zone).date()
    return f"{moment:%H:%M:%S}" if is_today else f"{moment:%Y-%m-%d %H:%M:%S}"


def _to_datetime(time_ns: int, zone: dt.tzinfo) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ns // NANOSECONDS_PER_SECOND, zone)


def _describe_quality(row: ChannelLatest, wording: Wording) -> str:
    level = wording(f"level.{row.level.value}")
    return level if row.level is Level.GOOD else f"{level}: {wording.reason(row.reason)}"


def _describe_last_good(row: ChannelLatest, quantity: str, reader: Reader) -> str:
    if row.last_good_value is None or row.last_good_ns is None:
        return ""
    value = format_value(row.last_good_value, quantity)
    return reader.wording("fleet.last_good", value=value, time=format_time(row.last_good_ns, reader))


def _describe_alarm_limit(alarm: Alarm, wording: Wording) -> str:
    if alarm.input is not ConditionInput.VALUE:
        detector = wording.detector(alarm.input)
        score = wording("alarms.score", detector=detector, value=f"{alarm.input_value:.3f}")
        limit = wording("alarms.set_point", value=f"{alarm.set_point:g}")
        return f"{score}, {limit}" + (f": {alarm.explanation}" if alarm.explanation else "")
    return wording("alarms.set_point", value=format_value(alarm.set_point, alarm.quantity))


def _describe_history(alarm: Alarm, reader: Reader) -> str:
    parts = []
    if alarm.returned_ns is not None and not alarm.is_active:
        parts.append(reader.wording("alarms.returned_at", time=format_time(alarm.returned_ns, reader)))
    if alarm.acknowledged_ns is not None and not needs_acknowledgement(alarm):
        time = format_time(alarm.acknowledged_ns, reader)
        parts.append(reader.wording("alarms.acknowledged_by", name=alarm.acknowledged_by or "?", time=time))
    return " · ".join(parts)


def _describe_down(state: State, source: Source, reader: Reader) -> str:
    told = state.sources[source]
    if told.last_answer_ns is None:
        text = reader.wording(f"never.{source.value}")
    else:
        text = reader.wording(f"down.{source.value}", time=format_time(told.last_answer_ns, reader))
    return text if told.fault is None else f"{text} {reader.wording('down.fault', fault=told.fault)}"


def _describe_health(state: State, reader: Reader) -> list[str]:
    if state.health is None or not state.sources[Source.HEALTH].is_live:
        return []
    texts = []
    if not state.health.is_broker_connected:
        texts.append(reader.wording("down.broker"))
    if state.health.unscored_batches_total:
        texts.append(reader.wording("down.unscored", count=state.health.unscored_batches_total))
    waiting_since = state.outbox_since_ns
    if waiting_since is not None and reader.now_ns - waiting_since >= OUTBOX_PATIENCE_NS:
        count = state.health.outbox_events
        texts.append(reader.wording("down.outbox", count=count, time=format_time(waiting_since, reader)))
    return texts + _describe_losses(state.health.gateways, reader)


def _has_losses(gateway: GatewayHealth) -> bool:
    return gateway.losses is not None and gateway.losses.is_any


def _describe_gateway(gateway: GatewayHealth, reader: Reader) -> GatewayFields:
    losses, heard_ns = gateway.losses, gateway.last_payload_ns
    is_since_known = losses is not None and losses.is_any
    return GatewayFields(
        gateway_id=gateway.gateway_id,
        connection=reader.wording("gateways.online" if gateway.is_online else "gateways.offline"),
        last_payload=NO_VALUE if heard_ns is None else format_time(heard_ns, reader),
        thinned=NO_VALUE if losses is None else f"{losses.thinned_readings_total:,}",
        discarded=NO_VALUE if losses is None else f"{losses.discarded_readings_total:,}",
        discarded_samples=NO_VALUE if losses is None else f"{losses.discarded_samples_total:,}",
        failed_commits=NO_VALUE if losses is None else f"{losses.failed_commits_total:,}",
        set_aside=NO_VALUE if losses is None else f"{losses.spools_set_aside_total:,}",
        since=format_time(losses.since_ns, reader) if losses is not None and is_since_known else NO_VALUE,
    )


def _describe_losses(gateways: Sequence[GatewayHealth], reader: Reader) -> list[str]:
    """One banner for all gateways that gave up readings lately, the newest first."""
    told = [(one.gateway_id, one.losses) for one in gateways if one.losses is not None and _is_news(one.losses, reader)]
    if not told:
        return []
    told.sort(key=lambda row: -row[1].since_ns)
    texts = [
        reader.wording(
            "down.losses_of",
            gateway=gateway_id,
            thinned=f"{losses.thinned_readings_total:,}",
            discarded=f"{losses.discarded_readings_total:,}",
            time=format_time(losses.since_ns, reader),
        )
        for gateway_id, losses in told[:LOSSES_SHOWN_MAX]
    ]
    if len(told) > LOSSES_SHOWN_MAX:
        texts.append(reader.wording("down.losses_more", count=len(told) - LOSSES_SHOWN_MAX))
    return [reader.wording("down.losses", gateways=", ".join(texts))]


def _is_news(losses: AgentLosses, reader: Reader) -> bool:
    has_given_up = losses.thinned_readings_total or losses.discarded_readings_total
    return bool(has_given_up) and reader.now_ns - losses.since_ns < LOSSES_SHOWN_NS
