"""Decodes captured Modbus traffic: questions and answers → readings of a profile's registers. Pure.

An answer means something only with its question, which says which registers it holds. Where only the answer is there
(a frame printed in a manual), it is taken for the answer to the one request of the profile that has its length, if
there is exactly one. State registers are remembered from the answers before: many clients read them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.quality import Reason, reason_of_modbus_exception
from edge_agent.commands.decoded import Decoded, DecodedFrame, DecodedReading, Decoder, Rejected
from edge_agent.lines.poll_step import bounds_of, conversion_of, judge_number
from edge_agent.modbus.modbus_pdu import EXCEPTION_BIT, Question, is_echo_of, parse_numbers, parse_question
from edge_agent.modbus.modbus_scan import ModbusMessage, ModbusScanner, NoMessage
from edge_agent.modbus.register_field import Field, build_decoder, decode_text
from edge_agent.modbus.register_plan import Read, plan_reads
from edge_agent.modbus.register_profile import ModbusProfile, RegisterChannel
from edge_agent.settings.plan_modbus import register_conversion

Registers = dict[int, int]
"""What was read, by address."""


@dataclass(frozen=True, slots=True)
class PlacedChannel:
    """A channel of the profile at one of its places."""

    place: str
    """The node's channel_index; empty where there is only one."""
    channel: RegisterChannel
    field: Field
    shift: int


class RegisterMap:
    """What a profile says of registers."""

    def __init__(self, profile: ModbusProfile) -> None:
        self.profile = profile
        self._placed = [
            PlacedChannel(place, channel, channel.field(shift), shift)
            for place, shift in profile.places()
            for channel in profile.channel
        ]

    def guess_question(self, function_code: int, count: int) -> Question | None:
        """The only request of the profile that has such an answer; None if there is none, or more than one."""
        fitting = {
            (read.address, read.count)
            for read in self._reads()
            if read.function_code == function_code and read.count == count
        }
        return Question(function_code, *fitting.pop()) if len(fitting) == 1 else None

    def read_out(self, question: Question, image: Registers) -> tuple[list[DecodedReading], dict[str, Any]]:
        """The readings that an answer holds, and what is said beside them.

        Args:
            question: whose answer came.
            image: all that was read of this table, the answer included.
        """
        assert question.address is not None
        span = range(question.address, question.address + question.count)
        held = [
            placed
            for placed in self._placed
            if placed.field.function_code == question.function_code
            and placed.field.address in span
            and placed.field.end - 1 in span
        ]
        readings, raw, places, unknown = [], [], [], set()
        for placed in held:
            number = build_decoder(placed.field)(_words(image, placed.field), 0)
            raw.append({"quantity": placed.channel.quantity, "number": number})
            reason, missing = self._judge_states(placed, image)
            unknown |= missing
            if placed.channel.required_calibration is None:
                readings.append(_reading(placed.channel, number, reason))
                places.append(placed.place)
        info: dict[str, Any] = {"raw": raw} if raw else {}
        if any(places):
            info["places"] = places
        if unknown:
            info["state_not_read_yet"] = sorted(unknown)
        return readings, info | self._texts(question, image)

    def _reads(self) -> tuple[Read, ...]:
        """The requests for one place of the profile, and for its values alone."""
        first_place = next(iter(self.profile.places()))[1]
        fields = [channel.field(first_place) for channel in self.profile.channel]
        states = [state.field(0 if state.is_shared else first_place) for state in self.profile.state]
        beat = self.profile.heartbeat
        beats = [] if beat is None else [beat.field(0 if beat.is_shared else first_place)]
        return (*plan_reads(fields), *plan_reads([*fields, *states, *beats]))

    def _judge_states(self, placed: PlacedChannel, image: Registers) -> tuple[Reason, set[int]]:
        """What the state registers that were read say, and the addresses of those that were not."""
        missing = set()
        reason = Reason.OK
        for state in self.profile.state:
            if not state.is_about(placed.channel.quantity):
                continue
            where = state.field(0 if state.is_shared else placed.shift)
            if any(address not in image for address in range(where.address, where.end)):
                missing.add(where.address)
            elif reason is Reason.OK:
                reason = state.reason_of(int(build_decoder(where)(_words(image, where), 0)))
        return reason, missing

    def _texts(self, question: Question, image: Registers) -> dict[str, Any]:
        assert question.address is not None
        span = range(question.address, question.address + question.count)
        return {
            text.name: decode_text([image[text.address + at] for at in range(text.word_count)], text.word_order)
            for text in self.profile.text
            if text.function_code == question.function_code
            and text.address in span
            and text.address + text.word_count - 1 in span
        }


@dataclass(slots=True)
class _Conversation:
    """What both directions know: the questions that wait, and what was read of each device."""

    registers: RegisterMap | None
    waiting: dict[tuple[int | None, int, int], Question] = field(default_factory=dict)
    """By transaction, device id and function code."""
    images: dict[tuple[int, int], Registers] = field(default_factory=dict)
    """By device id and function code."""

    def decode(self, message: ModbusMessage, may_ask: bool, may_answer: bool) -> Decoded:
        code = message.pdu[0] & ~EXCEPTION_BIT
        key = (message.transaction, message.device_id, code)
        question = self.waiting.get(key)
        info = _describe_head(message, code)
        if may_answer and message.pdu[0] & EXCEPTION_BIT:
            self.waiting.pop(key, None)
            return _reject_exception(message, question)
        if may_answer and (question is not None or not may_ask or parse_question(message.pdu) is None):
            answer = self._answer(message, question)
            if answer is not None:
                self.waiting.pop(key, None)
                return DecodedFrame(message.offset, message.octets, answer[0], info | {"kind": "answer"} | answer[1])
        asked = parse_question(message.pdu) if may_ask else None
        if asked is not None:
            self.waiting[key] = asked
            return DecodedFrame(
                message.offset, message.octets, (), info | {"kind": "question"} | _describe_question(asked)
            )
        if code in _UNDERSTOOD:
            detail = f"function {code}: {message.pdu.hex()} does not fit {_describe(question)}"
            return Rejected(message.offset, message.octets, Reason.MALFORMED_FRAME, detail)
        return DecodedFrame(message.offset, message.octets, (), info | {"data_hex": message.pdu[1:].hex()})

    def _answer(
        self, message: ModbusMessage, question: Question | None
    ) -> tuple[Sequence[DecodedReading], dict[str, Any]] | None:
        """Readings and info of an answer; None if it is none."""
        pdu = message.pdu
        if question is not None and is_echo_of(pdu, question):
            return (), {"confirms": _describe_question(question)}
        numbers = parse_numbers(pdu, question)
        if numbers is None:
            return None
        name = "bits" if pdu[0] in {1, 2} else "registers"
        info: dict[str, Any] = {name: list(numbers)}
        if question is None and self.registers is not None:
            question = self.registers.guess_question(pdu[0], len(numbers))
            info |= {} if question is None else {"is_address_assumed": True}
        if question is None or question.address is None or self.registers is None:
            return (), info | ({} if question is None else {"address": question.address})
        image = self.images.setdefault((message.device_id, pdu[0]), {})
        image |= {question.address + at: number for at, number in enumerate(numbers)}
        readings, beside = self.registers.read_out(question, image)
        return readings, info | {"address": question.address} | beside


_UNDERSTOOD = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})


class _RegisterDecoder:
    """One stream: of both directions mixed, of questions, or of answers."""

    def __init__(self, conversation: _Conversation, may_ask: bool, may_answer: bool) -> None:
        self._conversation = conversation
        self._may_ask = may_ask
        self._may_answer = may_answer
        self._scanner = ModbusScanner()

    def feed(self, octets: bytes) -> list[Decoded]:
        """See decoded.Decoder."""
        return [self._decode(found) for found in self._scanner.feed(octets)]

    def finish(self) -> list[Decoded]:
        """See decoded.Decoder."""
        return [self._decode(found) for found in self._scanner.finish()]

    def _decode(self, found: ModbusMessage | NoMessage) -> Decoded:
        if isinstance(found, NoMessage):
            detail = "wrong checksum" if found.reason is Reason.CRC_ERROR else "in no Modbus frame (RTU, TCP or ASCII)"
            return Rejected(found.offset, found.octets, found.reason, detail)
        return self._conversation.decode(found, self._may_ask, self._may_answer)


@dataclass(frozen=True, slots=True)
class RegisterDecoders:
    """Decoders for a profile with registers; None: for any Modbus traffic, without readings."""

    profile: ModbusProfile | None
    title: str = "Modbus RTU, TCP and ASCII traffic"

    def build(self) -> Decoder:
        """See decoded.DecoderSource."""
        return _RegisterDecoder(self._conversation(), may_ask=True, may_answer=True)

    def build_pair(self) -> tuple[Decoder, Decoder]:
        """See decoded.DecoderSource."""
        shared = self._conversation()
        return _RegisterDecoder(shared, True, False), _RegisterDecoder(shared, False, True)

    def _conversation(self) -> _Conversation:
        return _Conversation(None if self.profile is None else RegisterMap(self.profile))


def register_decoders(profile: ModbusProfile) -> RegisterDecoders:
    """What decodes the traffic of a device with this profile."""
    return RegisterDecoders(profile, profile.title)


def _reading(channel: RegisterChannel, number: float, reason: Reason) -> DecodedReading:
    convert = register_conversion(channel, conversion_of({}, channel))
    _, value, judged = judge_number(0, number, convert, *bounds_of(channel), reason)
    return DecodedReading(channel.quantity, value, judged)


def _words(image: Registers, where: Field) -> list[int]:
    return [image[address] for address in range(where.address, where.end)]


def _describe_head(message: ModbusMessage, function_code: int) -> dict[str, Any]:
    head = {"framing": message.framing, "device_id": message.device_id, "function_code": function_code}
    return head if message.transaction is None else head | {"transaction": message.transaction}


def _describe_question(question: Question) -> dict[str, Any]:
    if question.address is None:
        return {}
    described: dict[str, Any] = {"address": question.address, "count": question.count}
    return described | ({"written": list(question.written)} if question.written else {})


def _describe(question: Question | None) -> str:
    if question is None or question.address is None:
        return "no question that was seen"
    return f"the question for {question.count} from address {question.address} on"


def _reject_exception(message: ModbusMessage, question: Question | None) -> Rejected:
    if len(message.pdu) != 2:
        return Rejected(message.offset, message.octets, Reason.MALFORMED_FRAME, "an exception has one byte")
    code = message.pdu[1]
    detail = (
        f"exception {code} of device {message.device_id} to function {message.pdu[0] & ~EXCEPTION_BIT}, "
        f"{_describe(question)}"
    )
    return Rejected(message.offset, message.octets, reason_of_modbus_exception(code), detail)
