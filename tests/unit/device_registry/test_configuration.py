"""The configuration file: the example is sound, and every fault is named at once."""

from __future__ import annotations

from importlib.resources import files

import pytest

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError
from device_registry.configuration import RegistrySettings


def test_the_shipped_example_is_sound():
    text = files("device_registry").joinpath("example.toml").read_text(encoding="utf-8")
    settings = parse_settings(RegistrySettings, text, "example.toml")
    assert [principal.role for principal in settings.principal] == ["processor", "engineer"]


def test_every_fault_is_named_at_once():
    text = """
    colour = "red"
    [http]
    port = 99999
    [store]
    [[principal]]
    name = "a"
    role = "king"
    token_sha256 = "xyz"
    """
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(RegistrySettings, text, "a.toml")
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {
        "$.colour",
        "$.http.port",
        "$.store",
        "$.principal[0].role",
        "$.principal[0].token_sha256",
    }


@pytest.mark.parametrize("key", ["name", "token_sha256"])
def test_a_name_or_token_that_stands_twice_is_a_fault(key):
    one = {"name": "a", "role": "viewer", "token_sha256": "1" * 64}
    other = {"name": "b", "role": "viewer", "token_sha256": "2" * 64} | {key: one[key]}
    tables = "\n".join(
        "[[principal]]\n" + "\n".join(f'{name} = "{value}"' for name, value in row.items()) for row in (one, other)
    )
    with pytest.raises(ConfigurationError, match=f"{key} must be unique"):
        parse_settings(RegistrySettings, f'[http]\nport = 0\n[store]\npath = "x"\n{tables}', "a.toml")


def test_a_service_that_nobody_may_call_is_a_fault():
    with pytest.raises(ConfigurationError, match=r"\$\.principal"):
        parse_settings(RegistrySettings, 'principal = []\n[http]\nport = 0\n[store]\npath = "x"', "a.toml")
