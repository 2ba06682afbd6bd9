"""The file at OUTPUT, for the run that writes it: checked before the start, written at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.journal import Journal, Reader
from distilabel_endpoints.errors import InputChangedError, StorageError
from distilabel_endpoints.rows import OutputColumns, RowSource
from distilabel_endpoints.run_state import RunPhase
from distilabel_endpoints.runs.export import Exported, export
from distilabel_endpoints.runs.finished import FinalCounts, Finished, column_note
from distilabel_endpoints.runs.tally import Tally
from distilabel_endpoints.runs.written import (
    Written,
    exporting,
    foreign,
    is_beginning,
    refuse_foreign_errors,
)

__all__ = ["RunOutput"]


class RunOutput:
    """What a run does with its output file.

    Args:
        path: the file.
        columns: what the run adds to the input's columns.
        limit: only the first N rows.
        tally: the run's counts.
    """

    def __init__(
        self, path: Path, columns: OutputColumns, *, limit: int | None, tally: Tally
    ) -> None:
        self._path = path
        self._columns = columns
        self._limit = limit
        self._tally = tally
        self.exported: Exported | None = None
        """What this process wrote; None if it wrote nothing."""

    def check(self, source: RowSource, journal: Journal, reader: Reader) -> None:
        """Refuse a file that is not this run's; write one anew that broke off.

        Raises:
            OutputExistsError: somebody else wrote or changed it.
        """
        about = reader.note("run")
        refuse_foreign_errors(self._columns.error_file, about)
        written = Written(self._path, reader)
        if written.stands:
            return
        if about is None:
            raise foreign(self._path)

        def accept(complete: Path) -> None:
            if not is_beginning(self._path, complete):
                raise foreign(self._path)
            written.note_in(journal, complete)

        with suppress(InputChangedError), exporting(self._path):
            export(
                source,
                reader,
                self._path,
                OutputColumns(**about["columns"]),
                limit=about["limit"],
                before_rename=accept,
            )
            return
        raise foreign(self._path)

    def write(self, source: RowSource, journal: Journal, show: Callable[[str], None]) -> None:
        """Put the complete file in place, unless it is there already.

        Args:
            source: the rows.
            journal: their results.
            show: takes what the user should know about the conversion.

        Raises:
            InputChangedError: rows that are ok are not in the source.
            StorageError: the disk did not take it.
        """
        with journal.reader() as reader, exporting(self._path):
            if self._is_up_to_date(reader):
                return
            self._tally.phase = RunPhase.EXPORTING
            written = Written(self._path, reader)
            self.exported = export(
                source,
                reader,
                self._path,
                self._columns,
                limit=self._limit,
                # Noted before the rename: a kill between the two leaves a file known as ours.
                before_rename=lambda complete: written.note_in(journal, complete),
            )
            written.clear()
        # Two independent counts: the journal's as it was committed, and what the file holds.
        if self.exported.ok != self._tally.ok:
            raise StorageError(
                f"{self._path} holds {self.exported.ok:,} good rows of {self._tally.ok:,}. This "
                "is a defect of distilabel-endpoints; please report it."
            )
        journal.write_note("exported", self._mark())
        journal.flush()
        for note in self.exported.notes:
            show(note)

    def note_end(self, source: RowSource, journal: Journal, finished: Finished) -> None:
        """Let the same command recognise that nothing is left to do."""
        tally = self._tally
        if tally.failed or self.exported is None or not source.identity:
            return
        tokens = tally.run_tokens
        counts = FinalCounts(
            total=tally.total or 0,
            ok=tally.ok,
            skipped=tally.skipped,
            duplicate_ids=tally.duplicate_ids,
            answers=self.exported.answers,
            truncated=self.exported.truncated,
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
        )
        journal.write_note(*finished.note(counts))
        journal.flush()

    def _is_up_to_date(self, reader: Reader) -> bool:
        """Nothing was done since the output was written, and it is still what was written."""
        if self._tally.output_tokens or self._tally.ok + self._tally.failed > self._tally.resumed:
            return False
        return self._path.exists() and reader.note("exported") == self._mark()

    def _mark(self) -> dict[str, Any]:
        file = self._path.stat() if self._path.exists() else None
        return {
            "rows": self._tally.total,
            "size": file.st_size if file else None,
            "modified_ns": file.st_mtime_ns if file else None,
            "limit": self._limit,
            "columns": column_note(self._columns),
        }
