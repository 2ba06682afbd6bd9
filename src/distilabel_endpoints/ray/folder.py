"""The output folder of a run over Ray as a `Store`: read by `status` and `export`, without Ray.

Only what is committed counts: a row whose block is under way is pending. Rows that are left out
(`--on-bad-row skip`) are in no shard, and pending until the run has finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import Closing, StoreStatistics
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.ledger_file import read_ledger
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.result_columns import names_of, result_of
from distilabel_endpoints.ray.shards import read_shards, rows_in_order
from distilabel_endpoints.ray.source import ROW_ID
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import OutputColumns

__all__ = ["Folder", "ShardRow", "open_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRow:
    """A row of a shard as its store hands it out."""

    ordinal: int
    content_hash: bytes
    result: Result

    @property
    def ok(self) -> int:
        """1 if no generation failed, else 0."""
        return int(self.result.status == "ok")


class Folder(Closing):
    """What a run over Ray has written, and what its marker says of it.

    Args:
        path: the folder.
        marker: None while the run looks at its input for the first time.
    """

    def __init__(self, path: Path, marker: Marker | None) -> None:
        self._path = path
        self._marker = marker
        self.damaged = 0
        """Always 0: a shard that is damaged is an error, which names it."""

    def note(self, name: str) -> Any:
        """What the run is about (`run`), what it has spent (`spent`), and the file it wrote."""
        if name == "spent":
            ledger = read_ledger(self._path)
            is_over = holder_of(journal_path(self._path)) is None
            return None if ledger is None else ledger.note(is_over=is_over)
        if self._marker is None:
            return None
        return {"run": self._marker.run, "written": self._marker.run.get("written")}.get(name)

    def statistics(self, stop: int | None = None) -> StoreStatistics:
        """Counts and sums over the rows before ordinal `stop`, and the failed ones by reason."""
        if self._marker is None:
            return StoreStatistics()
        return read_shards(self._path, prefix=self._marker.prefix, stop=stop)

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[ShardRow]:
        """Every result with `start <= ordinal < stop`, in order."""
        assert self._marker is not None, "a run without a marker has no results"
        columns = OutputColumns(**self._marker.run["columns"])
        for shard, cells in rows_in_order(self._path, [ROW_ID, *names_of(columns)]):
            ordinal, _, digest = cells[ROW_ID].partition("-")
            if int(ordinal) < start or (stop is not None and int(ordinal) >= stop):
                continue
            yield ShardRow(
                ordinal=int(ordinal),
                content_hash=bytes.fromhex(digest),
                result=result_of(columns, int(ordinal), cells, shard),
            )

    def close(self) -> None:
        """Nothing is kept open."""


def open_folder(output: Path) -> Folder:
    """The store of the run over Ray that writes the folder `output`.

    Raises:
        ConfigurationError: no run was begun there.
        DamagedError: its marker is not what was written.
        StorageError: the marker cannot be read.
    """
    folder = output.absolute()
    marker = Marker.read(folder)
    if marker is None and holder_of(journal_path(folder)) is None:
        raise ConfigurationError(
            f"there is no run on {output}: {marker_path(output)} does not exist"
        )
    return Folder(folder, marker)
