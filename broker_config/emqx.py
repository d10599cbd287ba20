"""EMQX 5: `emqx.conf` (HOCON) and its access list `acl.conf` (Erlang terms).

EMQX has one listener here, over TLS with client certificates: CN = user name = client id, by the same rules as
Mosquitto's TLS listener. Its listeners without TLS, its websockets and its dashboard's port are closed. It knows no
passwords, hence the host needs a certificate too, in the name `host.user_name`.

A rule is `{allow, Who, publish | subscribe, [TopicFilter]}.`; the first that fits decides, and `{deny, all}` ends the
list. A refused MQTT 5 publish is answered 0x87 (`deny_action = ignore`). Rules are searched one after another for each
message of a client whose answer is not cached: EMQX advises against hundreds of them, so a city sets
`are_gateways_enrolled`, which gives one set of rules with `${username}` for all. As a certificate might carry a name
that is a topic filter, names outside of our alphabet are refused before any other rule.

The queue of a client that is away is in memory and ends with the server; retained messages (STATE) are on disk. The
durable queue is the agent's spool.

Sources: emqx/emqx at commit 50e04386 (August 2026): `apps/emqx/src/emqx_schema.erl`, `emqx_retainer_schema.erl`,
`emqx_dashboard_schema.erl`, `rel/config/examples/`, `apps/emqx_auth/etc/acl.conf` (grammar of the rules). No EMQX
server was to be had: every key was held against those schemas, the text is held by golden files; it was not run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import Final

from broker_config.configuration import BrokerSettings, GatewayUser, HostUser, Limits, TlsListener
from broker_config.host_rights import commanded_by, heard_by
from contracts.sparkplug.topic import NAMESPACE, STATE, MessageType, StateTopic

CONFIGURATION_NAME: Final = "emqx.conf"
ACCESS_LIST_NAME: Final = "acl.conf"
HEADER_BYTES_MAX: Final = 4096
"""What a packet may hold beside its payload: fixed header, topic, properties."""
_STRANGE_NAME: Final = "[^A-Za-z0-9._-]"


def render_configuration(settings: BrokerSettings, directory: str, persistence_directory: str) -> str:
    """`emqx.conf`. Raises ValueError without a TLS listener.

    Args:
        settings: the description; the paths of its TLS files are absolute.
        directory: absolute path of the directory that holds the access list.
        persistence_directory: absolute path of `settings.persistence.directory`.
    """
    if settings.tls_listener is None:
        raise ValueError("$.tls_listener: absent; EMQX is configured for clients with certificates only")
    lines = [
        "# Rendered by `broker-config render`; change the description, not this file.",
        "# The nodes' secret is not in it: set EMQX_NODE__COOKIE.",
        *_block(
            "node",
            [
                'name = "emqx@127.0.0.1"',
                f"data_dir = {_quote(persistence_directory)}",
            ],
        ),
        "dashboard.listeners.http.bind = 0",
        *(f"listeners.{kind}.default.enable = false" for kind in ("tcp", "ws", "wss")),
        *_block("listeners.ssl.default", _listener_lines(settings.tls_listener, settings.limits)),
        *_block("mqtt", _mqtt_lines(settings.limits)),
        *_block("retainer", _retainer_lines(settings.limits)),
        *_block("authorization", _authorization_lines(directory)),
    ]
    return "\n".join(lines) + "\n"


def render_access_list(settings: BrokerSettings) -> str:
    """`acl.conf`."""
    rules = [
        "%% Rendered by `broker-config render`; change the description, not this file.",
        f"{{deny, {{username, {{re, {_quote(_STRANGE_NAME)}}}}}, all, [{_quote('#')}]}}.",
        *(rule for host in settings.host for rule in _host_rules(host)),
    ]
    if settings.are_gateways_enrolled:
        rules += _gateway_rules("all", "+", "${username}")
    else:
        for gateway in settings.gateway:
            rules += _listed_rules(gateway)
    return "\n".join([*rules, "{deny, all}."]) + "\n"


def _listener_lines(listener: TlsListener, limits: Limits) -> list[str]:
    host = ip_address(listener.host)
    address = f"[{host}]" if isinstance(host, IPv6Address) else str(host)
    files = {"cacertfile": listener.client_ca_file, "certfile": listener.certificate_file, "keyfile": listener.key_file}
    return [
        f'bind = "{address}:{listener.port}"',
        f"max_connections = {limits.max_connections}",
        "tcp_options.nodelay = true",
        *_block(
            "ssl_options",
            [
                *(f"{name} = {_quote(path)}" for name, path in files.items()),
                "versions = [tlsv1.3, tlsv1.2]",
                "verify = verify_peer",
                "fail_if_no_peer_cert = true",
                # Its CRLs come from the distribution point in the certificate, never from a file.
                *(["enable_crl_check = true"] if listener.revoked_file else []),
            ],
        ),
    ]


def _mqtt_lines(limits: Limits) -> list[str]:
    return [
        f"max_packet_size = {min(limits.max_payload_bytes + HEADER_BYTES_MAX, 268_435_455)}B",
        f"max_inflight = {limits.max_inflight_messages}",
        f"max_mqueue_len = {limits.max_queued_messages}",
        "mqueue_store_qos0 = false",
        "peer_cert_as_username = cn",
        "peer_cert_as_clientid = cn",
        "use_username_as_clientid = true",
        "strict_mode = true",
    ]


def _retainer_lines(limits: Limits) -> list[str]:
    backend = _block("backend", ["type = built_in_database", "storage_type = disc"])
    return ["enable = true", f"max_payload_size = {limits.max_payload_bytes}B", *backend]


def _authorization_lines(directory: str) -> list[str]:
    source = f"{{type = file, enable = true, path = {_quote(f'{directory}/{ACCESS_LIST_NAME}')}}}"
    return ["no_match = deny", "deny_action = ignore", "cache.enable = true", f"sources = [{source}]"]


def _host_rules(host: HostUser) -> list[str]:
    who = f"{{username, {_quote(host.user_name)}}}"
    return [
        _rule(who, "subscribe", heard_by(host)),
        _rule(who, "publish", [*commanded_by(host), str(StateTopic(host.host_id))]),
    ]


def _listed_rules(gateway: GatewayUser) -> list[str]:
    return list(_gateway_rules(f"{{username, {_quote(gateway.gateway_id)}}}", gateway.district_id, gateway.gateway_id))


def _gateway_rules(who: str, district: str, gateway: str) -> Iterator[str]:
    """What a gateway hears and says. A subscription to `…/NCMD/<gateway>/#`, as others' edge nodes make, fits too."""
    heard = [f"{NAMESPACE}/{district}/{each}/{gateway}/#" for each in MessageType if each.is_command]
    said = [
        f"{NAMESPACE}/{district}/{each}/{gateway}{'/+' if each.is_of_device else ''}"
        for each in MessageType
        if not each.is_command
    ]
    yield _rule(who, "subscribe", [f"{NAMESPACE}/{STATE}/#", *heard])
    yield _rule(who, "publish", said)


def _rule(who: str, action: str, topic_filters: Iterable[str]) -> str:
    return f"{{allow, {who}, {action}, [{', '.join(map(_quote, topic_filters))}]}}."


def _block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"{name} {{", *(f"  {line}" for line in lines), "}"]


def _quote(text: str) -> str:
    """A string of HOCON and of Erlang: our text has no quote, backslash or control character."""
    return json.dumps(text, ensure_ascii=False)
