"""The rows of a run over Ray: those of the committed shards, each of which holds its input, too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.folder import Folder
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.result_columns import names_of, result_of
from distilabel_endpoints.ray.shards import committed_shards
from distilabel_endpoints.ray.source import ROW_ID, ordinal_of
from distilabel_endpoints.report.stored import (
    AboutRun,
    Index,
    Prompt,
    StoredRow,
    StoredRows,
    conversations_of,
    prompt_of,
)
from distilabel_endpoints.rows import OutputColumns, Place, Row
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.runs.paying import spent_in

__all__ = ["ShardRows"]

_KEPT: Final = 2
"""Tables in memory at once."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a row is."""

    shard: Path
    row: int


class ShardRows(StoredRows):
    """The rows of the run over Ray that writes the folder `output`.

    Raises:
        ConfigurationError: there is no such run.
        InstallationError: pyarrow is not installed.
    """

    def __init__(self, output: Path) -> None:
        self._output = output.absolute()
        marker = Marker.read(self._output)
        if marker is None:
            raise ConfigurationError(
                f"there is no run on {output}: {marker_path(self._output)} does not exist"
            )
        self._pq = pyarrow("shards").parquet
        self._spec = marker.header.spec
        self._columns = OutputColumns(**marker.run["columns"])
        self._tables: OrderedDict[Path, Any] = OrderedDict()
        self._spots: dict[int, _Spot] = {}
        holder = holder_of(journal_path(self._output))
        self.about = AboutRun(
            output=str(output),
            spec=self._spec,
            created=marker.header.created,
            versions=marker.header.versions,
            input=marker.run.get("input"),
            total=marker.rows,
            skipped=marker.run.get("skipped", 0),
            running=None if holder is None else f"process {holder.pid} on {holder.host}",
            spent=spent_in(Folder(self._output, marker)),
        )

    def scan(self) -> Iterator[StoredRow]:
        for shard in committed_shards(self._output):
            table = self._pq.read_table(shard, columns=self._own(shard), partitioning=None)
            for batch in table.to_batches():
                for values in batch.to_pylist():
                    yield self._stored(shard, values)

    def _own(self, shard: Path) -> list[str]:
        """The columns that the run has added."""
        ours = {ROW_ID, *names_of(self._columns)}
        return [name for name in self._pq.read_schema(shard).names if name in ours]

    def index(self) -> Index:
        ended: list[tuple[int, bool]] = []
        code = f"{self._columns.prefix}error_code"
        for shard in committed_shards(self._output):
            table = self._pq.read_table(shard, columns=[ROW_ID, code], partitioning=None)
            pairs = zip(table[ROW_ID].to_pylist(), table[code].is_valid().to_pylist(), strict=True)
            for row, (identity, failed) in enumerate(pairs):
                ordinal = ordinal_of(identity, b"")
                self._spots[ordinal] = _Spot(shard, row)
                ended.append((ordinal, failed))
        index = Index()
        for ordinal, failed in sorted(ended):
            index.add(ordinal, failed=failed)
        return index

    def fetch(self, ordinals: Collection[int]) -> dict[int, StoredRow]:
        if not all(ordinal in self._spots for ordinal in ordinals):
            self.index()
        return {
            ordinal: self._stored(spot.shard, self._values(spot))
            for ordinal in sorted(ordinals)
            if (spot := self._spots.get(ordinal)) is not None
        }

    def prompts(self, rows: Collection[StoredRow]) -> dict[int, Prompt]:
        shown: dict[int, Prompt] = {}
        for row in sorted(rows, key=lambda row: row.ordinal):
            spot = self._spots.get(row.ordinal)
            if spot is None:
                shown[row.ordinal] = Prompt(missing="No shard holds this row any more.")
                continue
            ours = set(self._own(spot.shard))
            columns = {n: v for n, v in self._values(spot).items() if n not in ours}
            original = Row(
                row.ordinal, columns, content_hash=row.identity, place=Place("", row.ordinal + 1)
            )
            shown[row.ordinal] = prompt_of(original, conversations_of(self._spec, columns))
        return shown

    def close(self) -> None:
        self._tables.clear()

    def _values(self, spot: _Spot) -> dict[str, Any]:
        """All columns of one row."""
        table = self._tables.get(spot.shard)
        if table is None:
            table = self._pq.read_table(spot.shard, partitioning=None)
            self._tables[spot.shard] = table
            if len(self._tables) > _KEPT:
                self._tables.popitem(last=False)
        values: dict[str, Any] = table.slice(spot.row, 1).to_pylist()[0]
        return values

    def _stored(self, shard: Path, values: Mapping[str, Any]) -> StoredRow:
        identity = values[ROW_ID]
        ordinal = ordinal_of(identity, b"")
        return StoredRow(
            ordinal=ordinal,
            identity=str(identity).encode(),
            result=result_of(self._columns, ordinal, values, shard),
        )
