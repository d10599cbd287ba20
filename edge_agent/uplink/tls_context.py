"""TLS to the broker (shell: reads the certificate files): the context of one connection, and what a failure means.

The files are read at each connect, so that a renewed certificate is used without a restart. There is no setting that
turns off the check of the broker's certificate or of its name, and nothing here ever falls back to plain text.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import CredentialError

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_ALERTS: Final = (
    ("CERTIFICATE_REQUIRED", "the broker wants a client certificate: set certificate_file and key_file"),
    ("CERTIFICATE_EXPIRED", "the broker says that {certificate} has expired: renew it"),
    ("CERTIFICATE_REVOKED", "the broker says that {certificate} is revoked: enrol this gateway again"),
    ("UNKNOWN_CA", "the broker does not know the authority that signed {certificate}"),
    ("BAD_CERTIFICATE", "the broker does not accept {certificate}"),
    ("CERTIFICATE_UNKNOWN", "the broker does not accept {certificate}"),
    ("UNSUPPORTED_CERTIFICATE", "the broker does not accept {certificate} for a client"),
    ("ACCESS_DENIED", "the broker lets the holder of {certificate} not in"),
    ("HANDSHAKE_FAILURE", "no TLS version or cipher in common with the broker, or no client certificate given"),
    ("PROTOCOL_VERSION", "the broker's TLS version is older than minimum_version"),
    ("WRONG_VERSION_NUMBER", "the broker does not speak TLS on this port"),
    (
        "UNEXPECTED_EOF",
        "the connection was closed during the handshake: perhaps the broker does not speak TLS on this port",
    ),
)
"""Names in OpenSSL's error texts, the alerts of RFC 8446 section 6.2 among them, and what they mean here."""


_NO_PEM: Final = ("no start line", "pem lib", "no certificate or crl found")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a context is made of; paths are whole."""

    ca_file: Path
    certificate_file: Path | None
    key_file: Path | None
    server_name: str
    """The name that the broker's certificate must carry."""
    minimum_version: str
    """"1.2" or "1.3"."""


class NamedContext(ssl.SSLContext):
    """A context that checks for one server name, whatever address the client connects to."""

    server_name: str
    _last: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **settings: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """As the base class does, with our server name (also in SNI)."""
        self._last = super().wrap_socket(*arguments, **{**settings, "server_hostname": self.server_name})
        return self._last

    def close_failed(self) -> None:
        """Closes the socket whose handshake has failed: paho has forgotten it."""
        if self._last is not None:
            self._last.close()


def build_tls_context(files: TlsFiles) -> NamedContext:
    """Reads the files. Raises CredentialError, which names the file that is at fault."""
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.server_name = files.server_name
    context.minimum_version = _VERSIONS[files.minimum_version]
    try:
        context.load_verify_locations(cafile=files.ca_file)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise CredentialError(f"ca_file {files.ca_file}: {_reason(error)}") from error
    if files.certificate_file is not None and files.key_file is not None:
        _load_own_certificate(context, files.certificate_file, files.key_file)
    return context


def explain_tls_failure(text: str, files: TlsFiles) -> str:
    """What a failure of the handshake means, in words that name the file: empty if it is not one of TLS.

    Args:
        text: OpenSSL's or Python's words.
        files: what the context was made of.
    """
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"the broker's certificate is refused (ca_file {files.ca_file}, server name {files.server_name!r}): "
            "it must be signed by that authority, be in date and carry that name"
        )
    upper = text.upper().replace(" ", "_")
    if "SSL" not in upper:
        return ""
    own = f"certificate_file {files.certificate_file}" if files.certificate_file else "a client without certificate"
    return next((meaning.format(certificate=own) for name, meaning in _ALERTS if name in upper), "")


def _load_own_certificate(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    for name, path in (("certificate_file", certificate_file), ("key_file", key_file)):
        try:
            path.read_bytes()
        except OSError as error:
            raise CredentialError(f"{name} {path}: {_reason(error)}") from error
    try:
        context.load_cert_chain(certificate_file, key_file, password=_refuse_password)
    except (OSError, ValueError, ssl.SSLError) as error:
        text = f"certificate_file {certificate_file} and key_file {key_file}: {_reason(error)}"
        raise CredentialError(text) from error


def _refuse_password() -> str:
    """OpenSSL would ask at the terminal; nobody sits at a gateway."""
    raise ValueError("the key is encrypted; a gateway needs one without a pass phrase, readable by the agent only")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        words = (error.reason or str(error)).replace("_", " ").lower()
        return "holds no PEM of that kind" if any(text in words for text in _NO_PEM) else words
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
