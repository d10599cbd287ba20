"""The configuration file of each platform program, as TOML text.

The programs themselves check what stands here (`PROGRAM check-config`); a test asks every one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from contracts.access import Role, hash_token
from deploy.layout import RunDirectory

HOST: Final = "127.0.0.1"
HOST_ID: Final = "citysense"
"""Sparkplug host id, and the MQTT user name of the stream processor."""
CITY_NAME: Final = "Canghai"
"""As the simulators call their city."""
GATEWAY_IDS: Final = ("gw-harbour", "gw-riverside")
"""The gateways of the demonstration: each gets a password before its agent's file is written."""
PROGRAM_ROLES: Final[Mapping[str, Mapping[str, Role]]] = {
    "alarm-service": {"stream-processor": Role.PROCESSOR, "console": Role.ENGINEER, "viewer": Role.VIEWER},
    "device-registry": {"stream-processor": Role.PROCESSOR, "console": Role.ENGINEER, "viewer": Role.VIEWER},
    "stream-processor": {"console": Role.ENGINEER, "viewer": Role.VIEWER},
}
"""Who may call which service, and as what. `viewer` is for people who want to try the API."""
PRINCIPALS: Final = ("stream-processor", "console", "viewer")


Table = Mapping[str, str | int | list[str]]
"""Keys and values of one TOML table."""


@dataclass(frozen=True, slots=True)
class GatewayAccount:
    """A gateway that the demonstration has."""

    gateway_id: str
    district_id: str


@dataclass(frozen=True, slots=True)
class City:
    """All that the configuration files depend on."""

    run: RunDirectory
    ports: Mapping[str, int]
    tokens: Mapping[str, str]
    """Bearer tokens in clear, by principal; only their hashes get into a service's file."""
    gateways: tuple[GatewayAccount, ...]
    system_user: str
    """Whom Mosquitto runs as."""

    def url(self, program: str) -> str:
        """Where a service answers."""
        return f"http://{HOST}:{self.ports[program]}"


def render_alarm_service(city: City) -> str:
    """`alarm-service.toml`."""
    return render_document(
        ("[http]", listen(city, "alarm-service")),
        ("[store]", {"path": city.run.data("alarms.sqlite")}),
        *principals(city, "alarm-service"),
    )


def render_device_registry(city: City) -> str:
    """`device-registry.toml`."""
    return render_document(
        ("[http]", listen(city, "device-registry")),
        ("[store]", {"path": city.run.data("registry.sqlite")}),
        *principals(city, "device-registry"),
    )


def render_stream_processor(city: City) -> str:
    """`stream-processor.toml`."""
    mqtt: Table = {
        "host": HOST,
        "port": city.ports["broker"],
        "protocol": "5",
        "username": HOST_ID,
        "password_file": city.run.password(HOST_ID),
        "host_id": HOST_ID,
    }
    return render_document(
        ("[http]", listen(city, "stream-processor")),
        ("[mqtt]", mqtt),
        ("[store]", {"directory": city.run.data("store")}),
        ("[registry]", upstream(city, "device-registry", "stream-processor")),
        ("[alarm_service]", upstream(city, "alarm-service", "stream-processor")),
        *principals(city, "stream-processor"),
    )


def render_console(city: City) -> str:
    """`console.toml`."""
    return render_document(
        ("[http]", listen(city, "console")),
        ("[store]", {"path": city.run.data("console.sqlite")}),
        ("[city]", {"name": CITY_NAME}),
        ("[registry]", upstream(city, "device-registry", "console")),
        ("[alarm_service]", upstream(city, "alarm-service", "console")),
        ("[stream_processor]", upstream(city, "stream-processor", "console")),
    )


def render_broker(city: City) -> str:
    """`broker.toml`, for `broker-config render`."""
    listener: Table = {"host": HOST, "port": city.ports["broker"], "port_v311": city.ports["broker-v311"]}
    host = {"user_name": HOST_ID, "host_id": HOST_ID, "password_file": city.run.password(HOST_ID)}
    gateways: Iterable[tuple[str, Table]] = (
        (
            "[[gateway]]",
            {
                "gateway_id": account.gateway_id,
                "district_id": account.district_id,
                "password_file": city.run.password(account.gateway_id),
            },
        )
        for account in city.gateways
    )
    return render_document(
        ("", {"run_as": city.system_user}),
        ("[listener]", listener),
        ("[persistence]", {"directory": city.run.data("broker")}),
        ("[[host]]", host),
        *gateways,
    )


RENDERERS: Final[Mapping[str, Callable[[City], str]]] = {
    "alarm-service": render_alarm_service,
    "broker": render_broker,
    "console": render_console,
    "device-registry": render_device_registry,
    "stream-processor": render_stream_processor,
}
"""Every file that stands in the run directory's `config/`, by its name."""


def listen(city: City, program: str) -> Table:
    """`[http]` of a service."""
    return {"host": HOST, "port": city.ports[program]}


def upstream(city: City, service: str, caller: str) -> Table:
    """How a program calls a service."""
    return {"url": city.url(service), "token_file": city.run.token(caller)}


def principals(city: City, service: str) -> Iterable[tuple[str, Table]]:
    """Who may call a service."""
    for name, role in PROGRAM_ROLES[service].items():
        yield "[[principal]]", {"name": name, "role": role.value, "token_sha256": hash_token(city.tokens[name])}


def render_document(*tables: tuple[str, Table]) -> str:
    """Headers and their tables as TOML; the empty header comes first."""
    lines = ["# Written by `citysense run` at each start; changes here are lost."]
    for header, table in tables:
        lines += ["", *([header] if header else [])]
        # A JSON string is a TOML basic string as long as nothing outside ASCII is escaped.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
