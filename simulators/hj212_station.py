"""A station that reports by HJ 212-2017: it keeps each report until it is answered, and does what it is asked. Pure.

Reports with Flag bit 0 are sent again when no 9014 comes in time; requests are answered by 9011 and 9012. It is told
the time of its own clock; setting it (CN 1012) is remembered, not done. It tells its settings when it is asked (CN
1011, 1061, 1063), and keeps the intervals that it is given (1062, 1064).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulators.hj212_frame import make_frame, split_frames

TOLD = {"1011": "SystemTime", "1061": "RtdInterval", "1063": "MinInterval"}
"""What each question is for."""


@dataclass(slots=True)
class _Report:
    frame: bytes
    due_s: float
    tries: int = 1


@dataclass(slots=True)
class Hj212Station:
    """One station; every method gives the bytes that it puts on the line."""

    mn: str
    password: str
    system: str = "32"
    over_time_s: float = 1.0
    retries: int = 3
    answered: list[str] = field(default_factory=list)
    """Numbers of reports that the centre has."""
    given_up: list[str] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    """What the centre asked, in order, repetitions included."""
    is_deaf: bool = False
    """Answers no request."""
    settings: dict[str, str] = field(default_factory=lambda: {"RtdInterval": "60", "MinInterval": "10"})
    """By parameter; with SystemTime it tells that one, too."""
    is_stubborn: bool = False
    """Accepts what is set, and goes on as before."""
    _waiting: dict[str, _Report] = field(default_factory=dict)
    _buffer: bytearray = field(default_factory=bytearray)

    def report(
        self,
        number: str,
        command: str,
        groups: Sequence[Mapping[str, str]],
        now_s: float,
        *,
        packet: tuple[int, int] | None = None,
        is_check_wrong: bool = False,
    ) -> bytes:
        """A report that wants an answer.

        Args:
            number: QN.
            command: CN.
            groups: of the parameters, such as {"DataTime": …} and {"w01018-Rtd": …, "w01018-Flag": "N"}.
            now_s: clock of the simulation.
            packet: (which, of how many).
            is_check_wrong: the first time; it is right when it is sent again.
        """
        fields = {"QN": number, "ST": self.system, "CN": command, "PW": self.password, "MN": self.mn}
        fields["Flag"] = "5" if packet is None else "7"
        if packet is not None:
            fields |= {"PNUM": str(packet[1]), "PNO": str(packet[0])}
        parameters = ";".join(",".join(f"{key}={content}" for key, content in group.items()) for group in groups)
        frame = make_frame(fields, parameters)
        self._waiting[number] = _Report(frame, now_s + self.over_time_s)
        return make_frame(fields, parameters, is_check_wrong=True) if is_check_wrong else frame

    def tick(self, now_s: float) -> bytes:
        """What is sent again; what was sent often enough is given up."""
        out = b""
        for number, report in list(self._waiting.items()):
            if now_s < report.due_s:
                continue
            if report.tries > self.retries:
                del self._waiting[number]
                self.given_up.append(number)
                continue
            report.tries += 1
            report.due_s = now_s + self.over_time_s
            out += report.frame
        return out

    def receive(self, octets: bytes) -> bytes:
        """Takes what the centre says; gives the answers. Raises ValueError at bytes that are no right frame."""
        self._buffer += octets
        return b"".join(self._obey(fields) for fields in split_frames(self._buffer))

    def _obey(self, fields: dict[str, str]) -> bytes:
        if fields["CN"] in {"9013", "9014"}:
            if self._waiting.pop(fields["QN"], None) is not None:
                self.answered.append(fields["QN"])
            return b""
        self.requests.append(fields)
        if self.is_deaf:
            return b""
        said = {"QN": fields["QN"], "ST": "91", "PW": self.password, "MN": self.mn}
        accepted = make_frame({**said, "CN": "9011", "Flag": "4"}, "QnRtn=1")
        if not self.is_stubborn:
            self._set(fields["CP"])
        return accepted + self._tell(fields) + make_frame({**said, "CN": "9012", "Flag": "4"}, "ExeRtn=1")

    def _set(self, parameters: str) -> None:
        given = dict(pair.split("=", 1) for pair in parameters.split(";") if "=" in pair)
        self.settings |= {name: content for name, content in given.items() if name in self.settings}

    def _tell(self, asked: Mapping[str, str]) -> bytes:
        """The answer to a question for a setting, if it is one."""
        name = TOLD.get(asked["CN"])
        if name is None or name not in self.settings:
            return b""
        fields = {"QN": asked["QN"], "ST": self.system, "CN": asked["CN"], "PW": self.password, "MN": self.mn}
        return make_frame({**fields, "Flag": "4"}, f"{name}={self.settings[name]}")
