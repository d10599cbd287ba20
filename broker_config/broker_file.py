"""The files that a broker needs, by kind of broker: name and text, from one description. Pure.

The same description, passwords and salts give the same files, so that files on disk can be held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from broker_config import emqx, kafka_topic, mosquitto, rumqttd
from broker_config.configuration import BrokerSettings


class Kind(StrEnum):
    """What files can be rendered for."""

    MOSQUITTO = "mosquitto"
    EMQX = "emqx"
    RUMQTTD = "rumqttd"
    KAFKA = "kafka"

    @property
    def needs_passwords(self) -> bool:
        """Whether the files hold passwords, in clear or hashed."""
        return self in {Kind.MOSQUITTO, Kind.RUMQTTD}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of everybody who has a password, by user name."""

    passwords: Mapping[str, str]
    """In clear."""
    salts: Mapping[str, bytes]
    """Random, one each; those of the files on disk if there are such."""


SECRET_FILES: Final = frozenset({mosquitto.PASSWORD_FILE_NAME, rumqttd.CONFIGURATION_NAME})
"""Files whose content is shown to nobody, not even as a difference."""


def build_files(
    kind: Kind, settings: BrokerSettings, directory: str, persistence_directory: str, credentials: Credentials
) -> Mapping[str, str]:
    """Text of each file, by name. Raises ValueError if this kind cannot do what the description says.

    Args:
        kind: of which broker.
        settings: the description; the paths of its TLS files are absolute.
        directory: absolute path of the directory that the files will stand in.
        persistence_directory: absolute path of `settings.persistence.directory`.
        credentials: empty for a kind that needs none.
    """
    return _BUILDERS[kind](settings, directory, persistence_directory, credentials)


def find_differences(wanted: Mapping[str, str], found: Mapping[str, str | None]) -> Iterator[str]:
    """Lines that say how files on disk (None: absent) differ from what they should be; none if they do not."""
    for name, text in wanted.items():
        on_disk = found[name]
        if on_disk is None:
            yield f"{name}: absent"
        elif on_disk != text and name in SECRET_FILES:
            yield f"{name}: differs"
        elif on_disk != text:
            lines = unified_diff(on_disk.splitlines(), text.splitlines(), f"{name} (on disk)", name, lineterm="")
            yield from lines


def _build_mosquitto(
    settings: BrokerSettings, directory: str, persistence_directory: str, credentials: Credentials
) -> Mapping[str, str]:
    lines = [
        mosquitto.render_password_line(user_name, password, credentials.salts[user_name])
        for user_name, password in credentials.passwords.items()
    ]
    return {
        mosquitto.PASSWORD_FILE_NAME: "".join(f"{line}\n" for line in lines),
        mosquitto.ACCESS_LIST_NAME: mosquitto.render_access_list(settings),
        mosquitto.CONFIGURATION_NAME: mosquitto.render_configuration(settings, directory, persistence_directory),
    }


def _build_emqx(
    settings: BrokerSettings, directory: str, persistence_directory: str, _credentials: Credentials
) -> Mapping[str, str]:
    return {
        emqx.ACCESS_LIST_NAME: emqx.render_access_list(settings),
        emqx.CONFIGURATION_NAME: emqx.render_configuration(settings, directory, persistence_directory),
    }


def _build_rumqttd(
    settings: BrokerSettings, _directory: str, _persistence_directory: str, credentials: Credentials
) -> Mapping[str, str]:
    if settings.tls_listener is not None:
        raise ValueError("$.tls_listener: rumqttd is for a demonstration on loopback; take mosquitto or emqx")
    return {rumqttd.CONFIGURATION_NAME: rumqttd.render_configuration(settings, credentials.passwords)}


def _build_kafka(
    settings: BrokerSettings, _directory: str, _persistence_directory: str, _credentials: Credentials
) -> Mapping[str, str]:
    return {kafka_topic.SCRIPT_NAME: kafka_topic.render_script(settings.kafka)}


_BUILDERS: Final[Mapping[Kind, Callable[[BrokerSettings, str, str, Credentials], Mapping[str, str]]]] = (
    MappingProxyType(
        {
            Kind.MOSQUITTO: _build_mosquitto,
            Kind.EMQX: _build_emqx,
            Kind.RUMQTTD: _build_rumqttd,
            Kind.KAFKA: _build_kafka,
        }
    )
)
