"""Which channels a page shows: filter, order and page, all from the page's address (query parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode

from console.view_model import ChannelPlace, State
from contracts.fleet import Domain
from contracts.quality import Level

ROWS_PER_PAGE: Final = 500
"""More rows than this are paged: a phone must not hold 300,000 of them."""

TEXT_LENGTH_MAX: Final = 100

_KindT = TypeVar("_KindT", bound=StrEnum)
_DefaultT = TypeVar("_DefaultT")


class QualityFilter(StrEnum):
    """Which levels are shown."""

    ALL = "all"
    NOT_GOOD = "not_good"
    """Bad, uncertain and silent."""


class Order(StrEnum):
    """What stands first."""

    BAD_FIRST = "bad_first"
    PLACE = "place"
    """By site, node and quantity only."""


_RANK: Final[Mapping[Level | None, int]] = {Level.BAD: 0, None: 1, Level.UNCERTAIN: 2, Level.GOOD: 3}


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """What the reader asked for."""

    text: str = ""
    quality: QualityFilter = QualityFilter.ALL
    domain: Domain | None = None
    order: Order = Order.BAD_FIRST
    page: int = 1

    def to_parameters(self, page: int) -> str:
        """The query string that gives this query again, at another page."""
        return urlencode(
            {
                "text": self.text,
                "quality": self.quality.value,
                "domain": self.domain.value if self.domain else "",
                "order": self.order.value,
                "page": page,
            }
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of one page."""

    channel_ids: tuple[int, ...]
    total: int
    """Rows on all pages."""
    page: int
    page_count: int


def parse_query(parameters: Mapping[str, str]) -> FleetQuery:
    """The query of an address. What is absent or unknown falls back to the default: an address is not a form."""
    page = parameters.get("page", "1")
    return FleetQuery(
        text=parameters.get("text", "").strip()[:TEXT_LENGTH_MAX],
        quality=_member(QualityFilter, parameters.get("quality"), QualityFilter.ALL),
        domain=_member(Domain, parameters.get("domain"), None),
        order=_member(Order, parameters.get("order"), Order.BAD_FIRST),
        page=int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 7 and int(page) > 0 else 1,
    )


def select_channels(state: State, query: FleetQuery, rows_per_page: int = ROWS_PER_PAGE) -> Selection:
    """The page of channels that `query` asks for; the last page if it asks for one beyond."""
    words = query.text.lower().split()
    chosen = [
        (_sort_key(state, place, query.order), channel_id)
        for channel_id, place in state.places.items()
        if _is_wanted(state, channel_id, place, query, words)
    ]
    chosen.sort()
    page_count = max(1, -(-len(chosen) // rows_per_page))
    page = min(query.page, page_count)
    rows = chosen[(page - 1) * rows_per_page : page * rows_per_page]
    return Selection(tuple(channel_id for _, channel_id in rows), len(chosen), page, page_count)


def level_of(state: State, channel_id: int) -> Level | None:
    """The level of a channel's last observation; None if it never sent any."""
    row = state.latest.get(channel_id)
    return None if row is None else row.level


def _is_wanted(state: State, channel_id: int, place: ChannelPlace, query: FleetQuery, words: list[str]) -> bool:
    if query.domain is not None and place.site.domain is not query.domain:
        return False
    if query.quality is QualityFilter.NOT_GOOD and level_of(state, channel_id) is Level.GOOD:
        return False
    return all(word in place.search_text for word in words)


def _sort_key(state: State, place: ChannelPlace, order: Order) -> tuple[int, str, str, str]:
    channel = place.channel
    rank = _RANK[level_of(state, channel.channel_id)] if order is Order.BAD_FIRST else 0
    return rank, place.site.name, channel.node_id, channel.quantity


def _member(kind: type[_KindT], text: str | None, default: _DefaultT) -> _KindT | _DefaultT:
    try:
        return kind(text) if text else default
    except ValueError:
        return default
