"""Which channels are watched together: the groups of a fleet. Pure.

A *group* is the channels of one quantity of one site behind one gateway (so that it lives in one partition and moves
with it) that have a group score: by their domain, by themselves, or because a condition looks at one. Fewer than
`GROUP_CHANNELS_MIN` are none. More than `GROUP_CHANNELS_MAX` are split, in the order of their channel ids, into parts
as even as can be. A channel whose node is retired or away stays a member: it is missing in the frames, which the
detectors take for what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.condition import Direction
from contracts.detector_set import GROUP_CHANNELS_MAX, GROUP_CHANNELS_MIN, GROUP_PERIOD_S, scores_of
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.score import GROUP_SCORES
from stream_processor.fleet_index import ChannelContext

_ALL: Final = frozenset(GROUP_SCORES)
_NO_SET_POINTS: Final[Mapping[ConditionInput, float]] = MappingProxyType({})


class GroupKey(NamedTuple):
    """What makes a group the same over fleet revisions."""

    gateway_id: str
    site_id: str
    quantity: str
    part: int
    """From 0; of those that had to be split."""


class Member(NamedTuple):
    """A channel of a group."""

    channel_id: int
    node_id: str
    """What an explanation calls it."""
    scores: frozenset[ConditionInput]
    """Scores of the group that stand at its readings."""
    set_points: Mapping[ConditionInput, float]
    """By score: the lowest from which on its conditions ask why."""


class Group(NamedTuple):
    """Channels that are watched together."""

    key: GroupKey
    period_ns: int
    """Length of its frames."""
    unit: str
    """As it is shown: "µε"."""
    members: tuple[Member, ...]
    """In the order of their channel ids."""


def find_groups(definitions: Iterable[ConditionDefinition], contexts: Mapping[int, ChannelContext]) -> Iterator[Group]:
    """The groups of a fleet."""
    asked = _find_asked(definitions)
    by_place: dict[tuple[str, str, str], list[Member]] = {}
    for channel_id, context in contexts.items():
        member = _member(channel_id, context, asked.get(channel_id, ()))
        if member.scores:
            place = context.node.gateway_id, context.site.site_id, context.channel.quantity
            by_place.setdefault(place, []).append(member)
    for place, members in by_place.items():
        if len(members) < GROUP_CHANNELS_MIN:
            continue
        context = contexts[members[0].channel_id]
        period_ns = GROUP_PERIOD_S[context.site.domain] * NANOSECONDS_PER_SECOND
        for part, some in enumerate(_split(sorted(members))):
            yield Group(GroupKey(*place, part), period_ns, context.quantity.unit_symbol, tuple(some))


def _find_asked(definitions: Iterable[ConditionDefinition]) -> dict[int, list[ConditionDefinition]]:
    """By channel its conditions on scores of groups."""
    asked: dict[int, list[ConditionDefinition]] = {}
    for definition in definitions:
        if definition.input in GROUP_SCORES:
            asked.setdefault(definition.channel_id, []).append(definition)
    return asked


def _member(channel_id: int, context: ChannelContext, conditions: Sequence[ConditionDefinition]) -> Member:
    scores = _ALL.intersection(scores_of(context.channel, context.site.domain))
    if not conditions:  # nearly all: a fleet revision is taken while readings wait
        return Member(channel_id, context.node.node_id, scores, _NO_SET_POINTS)
    set_points: dict[ConditionInput, float] = {}
    for each in conditions:
        if each.direction is Direction.ABOVE:
            set_points[each.input] = min(each.set_point, set_points.get(each.input, each.set_point))
    return Member(channel_id, context.node.node_id, scores.union(each.input for each in conditions), set_points)


def _split(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Parts of at most `GROUP_CHANNELS_MAX`, of which none is longer than another by more than one."""
    parts = -(-len(members) // GROUP_CHANNELS_MAX)
    for part in range(parts):
        yield members[part * len(members) // parts : (part + 1) * len(members) // parts]
