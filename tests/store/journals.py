"""Rows, results and journals for the tests of the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path

from distilabel_endpoints._store.journal import Journal, Pace, Reader, Record
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result, Usage

SPEC = {"model_id": "some/model", "temperature": 0.5}

BY_HAND = Pace(group=10**9, delay=3600)
"""Commits at `flush` and `close` only."""


def ok(ordinal: int, text: str | None = None) -> Result:
    """A row that was answered."""
    completion = Completion(text=text or f"answer {ordinal}", finish_reason="stop")
    return Result(
        ordinal=ordinal,
        completions=(completion,),
        failures=(None,),
        usages=(Usage(3, 5),),
        attempts=1,
    )


def failed(ordinal: int, message: str = "too long", status: int | None = 400) -> Result:
    """A row that could not be answered."""
    failure = Failure(kind=FailureKind.ROW, message=message, status=status)
    return Result(ordinal=ordinal, completions=(None,), failures=(failure,), attempts=2)


def varied(ordinal: int) -> Result:
    """Results of every size a page can meet: in one cell, and over one or many overflow pages."""
    size = (10, 300, 3000, 4060, 9000, 30_000)[ordinal % 6]
    return failed(ordinal) if ordinal % 11 == 7 else ok(ordinal, "ä" * (size // 2))


def hash_of(ordinal: int) -> bytes:
    """The content hash of input row `ordinal`."""
    return blake2b(b"row %d" % ordinal, digest_size=16).digest()


def write(output: Path, results: Iterable[Result]) -> None:
    """Append `results` to the journal of `output` and close it."""
    with Journal(output, SPEC, pace=BY_HAND) as journal:
        for result in results:
            journal.append(result, hash_of(result.ordinal))


def stored(output: Path) -> dict[int, Result]:
    """Every result the journal of `output` hands out, by ordinal."""
    with Reader(output) as reader:
        return {record.ordinal: record.result for record in reader.results()}


def into(ordinals: list[int]) -> Callable[[list[Record]], None]:
    """An `on_committed` that notes which rows it was given."""
    return lambda records: ordinals.extend(record.ordinal for record in records)
