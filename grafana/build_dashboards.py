"""Builds the committed dashboards (a shell): `python -m grafana.build_dashboards [--check]`.

It needs grafana-foundation-sdk, which is in the development environment only. Grafana itself reads the JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import city_board, node_board, pipeline_board
from grafana.source import render_sources

FOLDER: Final = Path(__file__).parent
BOARDS: Final[Mapping[str, Callable[[], dashboard.Dashboard]]] = {
    "city": city_board.build,
    "node": node_board.build,
    "pipeline": pipeline_board.build,
}
"""Every dashboard, by the name of its file."""


def render_files() -> Mapping[str, str]:
    """What is committed: path below this folder, and text."""
    dashboards = {f"dashboards/{name}.json": render_board(build()) for name, build in BOARDS.items()}
    return {**dashboards, "provisioning/datasources/influxdb.yaml": render_sources()}


def render_board(board: dashboard.Dashboard) -> str:
    """The JSON of a dashboard."""
    built = board.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Writes what differs; with `--check` only names it, with exit code 1."""
    parser = argparse.ArgumentParser(prog="build_dashboards", description="Builds what Grafana is provisioned with.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is not as built")
    is_check = parser.parse_args().check
    different = [path for path, text in render_files().items() if _read(FOLDER / path) != text]
    for path in different:
        print(f"{FOLDER / path}: {'differs' if is_check else 'written'}")
        if not is_check:
            (FOLDER / path).write_text(render_files()[path], encoding="utf-8")
    sys.exit(1 if is_check and different else 0)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    main()
