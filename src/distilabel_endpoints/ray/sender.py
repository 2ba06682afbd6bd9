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
    """What an execution failed for, by its exception."""

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
        """Whether any row has an answer, and who gave the first one, if that is said."""
        stored = Folder(self.output, Marker.read(self.output)).results()
        has_answers = False
        for answer in (c for row in stored for c in row.result.completions if c is not None):
            has_answers = True
            if answer.provider is not None:
                return True, answer.provider
        return has_answers, None
