"""Listens until each station has been heard once, and prints what came (shell): `read-once` for lines that listen.

Nothing is answered, and nothing is asked: a station that gets no receipt sends its report again, to the agent that
stores it. What comes is shown as hex, decoded as its protocol has it, and as the channels of the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import textwrap
import time
from collections.abc import Callable, Iterable
from typing import Final

from contracts.quality import Reason
from edge_agent.agent_plan import ListeningLinePlan
from edge_agent.channel_table import ChannelTable, Reading
from edge_agent.commands.decode import decoder_of
from edge_agent.commands.decoded import Decoded, Decoder, Rejected
from edge_agent.commands.read_once import format_outcome
from edge_agent.drivers import LISTENERS
from edge_agent.errors import LineLostError
from edge_agent.lines.build_endpoint import build_endpoint
from edge_agent.lines.listen_bus import Line
from edge_agent.lines.listen_configuration import EndpointSettings, TcpEndpointSettings
from edge_agent.lines.listen_effect import Conversation, Deliver, Effect, Endpoint, Moment, Note

SHOWN_OCTETS: Final = 512
"""Of one frame, in hex."""
_SHOWN_AS_FRAMES: Final = frozenset({"frame_rejected", "segment_rejected", "data_unit_rejected"})
"""What the decoder has said already."""


async def read_listening(
    plans: Iterable[ListeningLinePlan], node_id: str | None, wait_s: float, tell: Callable[[str], None]
) -> bool:
    """Whether every wanted node brought a good reading in time.

    Args:
        plans: of the lines that listen.
        node_id: only this node; None: all.
        wait_s: how long to wait for all of them.
        tell: prints a line.
    """
    channels = ChannelTable()
    lines = [_Ear(plan, build_endpoint(plan, channels), channels, node_id, tell) for plan in plans]
    lines = [line for line in lines if line.wanted]
    for line in lines:
        tell(f"{line.bus_id} listens at {line.address} for {wait_s:g} s at most, and answers nothing")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await asyncio.gather(*(line.listen() for line in lines))
    for line in lines:
        line.tell_silent(wait_s)
    return bool(lines) and all(line.is_good for line in lines)


class _Ear:
    """One line."""

    def __init__(
        self,
        plan: ListeningLinePlan,
        endpoint: Endpoint,
        channels: ChannelTable,
        node_id: str | None,
        tell: Callable[[str], None],
    ) -> None:
        self.bus_id = plan.bus_id
        self.address = _describe_address(plan.bus.endpoint)
        self.wanted = {
            channel.node_id for channel in channels.of_bus(plan.bus_id) if node_id in {None, channel.node_id}
        }
        """Nodes."""
        self._port = plan.bus.endpoint
        self._protocol = plan.bus.kind
        self._endpoint = endpoint
        self._channels = channels
        self._tell = tell
        self._heard: set[str] = set()
        self._bad = False
        self._all_heard = asyncio.Event()

    @property
    def is_good(self) -> bool:
        """Whether every wanted node was heard, and only good readings of them."""
        return self._heard >= self.wanted and not self._bad

    async def listen(self) -> None:
        """Until every wanted node was heard."""
        serving = asyncio.create_task(LISTENERS[self._port.kind](self._port).serve(self._converse, lambda: None))
        waiting = asyncio.create_task(self._all_heard.wait())
        try:
            await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        except LineLostError as error:
            self._tell(f"  {error}")
        finally:
            for task in (serving, waiting):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, LineLostError):
                    await task

    def tell_silent(self, wait_s: float) -> None:
        """Says which nodes nothing came of."""
        for node_id in sorted(self.wanted - self._heard):
            self._tell(f"{self.bus_id}/{node_id}  nothing came within {wait_s:g} s: no_answer")

    async def _converse(self, line: Line) -> None:
        """One connection, until it ends; a frame that was begun is shown when a pause follows."""
        self._tell(f"  {line.peer} is connected")
        conversation, decoder = self._endpoint.begin(), decoder_of(self._protocol, {}).source.build()
        while octets := await line.read():
            self._take(octets, conversation, decoder)
        for found in decoder.finish():
            self._show(found)
        self._tell(f"  {line.peer} hung up")

    def _take(self, octets: bytes, conversation: Conversation, decoder: Decoder) -> None:
        for found in decoder.feed(octets):
            self._show(found)
        self._carry_out(conversation.receive(octets, Moment(time.time_ns(), time.monotonic())))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Deliver):
                self._take_readings(effect.readings)
            elif isinstance(effect, Note) and effect.is_warning and effect.event not in _SHOWN_AS_FRAMES:
                self._tell(f"  ! {effect.event} {effect.detail}")
        if self._heard >= self.wanted:
            self._all_heard.set()

    def _take_readings(self, readings: Iterable[Reading]) -> None:
        for alias, _, value, code in readings:
            node_id = self._channels[alias].node_id
            if node_id not in self.wanted:
                continue
            self._heard.add(node_id)
            self._bad = self._bad or code != Reason.OK
            self._tell(format_outcome(self._channels, (alias, value, Reason(code))))

    def _show(self, found: Decoded) -> None:
        octets = found.octets[:SHOWN_OCTETS]
        more = f" … ({len(found.octets)} bytes)" if len(found.octets) > len(octets) else ""
        self._tell_wrapped(octets.hex(" ") + more)
        if isinstance(found, Rejected):
            self._tell_wrapped(f"rejected: {found.reason.wire_name}: {found.detail}")
        else:
            self._tell_wrapped(json.dumps(dict(found.info), ensure_ascii=False))

    def _tell_wrapped(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        for line in textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    "):
            self._tell(line)


def _describe_address(port: EndpointSettings) -> str:
    if isinstance(port, TcpEndpointSettings):
        return f"{port.host}:{port.port}"
    return f"{port.port} {port.baud_rate} 8{port.parity}{port.stop_bits}"
