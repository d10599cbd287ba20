"""The command line of trials (shell: argparse), apart from what runs them: reading it must cost nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
"""Between the cells of a CSV file."""


def add_table_arguments(command: argparse.ArgumentParser) -> None:
    """How a table is to be read: the same for every command that reads one."""
    command.add_argument("--time", metavar="COLUMN", help="column with times; without it rows are --period apart")
    command.add_argument(
        "--period",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between rows if there are no times (default: 1)",
    )
    command.add_argument(
        "--time-format", metavar="FORM", help="as for strptime, for times that are neither ISO 8601 nor since 1970"
    )
    command.add_argument(
        "--separator", choices=SEPARATORS, help="of a CSV file (default: told by its first line)"
    )  # fmt: skip
    command.add_argument("--no-header", action="store_true", help="columns have no names: say their numbers, from 1")
    command.add_argument("--decimal-comma", action="store_true", help="numbers are written 3,14")
    command.add_argument(
        "--quantity", action="append", default=[], metavar="COLUMN=QUANTITY",
        help="what a column measures (contracts.quantity): unit, plausible range, greatest rate",
    )  # fmt: skip
    command.add_argument(
        "--decimals", action="append", default=[], metavar="COLUMN=N",
        help="digits after the point that the instrument shows (default: those of the first 1000 readings)",
    )  # fmt: skip


def add_score_arguments(command: argparse.ArgumentParser) -> None:
    """The command line of `score`."""
    command.add_argument("file", nargs="?", type=Path, metavar="FILE", help="CSV (.gz too) or Parquet")
    command.add_argument("--values", metavar="A,B,…", help="columns with readings")
    add_table_arguments(command)
    command.add_argument("--group", action="store_true", help="score the columns together too, as one asset")
    command.add_argument("--group-period", type=float, metavar="S", help="of its short means (default: as rows come)")
    command.add_argument("--detectors", metavar="X,Y,…", help="only these (default: all of docs/scores.md)")
    command.add_argument(
        "--threshold", type=float, default=0.5, metavar="S", help="count scores from here (default: 0.5, 3 sigma)"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="every score as a column: .csv or .parquet")
    command.add_argument("--plot", type=Path, metavar="FILE", help="a picture for a browser: .svg")


def add_backtest_arguments(command: argparse.ArgumentParser) -> None:
    """The command line of `backtest`."""
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--archive", type=Path, metavar="DIR", help="folder with date=…/domain=…/*.parquet")
    source.add_argument("--file", type=Path, metavar="FILE", help="CSV (.gz too) or Parquet of one's own")
    command.add_argument(
        "--condition", action="append", required=True, metavar="RULE",
        help="'methane_lel above 25 deadband 2 on 10s off 30s', 'score_ewma_z of strain above 0.667', or a JSON file "
        "of condition definitions (a fleet snapshot too)",
    )  # fmt: skip
    command.add_argument("--from", dest="from_date", metavar="DATE", help="first day, UTC (default: the first)")
    command.add_argument("--to", dest="until_date", metavar="DATE", help="last day, UTC (default: the last)")
    command.add_argument("--domain", action="append", default=[], help="of the archive: only these")
    command.add_argument("--district", action="append", default=[], help="of the archive: only these")
    command.add_argument("--stored-scores", action="store_true", help="take the archive's scores where it has them")
    command.add_argument("--values", metavar="A,B,…", help="of --file: columns with readings")
    add_table_arguments(command)
    command.add_argument("--out", type=Path, metavar="FILE", help="every time that it fired: .csv or .parquet")
    command.add_argument("--plot", type=Path, metavar="FILE", help="a picture for a browser: .svg")
