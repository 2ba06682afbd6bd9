"""The output: a pure projection of input and results, in input order, whole or not at all.

What is counted as ok is in it: if an answered row is not in the input (any more, or as it was when
it was sent), nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distilabel_endpoints._store.atomic import BeforeRename
from distilabel_endpoints._store.store import Store, StoredResult
from distilabel_endpoints.errors import DamagedError, InputChangedError
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import BadRow, OutputColumns, Row, RowSource, open_writer

__all__ = ["Exported", "export"]


@dataclass(slots=True)
class Exported:
    """What an export wrote."""

    rows: int = 0
    ok: int = 0
    answers: int = 0
    truncated: int = 0
    notes: tuple[str, ...] = ()
    """What the user should know about the conversion."""

    def add(self, result: Result) -> None:
        self.rows += 1
        self.ok += result.status == "ok"
        for completion in result.completions:
            if completion is not None:
                self.answers += 1
                self.truncated += completion.finish_reason == "length"


def export(
    source: RowSource,
    store: Store,
    output: Path,
    columns: OutputColumns,
    *,
    limit: int | None = None,
    before_rename: BeforeRename | None = None,
) -> Exported:
    """Write every row that has a result. The file appears when it is complete.

    Args:
        source: the rows.
        store: their results.
        output: the file.
        columns: what is added to the rows.
        limit: only the first N rows.
        before_rename: is given the complete file under its temporary name; may refuse it.

    Raises:
        ConfigurationError: the output cannot be written in that format or place.
        InputChangedError: rows that are ok are not in the source; nothing has appeared.
        StorageError: the disk is full, gone or failing; nothing has appeared.
    """
    done = Exported()
    with open_writer(output, columns, source, before_rename=before_rename) as writer:
        joined = _Join(source, store.results(stop=limit))
        for item, result in joined:
            writer.write(item, result)
            done.add(result)
        if joined.lost:
            raise _lost(joined.lost, source, output)
        if store.damaged:
            raise DamagedError(
                f"{store.damaged} results of {output} are damaged, so it is not written. Run the "
                "command that made it again: it redoes them."
            )
    done.notes = writer.notes
    return done


class _Join:
    """Rows with their results; both come in order of the ordinals."""

    def __init__(self, source: RowSource, results: Iterator[StoredResult]) -> None:
        self._source = source
        self._results = results
        self.lost = 0
        """Rows that are ok, and for which no row like them came."""

    def __iter__(self) -> Iterator[tuple[Row | BadRow, Result]]:
        record = next(self._results, None)
        for item in self._source:
            while record is not None and record.ordinal < item.ordinal:
                record = self._pass(record)
            if record is None:
                return
            if record.ordinal == item.ordinal:
                if record.content_hash == item.content_hash:
                    yield item, record.result
                    record = next(self._results, None)
                else:
                    record = self._pass(record)
        # The input has ended, and results are left: their rows are gone.
        while record is not None:
            record = self._pass(record)

    def _pass(self, record: StoredResult) -> StoredResult | None:
        self.lost += record.ok
        return next(self._results, None)


def _lost(rows: int, source: RowSource, output: Path) -> InputChangedError:
    return InputChangedError(
        f"{source.describe()} was changed: {rows} rows that have answers are not in it any more, "
        f"so {output} is left as it was. The answers are in its journal: put the rows back as they "
        "were and run the same command again, which sends nothing twice."
    )
