"""What is started in place of the embedded stream processor: topics, buckets, one process for each role. Pure."""

from __future__ import annotations

from deploy.configuration_text import HOST, City
from deploy.plan import Answers, Program, module_argv
from deploy.stack import recipe
from deploy.stack.addresses import INFLUXDB, KAFKA
from deploy.stack.city_text import READ, ROLES


def plan_processor(city: City, python: str) -> tuple[Program, ...]:
    """The distributed engine; the servers run already."""
    topics = Program(
        name="kafka-topics",
        argv=(
            *module_argv(python, "broker_config.cli"),
            *("set-up-kafka", "--config", city.run.config("broker"), "--servers", f"{HOST}:{city.ports[KAFKA]}"),
        ),
        after=(KAFKA,),
        is_task=True,
    )
    buckets = Program(
        name="influxdb-buckets",
        argv=(
            *module_argv(python, "broker_config.cli"),
            *("set-up-influxdb", "--url", city.url(INFLUXDB), "--org", recipe.ORGANISATION),
            *("--token-file", city.run.token(INFLUXDB)),
        ),
        after=(INFLUXDB,),
        is_task=True,
    )
    before = (topics.name, buckets.name, "broker", "device-registry", "alarm-service")
    roles = (
        Program(
            name=role,
            argv=(*module_argv(python, "stream_processor.cli"), role, "--config", city.run.config(role)),
            after=before,
        )
        for role in ROLES
    )
    read = Program(
        name=READ,
        argv=(*module_argv(python, "stream_processor.cli"), "read", "--config", city.run.config(READ)),
        after=before,
        ready=(Answers(f"{city.url(READ)}/healthz"),),
        address=city.url(READ),
    )
    return topics, buckets, *roles, read
