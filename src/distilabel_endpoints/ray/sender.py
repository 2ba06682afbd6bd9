"""Sends a job's rows: one execution of Ray Data after the other, each with its results in shards.

With `provider="sticky"` the first rows go to one worker alone. Who answers these answers all,
whichever worker sends them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import DistilabelError
from distilabel_endpoints.ray.folder import Folder
from distilabel_endpoints.ray.marker import Marker
from distilabel_endpoints.ray.shards import write_shards
from distilabel_endpoints.ray.source import RowFile, read_rows
from distilabel_endpoints.ray.stage import ROWS_PER_BLOCK, generate_blocks
from distilabel_endpoints.ray.worker import JobSpec
from distilabel_endpoints.runs.first_provider import first_provider

__all__ = ["Sender"]

_FIRST: Final = 4
_GROWTH: Final = 8
"""If none of the first rows was answered, the next try is with this many times as many."""


@dataclass(slots=True, kw_only=True)
class Sender:
    """What is the same for all executions of a job."""

    ray: Any
    coordinator: Any
    treasury: Any
    output: Path
    actors: int
    spec: JobSpec
    reason: Callable[[Exception], DistilabelError]
    """The error to raise for an exception of an execution."""

    def send(
        self, rows: RowFile, rows_per_block: int = ROWS_PER_BLOCK, *, actors: int | None = None
    ) -> None:
        """Have these rows answered, but for those that have answers.

        Raises:
            DistilabelError: what ended the execution.
        """
        ds = generate_blocks(
            read_rows(rows),
            self.spec,
            self.coordinator,
            actors=actors or self.actors,
            treasury=self.treasury,
            rows_per_block=rows_per_block,
        )
        try:
            write_shards(ds, self.output)
        except (self.ray.exceptions.RayError, OSError, RuntimeError) as error:
            raise self.reason(error) from None

    def keep_to_first_provider(
        self, file: RowFile, is_over: Callable[[], object], tell: Callable[[str], None]
    ) -> None:
        """Find out who answers first, and have all workers ask that provider from now on.

        Args:
            file: the input.
            is_over: whether the job has ended meanwhile.
            tell: is given a sentence about it.
        """
        begin, count = 0, _FIRST
        answered, name = self._first_provider()
        while name is None and not answered and begin < file.count and not is_over():
            first = frozenset(range(begin, min(begin + count, file.count)))
            self.send(replace(file, only=first), len(first), actors=1)
            begin, count = begin + count, count * _GROWTH
            answered, name = self._first_provider()
        if name is not None:
            self.spec = replace(self.spec, parcel=replace(self.spec.parcel, provider=name))
            tell(f"{name} answers all rows (provider sticky)")

    def _first_provider(self) -> tuple[bool, str | None]:
        return first_provider(Folder(self.output, Marker.read(self.output)))
