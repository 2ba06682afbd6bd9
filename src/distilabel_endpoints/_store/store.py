"""Where a run's results are kept, for reading: the protocol `Store`.

There are two: the journal of a run of one process (`journal/`), and the shards of a run over Ray
(`ray/folder.py`). `status` and `export` read either. Reading never writes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

from distilabel_endpoints.records import Result
from distilabel_endpoints.run_state import FailureGroup

__all__ = ["Closing", "Store", "StoreStatistics", "StoredResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What is stored of a run, at one instant."""

    ok: int = 0
    failed: int = 0
    attempts: int | None = None
    """`None` if it is not kept: in shards."""
    input_tokens: int = 0
    output_tokens: int = 0
    failures: tuple[FailureGroup, ...] = ()
    """Why rows failed, the most frequent reason first."""


class StoredResult(Protocol):
    """A row's result, and which row it belongs to."""

    @property
    def ordinal(self) -> int:
        """The row's place in the input."""
        ...

    @property
    def content_hash(self) -> bytes:
        """Of the row's content, as it was when it was sent."""
        ...

    @property
    def ok(self) -> int:
        """1 if no generation failed, else 0."""
        ...

    @property
    def result(self) -> Result:
        """The result itself."""
        ...


class Store(Protocol):
    """The results of a run, also while it is running."""

    damaged: int
    """Results that `results` left out so far because they are not what was written."""

    def note(self, name: str) -> Any:
        """The JSON value last kept under `name`; `None` if there is none."""
        ...

    def statistics(self, stop: int | None = None) -> StoreStatistics:
        """Counts and sums over the rows before ordinal `stop`, and the failed ones by reason."""
        ...

    def results(self, start: int = 0, stop: int | None = None) -> Iterator[StoredResult]:
        """Every intact result with `start <= ordinal < stop`, in order."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class Closing(ABC):
    """Closed at the end of a `with` block."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def close(self) -> None:
        """Let go of files and threads."""

    def __exit__(self, *_: object) -> None:
        self.close()
