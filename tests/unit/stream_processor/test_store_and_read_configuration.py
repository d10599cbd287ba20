"""The examples of the store job and the read process are right, and their paths are anchored."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from contracts.configuration import parse_settings
from stream_processor.distributed import read_process, store_process

FOLDER = Path(str(resources.files("stream_processor.distributed")))


@pytest.mark.parametrize(("role", "module"), [("store", store_process), ("read", read_process)])
def test_the_shipped_example_is_right_and_names_the_defaults(role, module):
    text = (FOLDER / f"example-{role}.toml").read_text()
    settings = parse_settings(module.ProcessSettings, text, role)
    anchored = settings.anchored(Path("/etc/city"))
    assert anchored.directory == Path("/etc/city") / role
    assert anchored.influxdb.token_file == Path("/etc/city/secret/influxdb-token")
    assert anchored.registry.token_file == Path("/etc/city/secret/processor-token")
    fields = module.ProcessSettings.model_fields
    for table in {"read", "influxdb"} & set(fields):
        for key, field in type(getattr(settings, table)).model_fields.items():
            if not field.is_required():
                assert getattr(getattr(settings, table), key) == field.default, f"{table}.{key}"
