"""The output of a batch file that was answered over Ray: its lines beside the folder of shards.

The answered lines of the folder `answers` are in `answers.jsonl`, in the input's order, and those
that failed in a file beside it. Both are written when the job ends, from the input and the shards.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from distilabel_endpoints.ray.folder import Folder
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.rows import OutputColumns, RowSource, check_output
from distilabel_endpoints.runs.batch import error_file_of
from distilabel_endpoints.runs.export import export
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.written import Written, exporting, foreign, refuse_foreign_errors

__all__ = ["LinesFile"]


class LinesFile:
    """What a run over Ray writes of a batch file.

    Args:
        folder: of the run.
        options: of the run.
    """

    def __init__(self, folder: Path, options: RunOptions) -> None:
        self._folder = folder
        self._limit = options.limit
        self.path = folder.with_name(f"{folder.name}.jsonl")
        self.errors = error_file_of(self.path, options)

    def check(
        self, columns: OutputColumns, source: RowSource, before: Marker | None, *, is_fresh: bool
    ) -> None:
        """Refuse to write where something else is.

        Raises:
            ConfigurationError: one of the files is a part of the input, or cannot be written.
            OutputExistsError: a file is there that this run did not write.
        """
        check_output(self.path, columns, source)
        if is_fresh:
            return
        refuse_foreign_errors(columns.error_file, None if before is None else before.run)
        if not Written(self.path, Folder(self._folder, before)).stands:
            raise foreign(self.path, marker_path(self._folder))

    def write(self, columns: OutputColumns, source: RowSource, marker: Marker) -> Marker:
        """Write every line that has ended; gives back the marker, which knows of the file now.

        Raises:
            InputChangedError: lines that are answered are not in the source.
            StorageError: the disk did not take it.
        """
        written = Written(self.path, Folder(self._folder, marker))

        def note(complete: Path) -> None:
            nonlocal marker
            marker = replace(marker, run={**marker.run, "written": written.marks_with(complete)})
            marker.write(self._folder)

        with exporting(self.path):
            store = Folder(self._folder, marker)
            export(source, store, self.path, columns, limit=self._limit, before_rename=note)
        return marker
