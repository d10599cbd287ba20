"""The way to the broker (shell: reads password and certificate files): opens connections, one after the other.

What a connection needs is read anew each time, so that a renewed certificate or password counts at once. A file that
cannot be used is an error that names it; nothing is tried without it.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from edge_agent.errors import CredentialError
from edge_agent.settings.uplink_settings import BrokerSettings, MqttSettings
from edge_agent.uplink.broker_choice import EndKind, after_end, first_choice
from edge_agent.uplink.mqtt_connection import ConnectionEnded, MqttConnection, Report, Will
from edge_agent.uplink.tls_context import TlsFiles, build_tls_context, explain_tls_failure

_log = logging.getLogger(__name__)


class BrokerLink:
    """Knows which broker is next, and with which version of MQTT."""

    def __init__(self, settings: MqttSettings, folder: Path) -> None:
        """Opens nothing yet.

        Args:
            settings: the table `[mqtt]`.
            folder: what its paths are relative to.
        """
        self._settings = settings
        self._folder = folder
        self._brokers = (BrokerSettings(host=settings.host, port=settings.port), *settings.standby)
        self._choice = first_choice(settings.protocol)
        self._last_broker: int | None = None
        """The last one that a connection was ready with."""

    @property
    def name(self) -> str:
        """Host and port, for the log."""
        broker = self._brokers[self._choice.broker]
        return f"{broker.host}:{broker.port}"

    @property
    def broker_count(self) -> int:
        """How many brokers there are to choose from."""
        return len(self._brokers)

    def open(self, client_id: str, will: Will, topic_filters: list[str], report: Report) -> MqttConnection:
        """Begins a connection. Raises CredentialError."""
        settings, broker = self._settings, self._brokers[self._choice.broker]
        files = self._tls_files(broker)
        if files is not None:
            _warn_if_readable(files.key_file)
        return MqttConnection(
            client_id=client_id,
            host=broker.host,
            port=broker.port,
            protocol=self._choice.protocol,
            keepalive_s=settings.keepalive_s,
            username=settings.username,
            password=self._read_password(),
            tls=None if files is None else build_tls_context(files),
            will=will,
            topic_filters=topic_filters,
            report=report,
        )

    def ready(self) -> bool:
        """Notes that the connection stands; says whether it is to another broker than the last one that stood."""
        settings, choice = self._settings, self._choice
        _log.info("mqtt_connected broker=%s protocol=%s tls=%s", self.name, choice.protocol, settings.tls is not None)
        if settings.tls is None and not _is_this_machine(self._brokers[choice.broker].host):
            _log.warning("mqtt_not_encrypted broker=%s", self.name)
        is_other = self._last_broker is not None and self._last_broker != choice.broker
        self._last_broker = choice.broker
        return is_other

    def ended(self, end: ConnectionEnded) -> None:
        """Logs why, and chooses what is tried next."""
        files = self._tls_files(self._brokers[self._choice.broker])
        meaning = "" if files is None else explain_tls_failure(end.why, files)
        _log.warning("mqtt_ended broker=%s why=%r meaning=%r", self.name, end.why, meaning)
        if meaning:
            end = ConnectionEnded(EndKind.UNREACHABLE, end.why)  # no question of the version of MQTT
        before = self._choice
        self._choice = after_end(before, end.kind, len(self._brokers), self._settings.protocol)
        if self._choice.protocol != before.protocol:
            _log.warning(
                "mqtt_protocol_changed from=%s to=%s broker=%s", before.protocol, self._choice.protocol, self.name
            )

    def _tls_files(self, broker: BrokerSettings) -> TlsFiles | None:
        tls = self._settings.tls
        if tls is None:
            return None
        return TlsFiles(
            ca_file=self._folder / tls.ca_file,
            certificate_file=None if tls.certificate_file is None else self._folder / tls.certificate_file,
            key_file=None if tls.key_file is None else self._folder / tls.key_file,
            server_name=tls.server_name or broker.host,
            minimum_version=tls.minimum_version,
        )

    def _read_password(self) -> str | None:
        if self._settings.password_file is None:
            return None
        path = self._folder / self._settings.password_file
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialError(f"password_file {path}: {error}") from error


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _warn_if_readable(key_file: Path | None) -> None:
    """A key that others may read is used all the same: a gateway must not fall silent for that."""
    with contextlib.suppress(OSError):
        if key_file is not None and key_file.stat().st_mode & 0o077:
            _log.warning("key_readable_by_others key_file=%s wanted_mode=0600", key_file)
