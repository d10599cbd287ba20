"""Fleet files and stores for the tests of the device registry."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from device_registry.store import Store

PLACES = """
[[district]]
district_id = "north"
name = "North"
[[site]]
site_id = "station"
district_id = "north"
domain = "gas"
name = "Station"
latitude = 30.0
longitude = 114.0
[[gateway]]
gateway_id = "gw"
district_id = "north"
name = "Cabinet"
"""


@pytest.fixture
def example() -> str:
    return files("device_registry").joinpath("example_fleet.toml").read_text(encoding="utf-8")


@pytest.fixture
def make_fleet():
    """`make_fleet({"gas-1": ["methane_lel"]})`: a fleet file; each channel with a condition, if it is methane."""

    def make(nodes: dict[str, list[str]], set_point: float = 25.0, state: str = "active") -> str:
        text = PLACES
        for node_id, quantities in nodes.items():
            text += f'[[node]]\nnode_id = "{node_id}"\ngateway_id = "gw"\nbus_id = "bus"\nsite_id = "station"\n'
            text += f'model = "m"\nstate = "{state}"\n'
            for quantity in quantities:
                text += f'[[node.channel]]\nquantity = "{quantity}"\n'
                if quantity == "methane_lel":
                    text += f'[[node.channel.condition]]\ncondition_id = "{node_id}-high"\nset_point = {set_point}\n'
                    text += 'priority = 1\ncolour = "red"\ntitle = "Methane high"\n'
        return text

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "fleet.sqlite") as store:
        yield store
