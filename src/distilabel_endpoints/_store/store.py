"""What both places where results are kept tell of a run: the journal of one process, and shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from distilabel_endpoints.run_state import FailureGroup

__all__ = ["Closing", "StoreStatistics"]


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


class Closing(ABC):
    """Closed at the end of a `with` block."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def close(self) -> None:
        """Let go of files and threads."""

    def __exit__(self, *_: object) -> None:
        self.close()
