"""Where the servers are: by variables of the environment, or in `servers.env` of a run, one line a variable.

| variable | value |
|---|---|
| CITYSENSE_BROKER | host:port (MQTT) |
| CITYSENSE_KAFKA | host:port, or several with commas (bootstrap servers) |
| CITYSENSE_INFLUXDB | URL |
| CITYSENSE_POSTGRESQL | host:port |

A server whose variable the user has set is used as it is and not started here. For those that `make stack` started,
`…_USER`, `…_ORG`, `…_PASSWORD_FILE` and `…_TOKEN_FILE` stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from deploy.plan import Accepts

BROKER: Final = "mosquitto"
KAFKA: Final = "kafka"
INFLUXDB: Final = "influxdb"
POSTGRESQL: Final = "postgresql"
SERVERS: Final = (BROKER, KAFKA, INFLUXDB, POSTGRESQL)
VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        BROKER: "CITYSENSE_BROKER",
        KAFKA: "CITYSENSE_KAFKA",
        INFLUXDB: "CITYSENSE_INFLUXDB",
        POSTGRESQL: "CITYSENSE_POSTGRESQL",
    }
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def read_given(environment: Mapping[str, str], servers: Iterable[str]) -> dict[str, str]:
    """The addresses that the user has set, by server. Raises ValueError for one that is none."""
    given = {name: environment[VARIABLES[name]].strip() for name in servers if environment.get(VARIABLES[name])}
    for name, address in given.items():
        parse_endpoint(name, address)
    return given


def parse_endpoint(server: str, address: str) -> Accepts:
    """Host and port of an address; of several, the first. Raises ValueError, saying what is allowed."""
    if server == INFLUXDB:
        parts = urlsplit(address)
        if parts.scheme in _DEFAULT_PORTS and parts.hostname:
            return Accepts(parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
        raise ValueError(f"{VARIABLES[server]}: {address!r}: http://host:port or https://host:port is wanted")
    host, colon, port = address.partition(",")[0].strip().rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{VARIABLES[server]}: {address!r}: host:port is wanted")
    return Accepts(host.strip("[]"), int(port))


def format_environment(variables: Mapping[str, str]) -> str:
    """The text of `servers.env`: for `. FILE` in a shell, or `parse_environment`."""
    for name, value in variables.items():
        if any(character in value for character in "'\n"):
            raise ValueError(f"{name}: {value!r} has a quote or a line break")
    return "".join(f"{name}='{value}'\n" for name, value in variables.items())


def parse_environment(text: str) -> dict[str, str]:
    """The variables of a `servers.env`."""
    pairs = (line.partition("=") for line in text.splitlines() if line.strip())
    return {name: value.strip("'") for name, _, value in pairs}
