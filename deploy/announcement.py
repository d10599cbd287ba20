"""What `citysense run` tells the newcomer: what runs, how to sign in, what will happen next, how to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.plan import Program

FAULT_TEXTS: Final[Mapping[str, str]] = {
    "no_answer": "stops answering: its value turns to bad quality, and no old value is shown as new",
    "crc_error": "answers with wrong checksums: bad quality, CRC error",
    "malformed": "answers with frames cut short: bad quality",
    "modbus_exception": "answers with a Modbus exception: bad quality, with the exception's reason",
    "out_of_range": "shows a value outside of its range: the value is kept, marked out of range",
    "not_a_number": "sends NaN: bad quality, not a number",
    "frozen": "freezes: it answers, but its heartbeat stands still",
    "warm_up": "is switched on and warms up: bad quality until it measures",
    "inhibited": "is inhibited for maintenance",
    "calibration": "is being calibrated: its value is not the city's air",
    "device_fault": "reports a fault of its own",
    "not_installed": "reports that its sensor is not there",
    "line_lost": "is lost as a whole line: one death certificate, not one alarm for each device",
}
_LEAST_WIDTH: Final = 12


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that the simulators will do."""

    at_s: float
    """Counted from the start of the field devices."""
    text: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """How a person gets into the console."""

    address: str
    user_name: str
    password: str


def read_happenings(field: Mapping[str, Any], fleet: Mapping[str, Any]) -> tuple[Happening, ...]:
    """The scenario of the simulators' `field.toml` in words, in the order of time; set-points are the fleet's."""
    set_points = dict(_set_points(fleet))
    rows = [row for table in field.values() if isinstance(table, list) for row in table if {"at_s", "kind"} <= set(row)]
    happenings = (Happening(float(row["at_s"]), _happening_text(row, set_points)) for row in rows)
    return tuple(sorted(happenings, key=lambda happening: happening.at_s))


def format_programs(programs: Iterable[Program], pids: Mapping[str, int]) -> str:
    """A table of what runs."""
    rows = [("program", "pid", "address")]
    rows += [(one.name, str(pids[one.name]), one.address or "-") for one in programs if one.name in pids]
    name_width = max(_LEAST_WIDTH, *(len(row[0]) for row in rows))
    return "\n".join(f"  {name:<{name_width}}  {pid:>7}  {address}" for name, pid, address in rows)


def format_moved_ports(preferred: Mapping[str, int], chosen: Mapping[str, int]) -> str:
    """One line for each port that is not the usual one; empty if all are."""
    moved = [name for name in preferred if preferred[name] != chosen[name]]
    return "\n".join(f"  port {preferred[name]} is taken: {name} uses {chosen[name]}" for name in moved)


def format_sign_in(sign_in: SignIn) -> str:
    """How to open the console."""
    return (
        f"Console   {sign_in.address}/\n"
        f"  user      {sign_in.user_name}\n"
        f"  password  {sign_in.password}   (for one sign-in within 24 h; another one: citysense password)"
    )


def format_happenings(
    happenings: Sequence[Happening], field_started_s: float, now_s: float, clock: Callable[[float], str]
) -> str:
    """What comes next, with the wall clock and the seconds from now.

    Args:
        happenings: in the order of time.
        field_started_s: when the field devices started, in the seconds of `now_s`.
        now_s: now.
        clock: writes a time as the wall clock shows it.
    """
    if not happenings:
        return "Nothing special will happen: the scenario is empty."
    lines = ["What will happen next:"]
    for happening in happenings:
        at_s = field_started_s + happening.at_s
        wait_s = round(at_s - now_s)
        when = f"in {wait_s} s" if wait_s > 0 else "now"
        lines.append(f"  {clock(at_s)}  {when:<9} {happening.text}")
    return "\n".join(lines)


def format_interface(viewer_token_path: str, stream_processor_url: str, log_folder: str) -> str:
    """How to look further, and how to stop."""
    return (
        f'Read API  curl -H "Authorization: Bearer $(cat {viewer_token_path})" {stream_processor_url}/v1/health\n'
        f"Logs      {log_folder}/\n"
        "Ctrl-C stops everything."
    )


def _set_points(fleet: Mapping[str, Any]) -> Iterable[tuple[tuple[str, str], list[float]]]:
    for node in fleet.get("node", ()):
        for channel in node.get("channel", ()):
            points = [float(condition["set_point"]) for condition in channel.get("condition", ())]
            yield (node["node_id"], channel["quantity"]), sorted(points)


def _happening_text(row: Mapping[str, Any], set_points: Mapping[tuple[str, str], list[float]]) -> str:
    subject, kind = row.get("node") or row.get("bus") or "?", row["kind"]
    if kind == "gas_leak":
        quantity = row.get("quantity", "methane_lel")
        points = [f"{point:g}" for point in set_points.get((subject, quantity), ()) if point < row["peak"]]
        alarm = f" the alarm is on the page within a second of {points[0]} %LEL" if points else " it raises no alarm"
        then = f", the next one at {points[1]}" if len(points) > 1 else ""
        return f"a gas leak grows at {subject}, to about {row['peak']:g} %LEL:{alarm}{then}"
    if kind == "fire":
        return f"fire at {subject}: the alarm is on the page within a second"
    lasting = f" for {row['for_s']:g} s" if "for_s" in row else ""
    return f"{subject}{lasting} {FAULT_TEXTS.get(kind, kind)}"
