"""Configuration files of the demonstration city on the real servers, as TOML text. Pure.

Console and broker are as in the embedded city (`deploy.configuration_text`); the stream processor is five programs, and
registry and alarm service keep their tables in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from deploy.configuration_text import (
    HOST,
    HOST_ID,
    RENDERERS,
    City,
    Table,
    listen,
    principals,
    render_document,
    upstream,
)
from deploy.stack import recipe
from deploy.stack.addresses import INFLUXDB, KAFKA, POSTGRESQL

PARTITIONS: Final = 4
"""As many workers of a job could share the demonstration city."""
ROLES: Final = ("bridge", "score", "store", "archive")
READ: Final = "stream-processor"
"""The read process has the place of the embedded stream processor: the console asks it."""


def render_broker(city: City) -> str:
    """`broker.toml`: as in the embedded city, with the number of partitions."""
    return f"{RENDERERS['broker'](city)}\n[kafka]\npartitions = {PARTITIONS}\n"


def render_alarm_service(city: City) -> str:
    """`alarm-service.toml`."""
    return render_document(
        ("[http]", listen(city, "alarm-service")),
        ("[store]", _database(city, "alarm_service")),
        ("[kafka]", {"servers": [_kafka_address(city)], "group": "alarm-service"}),
        *principals(city, "alarm-service"),
    )


def render_device_registry(city: City) -> str:
    """`device-registry.toml`."""
    return render_document(
        ("[http]", listen(city, "device-registry")),
        ("[store]", _database(city, "device_registry")),
        *principals(city, "device-registry"),
    )


def render_bridge(city: City) -> str:
    """`bridge.toml`."""
    mqtt: Table = {
        "host": HOST,
        "port": city.ports["broker"],
        "username": HOST_ID,
        "password_file": city.run.password(HOST_ID),
        "host_id": HOST_ID,
    }
    return render_document(
        ("", {"directory": city.run.data("bridge")}),
        ("[mqtt]", mqtt),
        ("[kafka]", _kafka(city)),
        ("[registry]", _registry(city)),
    )


def render_score(city: City) -> str:
    """`score.toml`."""
    return render_document(
        ("[kafka]", _kafka(city)),
        ("[job]", {"group": "score", "worker": "score-1"}),
        ("[score]", {"fleet_file": city.run.data("score-fleet.json")}),
        ("[registry]", _registry(city)),
    )


def render_store(city: City) -> str:
    """`store.toml`."""
    return render_document(
        ("", {"directory": city.run.data("store-job")}),
        ("[kafka]", _kafka(city)),
        ("[job]", {"group": "store", "worker": "store-1"}),
        ("[influxdb]", _influx(city)),
        ("[registry]", _registry(city)),
    )


def render_archive(city: City) -> str:
    """`archive.toml`."""
    return render_document(
        ("[kafka]", _kafka(city)),
        ("[job]", {"group": "archive", "worker": "archive-1"}),
        ("[archive]", {"directory": city.run.data("archive")}),
        ("[registry]", _registry(city)),
    )


def render_read(city: City) -> str:
    """`stream-processor.toml`, of the read process."""
    return render_document(
        ("", {"directory": city.run.data("read")}),
        ("[http]", listen(city, READ)),
        ("[kafka]", _kafka(city)),
        ("[influxdb]", _influx(city)),
        ("[registry]", _registry(city)),
        *principals(city, READ),
    )


STACK_RENDERERS: Final[Mapping[str, Callable[[City], str]]] = {
    **RENDERERS,
    "alarm-service": render_alarm_service,
    "archive": render_archive,
    "bridge": render_bridge,
    "broker": render_broker,
    "device-registry": render_device_registry,
    "score": render_score,
    "store": render_store,
    READ: render_read,
}
"""Every file that stands in the run directory's `config/`, by its name."""


def _kafka(city: City) -> Table:
    return {"servers": [_kafka_address(city)], "partitions": PARTITIONS}


def _kafka_address(city: City) -> str:
    return f"{HOST}:{city.ports[KAFKA]}"


def _influx(city: City) -> Table:
    return {"url": city.url(INFLUXDB), "org": recipe.ORGANISATION, "token_file": city.run.token(INFLUXDB)}


def _registry(city: City) -> Table:
    return upstream(city, "device-registry", "stream-processor")


def _database(city: City, name: str) -> Table:
    return {
        "url": f"postgresql://{recipe.DATABASE_USER}@{HOST}:{city.ports[POSTGRESQL]}/{name}",
        "password_file": recipe.secret_file(city.run, POSTGRESQL),
    }
