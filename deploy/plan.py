"""What is started, with which arguments, after what, and how one sees that it is ready.

A plan is data: `supervise` carries it out. A *task* ends by itself with exit code 0 before anything that comes after it
starts; a *service* runs until the end and is started again when it dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.configuration_text import GATEWAY_IDS, HOST, HOST_ID, City
from deploy.layout import RunDirectory

FIELD_BUS_IDS: Final = ("gas-tcp", "tanks-tcp", "fire-tcp")
"""The Modbus TCP buses of the demonstration, in the order of `write-demo --modbus-port`."""
BROKER_MOSQUITTO: Final = "mosquitto"
BROKER_RUMQTTD: Final = "rumqttd"


@dataclass(frozen=True, slots=True)
class Answers:
    """Ready when `GET url` answers 200."""

    url: str


@dataclass(frozen=True, slots=True)
class Accepts:
    """Ready when a TCP connection is accepted."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Exists:
    """Ready when a file or a link is there."""

    path: str


Readiness = Answers | Accepts | Exists


@dataclass(frozen=True, slots=True)
class Program:
    """One process of the plan."""

    name: str
    argv: tuple[str, ...]
    """Absolute path of the program, and its arguments."""
    after: tuple[str, ...] = ()
    """Names of the programs that must be ready before this one starts."""
    ready: tuple[Readiness, ...] = ()
    """All must hold. None: ready as soon as it runs."""
    is_task: bool = False
    folder: str = ""
    """Working directory; empty: the run directory."""
    address: str = ""
    """What a person connects to; empty if nothing."""
    stop_signal: int = 15
    """What asks it to end; 15 is SIGTERM."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The executables that the plan uses, by absolute path."""

    python: str
    mosquitto: str | None
    """None: the embedded broker."""

    @property
    def broker_kind(self) -> str:
        """As `broker-config render --kind` names it."""
        return BROKER_MOSQUITTO if self.mosquitto else BROKER_RUMQTTD


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """What the simulators' configuration says: where field devices will answer."""

    ports: tuple[int, ...]
    serial_links: tuple[str, ...]


def plan_write_demo(run: RunDirectory, python: str, ports: Mapping[str, int]) -> Program:
    """Writes the demonstration's fleet, field devices and agents; the rest of the plan depends on what it wrote."""
    passwords = (("--password-file", f"{gateway_id}={run.password(gateway_id)}") for gateway_id in GATEWAY_IDS)
    argv = (
        *module_argv(python, "simulators.cli"),
        *("write-demo", "--out", run.demo()),
        *("--broker-host", HOST, "--broker-port", str(ports["broker"]), "--primary-host", HOST_ID),
        *("--modbus-port", *(str(ports[bus_id]) for bus_id in FIELD_BUS_IDS)),
        *("--spool-folder", run.data("spool")),
        *(part for option in passwords for part in option),
    )
    return Program(name="write-demo", argv=argv, is_task=True)


def plan_password(run: RunDirectory, python: str, user_name: str) -> Program:
    """Prints a one-time password for the console."""
    arguments = ("issue-password", "--config", run.config("console"), "--name", user_name)
    return Program(name="issue-password", argv=(*module_argv(python, "console.cli"), *arguments), is_task=True)


def plan_embedded(city: City, python: str) -> tuple[Program, ...]:
    """The stream processor as one process."""
    after = ("broker", "device-registry", "alarm-service")
    return (_http_service(city, python, "stream-processor", "stream_processor.cli", after=after),)


def plan_city(
    city: City, tools: Tools, field: FieldFacts, processor: tuple[Program, ...], servers: tuple[str, ...] = ()
) -> tuple[Program, ...]:
    """The whole demonstration, in an order in which each program comes after what it waits for.

    Args:
        city: what the configuration files say.
        tools: the executables.
        field: where field devices will answer.
        processor: the stream processor; one program of it is called `stream-processor`.
        servers: names of what runs already and stops last.
    """
    return (
        *_broker(city, tools),
        *_registry(city, tools.python, servers),
        _http_service(city, tools.python, "alarm-service", "alarm_service.cli", after=servers),
        *processor,
        _http_service(city, tools.python, "console", "console.cli"),
        _field(city, tools.python, field),
        *_agents(city, tools.python),
    )


def stop_waves(programs: Sequence[Program]) -> list[list[str]]:
    """Names of the services in the order of their stopping: first those that nothing waits for.

    A wave can be stopped together; each program stops before what it depends on.
    """
    depth: dict[str, int] = {}
    for program in programs:
        depth[program.name] = 1 + max((depth[name] for name in program.after), default=0)
    services = [program.name for program in programs if not program.is_task]
    return [
        [name for name in reversed(services) if depth[name] == level]
        for level in sorted({depth[name] for name in services}, reverse=True)
    ]


def check_order(programs: Iterable[Program]) -> None:
    """Raises ValueError if a program comes before one that it waits for, or two have one name."""
    known: set[str] = set()
    for program in programs:
        absent = [name for name in program.after if name not in known]
        if absent or program.name in known:
            raise ValueError(f"{program.name}: not planned before it: {absent}, or planned twice")
        known.add(program.name)


def _broker(city: City, tools: Tools) -> tuple[Program, Program]:
    port = city.ports["broker"]
    render = Program(
        name="broker-config",
        argv=(
            *module_argv(tools.python, "broker_config.cli"),
            *("render", "--kind", tools.broker_kind),
            *("--config", city.run.config("broker"), "--out", city.run.broker()),
        ),
        is_task=True,
    )
    if tools.mosquitto:
        argv: tuple[str, ...] = (tools.mosquitto, "-c", city.run.broker("mosquitto.conf"))
    else:
        # rumqttd logs every packet as an error unless told to be quiet.
        options = ("--config", city.run.broker("rumqttd.toml"), "--log-level", "CRITICAL")
        argv = (*module_argv(tools.python, "iotcore"), *options)
    broker = Program(
        name="broker",
        argv=argv,
        after=(render.name,),
        ready=(Accepts(HOST, port),),
        address=f"mqtt://{HOST}:{port} ({tools.broker_kind})",
    )
    return render, broker


def _registry(city: City, python: str, servers: tuple[str, ...]) -> tuple[Program, Program]:
    importing = Program(
        name="import-fleet",
        argv=(
            *module_argv(python, "device_registry.cli"),
            *("import", "--config", city.run.config("device-registry"), city.run.demo("fleet.toml")),
        ),
        after=servers,
        is_task=True,
    )
    service = _http_service(city, python, "device-registry", "device_registry.cli", after=(importing.name,))
    return importing, service


def _http_service(city: City, python: str, name: str, module: str, after: tuple[str, ...] = ()) -> Program:
    return Program(
        name=name,
        argv=(*module_argv(python, module), "run", "--config", city.run.config(name)),
        after=after,
        ready=(Answers(f"{city.url(name)}/healthz"),),
        address=city.url(name),
    )


def _field(city: City, python: str, field: FieldFacts) -> Program:
    return Program(
        name="field",
        argv=(*module_argv(python, "simulators.cli"), "field", "--config", city.run.demo("field.toml")),
        ready=(
            *(Accepts(HOST, port) for port in field.ports),
            *(Exists(link) for link in field.serial_links),
        ),
        address=f"Modbus TCP on {HOST}, ports {', '.join(map(str, field.ports))}",
    )


def _agents(city: City, python: str) -> Iterable[Program]:
    for account in city.gateways:
        yield Program(
            name=account.gateway_id,
            argv=(
                *module_argv(python, "edge_agent.cli"),
                "run",
                "--config",
                city.run.demo(f"{account.gateway_id}.toml"),
            ),
            after=("broker", "field", "stream-processor"),
            folder=city.run.demo(),  # the serial ports in its file are links beside it
        )


def module_argv(python: str, module: str) -> tuple[str, ...]:
    """Runs a module of ours."""
    return (python, "-m", module)
