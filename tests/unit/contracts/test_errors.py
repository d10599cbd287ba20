"""The error tree is what the module's docstring draws."""

from __future__ import annotations

import pickle
import re

from contracts import errors
from contracts.errors import ConfigurationError, ContractError, Fault


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    drawn = set(re.findall(r"^(?:[├└]── )?(\w+Error)\b", errors.__doc__, re.MULTILINE))
    defined = {name for name in dir(errors) if name.endswith("Error")}
    assert drawn == defined
    for name in defined - {"ContractError"}:
        assert getattr(errors, name).__bases__ == (ContractError,)
    assert ContractError.__bases__ == (ValueError,)


def test_a_configuration_error_survives_the_way_between_processes():
    error = ConfigurationError("agent.toml", [Fault("$.a", "is missing"), Fault("$.b", "unknown key")])
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "agent.toml: $.a: is missing\nagent.toml: $.b: unknown key"
    assert copy.faults == error.faults
