"""The page on device profiles: its worked example works, and it names every key of the language."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from edge_agent.cli import run_command
from edge_agent.frames.byte_frame import ByteFrame, FrameMeaning, LengthField, Stuffing
from edge_agent.frames.checksum import Checksum
from edge_agent.frames.frame_field import ByteConstant, ByteSpan, NumberField
from edge_agent.frames.frame_profile import BlankSpan, FrameChannel, FrameInfo, FrameState, LineFlag, SerialFrameProfile
from edge_agent.frames.line_frame import LineFrame
from edge_agent.frames.line_parts import PartField
from edge_agent.settings.state_rule import StateRule

PAGE = (Path(__file__).parents[3] / "docs/device-profiles.md").read_text(encoding="utf-8")
MODELS = [
    *(ByteFrame, LineFrame, LengthField, Stuffing, FrameMeaning, Checksum, ByteConstant, ByteSpan, NumberField),
    *(PartField, FrameChannel, FrameState, LineFlag, BlankSpan, FrameInfo, StateRule, SerialFrameProfile),
]
NOT_FOR_FILES = {"only"}


def test_the_worked_example_decodes_what_the_page_says(tmp_path, capsys):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "cubic_cm1106.toml").write_text(example)
    command, shown = re.search(r"\$ edge-agent (decode .*?)\n(\{.*?)```", PAGE, re.DOTALL).groups()
    arguments = command.replace("--profiles profiles", f"--profiles {tmp_path}").split()
    assert run_command(arguments) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(shown)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_page_names_every_key_of_the_language(model):
    if is_dataclass(model):
        keys = {field.name for field in fields(model)}
    else:
        keys = {field.alias or name for name, field in model.model_fields.items()} - NOT_FOR_FILES
    assert {key for key in keys if not re.search(rf"[\[`{{ ]{key}\b", PAGE)} == set()
