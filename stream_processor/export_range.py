"""Ranges of commits on their way from the hot store to Parquet (shell): begun, written, done.

A range is noted as begun before anything of it is written, and as done when all of it is in closed files. After a crash
in between, what was written of it is taken away (those files were never closed) and it is written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from stream_processor.duckdb_store import DuckdbStore
from stream_processor.parquet_file import sync, write_parquet

_NAME: Final = re.compile(r"part-(\d+)-(\d+)\.parquet")


class ExportRange:
    """The ranges of one table, and the files of its folder. Methods block."""

    def __init__(self, store: DuckdbStore, folder: Path, table: str, progress: str) -> None:
        """Begins nothing.

        Args:
            store: the hot store.
            folder: of the files.
            table: whose rows have a commit_seq.
            progress: table (first_commit, last_commit, is_done).
        """
        self._store = store
        self._folder = folder
        self._table = table
        self._progress = progress

    def begin(self) -> tuple[int, int] | None:
        """First and last commit of the range to write now; None if there is nothing new."""
        with self._store.transaction() as cursor:
            unfinished = cursor.execute(
                f"SELECT first_commit, last_commit FROM {self._progress} WHERE NOT is_done"  # noqa: S608  # our names
            ).fetchone()
            if unfinished is not None:
                begun = int(unfinished[0]), int(unfinished[1])
            else:
                row = cursor.execute(
                    f"""SELECT (SELECT coalesce(max(last_commit), 0) FROM {self._progress}) + 1,
                               (SELECT coalesce(max(commit_seq), 0) FROM {self._table})"""  # noqa: S608
                ).fetchone()
                assert row is not None  # aggregates always give a row
                begun = int(row[0]), int(row[1])
                if begun[1] < begun[0]:
                    return None
                cursor.execute(f"INSERT INTO {self._progress} VALUES (?, ?, false)", list(begun))  # noqa: S608
        self._take_away(*begun)
        return begun

    def parts(self, first: int, last: int, weight: str, weight_max: int) -> Iterator[tuple[int, int]]:
        """The range as ranges of commits of about `weight_max` each; `weight` is an aggregate of the table, in SQL."""
        with self._store.cursor() as cursor:
            commits = cursor.execute(
                f"SELECT commit_seq, {weight} FROM {self._table}"  # noqa: S608  # our names
                " WHERE commit_seq BETWEEN ? AND ? GROUP BY 1 ORDER BY 1",
                [first, last],
            ).fetchall()
        gathered = 0
        for commit_seq, of_commit in commits:
            gathered += of_commit
            if gathered >= weight_max:
                yield first, commit_seq
                first, gathered = commit_seq + 1, 0
        if gathered:
            yield first, last

    def end(self, first: int) -> None:
        """All of the range that begins with this commit is in closed files."""
        with self._store.transaction() as cursor:
            cursor.execute(f"UPDATE {self._progress} SET is_done = true WHERE first_commit = ?", [first])  # noqa: S608

    def write(self, folder: str, first: int, last: int, table: pa.Table) -> None:
        """Writes one file; durable when this returns."""
        target = self._folder / folder
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"part-{first:012d}-{last:012d}.parquet"
        write_parquet(path.with_suffix(".draft"), table)
        path.with_suffix(".draft").rename(path)
        for changed in (target, target.parent, self._folder):
            sync(changed)

    def _take_away(self, first: int, last: int) -> None:
        for path in self._folder.rglob("part-*.parquet"):
            match = _NAME.fullmatch(path.name)
            if match is not None and first <= int(match[1]) and int(match[2]) <= last:
                path.unlink()
