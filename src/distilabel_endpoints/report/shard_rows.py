"""The rows of a run over Ray: those of the committed shards, each of which holds its input, too."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.journal.record import decode_failures
from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.shards import committed_shards
from distilabel_endpoints.ray.source import FAILURE, ROW_ID, ordinal_of
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage
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
from distilabel_endpoints.rows.columns import WARNING

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
        self._prefix = marker.prefix
        self._many = int(self._spec.get("num_generations", 1)) > 1
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
        )

    def scan(self) -> Iterator[StoredRow]:
        for shard in committed_shards(self._output):
            table = self._pq.read_table(shard, columns=self._own(shard), partitioning=None)
            for batch in table.to_batches():
                for values in batch.to_pylist():
                    yield self._stored(values)

    def _own(self, shard: Path) -> list[str]:
        """The columns that the run has added."""
        ours = {
            ROW_ID,
            FAILURE,
            *OutputColumns(
                "", 2 if self._many else 1, prefix=self._prefix, tool_calls=True, logprobs=False
            ).names,
        }
        return [name for name in self._pq.read_schema(shard).names if name in ours]

    def index(self) -> Index:
        ended: list[tuple[int, bool]] = []
        code = f"{self._prefix}error_code"
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
            ordinal: self._stored(self._values(self._spots[ordinal]))
            for ordinal in sorted(ordinals)
            if ordinal in self._spots
        }

    def prompts(self, rows: Collection[StoredRow]) -> dict[int, Prompt]:
        shown: dict[int, Prompt] = {}
        for row in sorted(rows, key=lambda row: row.ordinal):
            spot = self._spots.get(row.ordinal)
            if spot is None:
                shown[row.ordinal] = Prompt(missing="This row is in no shard any more.")
                continue
            ours = set(self._own(spot.shard))
            columns = {n: v for n, v in self._values(spot).items() if n not in ours}
            given = Row(
                row.ordinal, columns, content_hash=row.identity, place=Place("", row.ordinal + 1)
            )
            shown[row.ordinal] = prompt_of(given, conversations_of(self._spec, columns))
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

    def _stored(self, values: Mapping[str, Any]) -> StoredRow:
        identity = values[ROW_ID]
        return StoredRow(
            ordinal=ordinal_of(identity, b""),
            identity=str(identity).encode(),
            result=_result(values, self._prefix, many=self._many),
        )


def _result(values: Mapping[str, Any], prefix: str, *, many: bool) -> Result:
    """The result that was written as these columns, as far as they tell."""

    def entries(name: str) -> list[Any]:
        value = values.get(prefix + name)
        return list(value or ()) if many else [value]

    texts = entries("generations" if many else "generation")
    finishes, thoughts = entries("finish_reason"), entries("reasoning")
    codes, errors, refused = entries("error_code"), entries("error"), entries("failed_generation")
    kept = values.get(FAILURE)
    stored = decode_failures(kept) if kept else ()
    completions: list[Completion | None] = []
    failures: list[Failure | None] = []
    for place in range(max(len(texts), len(codes), 1)):
        code, error = _at(codes, place), str(_at(errors, place) or "")
        finish, thought = _at(finishes, place), _at(thoughts, place)
        if code is None:
            text = _at(texts, place)
            broken = error.startswith(WARNING)
            completions.append(
                Completion(text=text, finish_reason=finish, reasoning=thought, utf8_replaced=broken)
            )
            failures.append(None)
            continue
        failure = _at(stored, place) or _failure(code, error, finish)
        completions.append(None)
        failures.append(replace(failure, text=_at(refused, place)))
    usage = Usage(values.get(f"{prefix}input_tokens"), values.get(f"{prefix}output_tokens"))
    return Result(
        ordinal=ordinal_of(values[ROW_ID], b""),
        completions=tuple(completions),
        failures=tuple(failures),
        usages=(usage,),
    )


def _failure(code: str, error: str, finish: str | None) -> Failure:
    kind = FailureKind.ROW if finish is None else FailureKind.CONTENT
    return Failure(kind=kind, code=code, message=error, finish_reason=finish)


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else None
