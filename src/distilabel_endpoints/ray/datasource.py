"""`RowFile` as a datasource of `ray.data`. Imports the library; loaded by `read_rows` alone."""

from __future__ import annotations

from typing import Any

from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from distilabel_endpoints.ray.source import RowFile

__all__ = ["RowDatasource"]


class RowDatasource(Datasource):
    """One read task, which gives all rows in order."""

    def __init__(self, file: RowFile) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._file = file

    def get_name(self) -> str:
        """What Ray shows."""
        return "Rows"

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known."""
        return None

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002 - one task, whatever Ray would like
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002 - part of the interface
    ) -> list[Any]:
        """The task."""
        about = BlockMetadata(
            num_rows=self._file.count, size_bytes=None, input_files=None, exec_stats=None
        )
        return [ReadTask(self._file.tables, about, per_task_row_limit=per_task_row_limit)]
