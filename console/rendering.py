"""The Jinja templates of the package, filled from the view model: state and reader in, markup out.

Every value is escaped by Jinja. What stands in a template comes from `presentation` and `texts`.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from console.fleet_query import FleetQuery, Order, QualityFilter, Selection, select_channels
from console.presentation import (
    Reader,
    describe_alarm,
    describe_banners,
    describe_channel,
    describe_conditions,
    describe_counters,
    describe_gateways,
    format_time,
)
from console.score_view import describe_scores
from console.texts import Language
from console.trend_chart import SPANS_S
from console.view_model import Source, State, list_domains, needs_acknowledgement, sort_alarms
from contracts.fleet import LifecycleState
from contracts.quantity import QUANTITIES
from contracts.query import QuarantinePage

ALARMS_SHOWN_MAX: Final = 100
"""Alarms in the list; the rest, less urgent, is counted."""
GATEWAYS_SHOWN_MAX: Final = 200
"""Gateways in the panel; the rest, online and without losses, is counted."""


@dataclass(frozen=True, slots=True)
class PageFrame:
    """What stands around the live parts."""

    city_name: str
    zone_name: str
    user_name: str
    csrf_token: str


class Renderer:
    """Fills templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def login(
        self, reader: Reader, city_name: str, error: str | None = None, name: str = "", next_language: str = ""
    ) -> str:
        """The sign-in page."""
        return self._fill(
            "login.html",
            reader,
            city_name=city_name,
            error=error,
            name=name,
            languages=list(Language),
            next_language=next_language,
        )

    def console(self, frame: PageFrame, state: State, query: FleetQuery, reader: Reader) -> str:
        """The whole page."""
        return self._fill(
            "console.html",
            reader,
            frame=frame,
            city_name=frame.city_name,
            status=status_of(state, reader),
            query=query,
            domains=list_domains(state),
            quality_filters=list(QualityFilter),
            orders=list(Order),
            languages=list(Language),
            now_ms=reader.now_ns // 1_000_000,
            alarms_html=self.alarms(state, reader),
            fleet_html=self.fleet(state, query, select_channels(state, query), reader),
        )

    def alarms(self, state: State, reader: Reader) -> str:
        """The alarm list."""
        alarms = sort_alarms(state.alarms.values())
        source = state.sources[Source.ALARMS]
        return self._fill(
            "alarms.html",
            reader,
            alarms=[
                describe_alarm(alarm, state.site_names.get(alarm.site_id, alarm.site_id), reader)
                for alarm in alarms[:ALARMS_SHOWN_MAX]
            ],
            hidden_count=max(0, len(alarms) - ALARMS_SHOWN_MAX),
            unacknowledged_count=sum(map(needs_acknowledgement, alarms)),
            is_live=source.is_live,
            last_answer=None if source.last_answer_ns is None else format_time(source.last_answer_ns, reader),
        )

    def fleet(self, state: State, query: FleetQuery, selection: Selection, reader: Reader) -> str:
        """The fleet table with its summary and pager."""
        rows = [
            (state.places[channel_id], describe_channel(state, channel_id, reader))
            for channel_id in selection.channel_ids
        ]
        return self._fill(
            "fleet.html",
            reader,
            rows=rows,
            selection=selection,
            query=query,
            is_known=state.fleet_revision is not None,
            active=LifecycleState.ACTIVE,
        )

    def values(self, state: State, channel_ids: list[int], reader: Reader) -> str:
        """The changed cells as JSON: a list of the fields of ChannelCells, in their order."""
        cells = [astuple(describe_channel(state, channel_id, reader)) for channel_id in channel_ids]
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))

    def status(self, state: State, reader: Reader) -> str:
        """Banners, counters and what is live, as JSON."""
        return json.dumps(status_of(state, reader), ensure_ascii=False, separators=(",", ":"))

    def channel(self, state: State, channel_id: int, span: str, reader: Reader) -> str:
        """The panel with the trend of a channel."""
        place = state.places[channel_id]
        return self._fill(
            "channel.html",
            reader,
            place=place,
            unit=QUANTITIES[place.channel.quantity].unit_symbol,
            span=span,
            spans=list(SPANS_S),
            conditions=describe_conditions(place.conditions, reader.wording),
            scores_html=self.scores(state, channel_id, reader),
        )

    def scores(self, state: State, channel_id: int, reader: Reader) -> str:
        """The part of that panel that tells all scores of the channel's last observation."""
        row = state.latest.get(channel_id)
        return self._fill(
            "scores.html",
            reader,
            scores=describe_scores(state, state.places[channel_id], reader.wording),
            time=None if row is None else format_time(row.phenomenon_ns, reader),
            is_live=state.sources[Source.LATEST].is_live,
        )

    def quarantine(self, page: QuarantinePage, reader: Reader) -> str:
        """The panel with what was set aside."""
        rows = [(row, format_time(row.received_ns, reader)) for row in page.newest[:20]]
        totals = sorted(page.totals.items(), key=lambda pair: -pair[1])
        return self._fill("quarantine.html", reader, totals=totals, rows=rows)

    def gateways(self, state: State, reader: Reader) -> str:
        """The panel with all gateways and what they had to give up."""
        rows = describe_gateways(state, reader)
        hidden_count = max(0, len(rows) - GATEWAYS_SHOWN_MAX)
        return self._fill("gateways.html", reader, rows=rows[:GATEWAYS_SHOWN_MAX], hidden_count=hidden_count)

    def device(self, password: str, user_name: str, expires: str, reader: Reader) -> str:
        """The panel with a one-time password for another device."""
        return self._fill("device.html", reader, password=password, user_name=user_name, expires=expires)

    def notice(self, text: str, reader: Reader, *, is_fault: bool) -> str:
        """A short message."""
        return self._fill("notice.html", reader, text=text, is_fault=is_fault)

    def _fill(self, template: str, reader: Reader, **fields: object) -> str:
        wording = reader.wording
        return self._environment.get_template(template).render(t=wording, language=wording.language, **fields)


def status_of(state: State, reader: Reader) -> dict[str, object]:
    """Banners, counters, and which sections show the present."""
    return {
        "banners": describe_banners(state, reader),
        "counters": describe_counters(state).to_json(),
        "is_live": {
            "alarms": state.sources[Source.ALARMS].is_live,
            "fleet": state.sources[Source.LATEST].is_live,
        },
    }
