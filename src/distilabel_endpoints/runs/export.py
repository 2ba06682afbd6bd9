"""The output: a pure projection of input and journal, in input order, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from distilabel_endpoints._store.journal import Reader, Record
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import BadRow, OutputColumns, Row, RowSource, open_writer

__all__ = ["Exported", "export"]


@dataclass(slots=True)
class Exported:
    """What an export wrote."""

    rows: int = 0
    answers: int = 0
    truncated: int = 0
    notes: tuple[str, ...] = ()
    """What the user should know about the conversion."""

    def add(self, result: Result) -> None:
        self.rows += 1
        for completion in result.completions:
            if completion is not None:
                self.answers += 1
                self.truncated += completion.finish_reason == "length"


def export(
    source: RowSource,
    reader: Reader,
    output: Path,
    columns: OutputColumns,
    *,
    limit: int | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write every row that has a result. The file appears when it is complete.

    Raises:
        ConfigurationError: the output cannot be written in that format or place.
        StorageError: the disk is full, gone or failing; nothing has appeared.
    """
    done = Exported()
    with open_writer(output, columns, source) as writer:
        for item, result in _joined(source, reader, limit):
            writer.write(item, result)
            done.add(result)
            if done.rows % 10_000 == 0:
                tell(done.rows)
    done.notes = writer.notes
    return done


def _joined(
    source: RowSource, reader: Reader, limit: int | None
) -> Iterator[tuple[Row | BadRow, Result]]:
    """Rows with their results; both come in order of the ordinals."""
    records: Iterator[Record] = reader.results()
    record = next(records, None)
    for item in source:
        if record is None or (limit is not None and item.ordinal >= limit):
            return
        while record is not None and record.ordinal < item.ordinal:
            record = next(records, None)
        if record is not None and record.ordinal == item.ordinal:
            if record.content_hash == item.content_hash:
                yield item, record.result
            record = next(records, None)
