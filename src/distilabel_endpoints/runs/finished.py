"""Whether the same run has finished before: nothing failed, nothing changed.

A finished run notes in its journal what it read and what it wrote. While both files are as they
were (size, time stamps, inode, as git's index compares them), and the settings too, there is
nothing to look through, however many rows there are. In any doubt the answer is no.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.rows import FileIdentity, OutputColumns, RowSource
from distilabel_endpoints.runs.options import RunOptions

__all__ = ["FinalCounts", "Finished", "column_note"]

_NOTE = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalCounts:
    """What a finished run came to."""

    total: int
    ok: int
    skipped: int
    duplicate_ids: int
    answers: int
    truncated: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """What must be as it was. Made before the input is read for the first time."""

    output: Path
    source: RowSource
    options: RunOptions
    columns: OutputColumns

    def find(self, spec: Mapping[str, Any]) -> FinalCounts | None:
        """What the run came to, if it is over and its output stands."""
        if not self.source.identity or not self.output.exists():
            return None
        try:
            with Reader(self.output) as reader:
                # As it was stored: JSON has no tuples.
                if dict(reader.header.spec) != json.loads(json.dumps(spec)):
                    return None
                note = reader.note(_NOTE)
        except StorageError:
            return None
        if note is None or note["mark"] != self._mark():
            return None
        return FinalCounts(**note["counts"])

    def note(self, counts: FinalCounts) -> tuple[str, Any]:
        """The note to leave once the output is written."""
        return _NOTE, {"mark": self._mark(), "counts": asdict(counts)}

    def _mark(self) -> Any:
        mark = {
            "input": [asdict(file) for file in self.source.identity],
            "output": asdict(FileIdentity.of(self.output)),
            "limit": self.options.limit,
            "columns": column_note(self.columns),
        }
        return json.loads(json.dumps(mark))


def column_note(columns: OutputColumns) -> dict[str, Any]:
    """`columns` as the journal keeps it: what makes them again."""
    return asdict(columns)
