"""What a report says of a run's rows: counts, lengths, shares, and which rows to show.

One pass over the rows, in bounded memory. The same rows give the same figures and the same choice
of rows, whatever the order they come in.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from distilabel_endpoints.histogram import Histogram
from distilabel_endpoints.quality.flaws import Flaw, answers_of, flaws_of
from distilabel_endpoints.records import Completion, Failure
from distilabel_endpoints.report.stored import StoredRow

__all__ = ["EXAMPLES", "FailureFigures", "Figures", "gather", "sample_key"]

SAMPLES: Final = 20
EXTREMES: Final = 10
EXAMPLES: Final = 3
MOST_CODES: Final = 40
MOST_REASONS: Final = 20


@dataclass(slots=True)
class FailureFigures:
    """Rows that failed with one code."""

    code: str
    status: int | None
    kind: str
    rows: int = 0
    hint: str | None = None
    examples: list[int] = field(default_factory=list)
    """Ordinals of the first rows."""


@dataclass(slots=True)
class Figures:
    """The figures of one run."""

    rows: int = 0
    ok: int = 0
    attempts: int = 0
    """Requests that were made for the rows that ended."""
    input_tokens: int = 0
    output_tokens: int = 0
    answers: int = 0
    """What the model wrote, refused answers included."""
    prompt_tokens: Histogram = field(default_factory=Histogram)
    """One number a row; none for a row whose tokens were not counted."""
    answer_tokens: Histogram = field(default_factory=Histogram)
    """One number a row: all its answers together."""
    answer_characters: Histogram = field(default_factory=Histogram)
    """One number an answer."""
    finishes: Counter[str] = field(default_factory=Counter)
    flaws: Counter[Flaw] = field(default_factory=Counter)
    failures: dict[tuple[str, int | None], FailureFigures] = field(default_factory=dict)
    sample: list[int] = field(default_factory=list)
    longest: list[int] = field(default_factory=list)
    shortest: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Rows with an error."""
        return self.rows - self.ok

    @property
    def failures_by_rows(self) -> list[FailureFigures]:
        """Most rows first."""
        return sorted(self.failures.values(), key=lambda f: (-f.rows, f.code, f.status or 0))

    def shown(self) -> set[int]:
        """The ordinals of all rows that a report shows."""
        examples = (n for failure in self.failures.values() for n in failure.examples)
        return {*self.sample, *self.longest, *self.shortest, *examples}


def sample_key(ordinal: int) -> bytes:
    """Rows with the lowest ones are the random sample: the same in every run and every report."""
    return blake2b(ordinal.to_bytes(8, "big"), digest_size=8).digest()


class _Lowest:
    """Keeps the ordinals with the lowest keys, `most` of them at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[_Reversed, int]] = []

    def add(self, key: tuple[float, int] | bytes, ordinal: int) -> None:
        entry = (_Reversed(key), ordinal)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif self._heap[0] < entry:
            heapq.heapreplace(self._heap, entry)

    def ordinals(self) -> list[int]:
        """Lowest key first."""
        return [ordinal for _, ordinal in sorted(self._heap, reverse=True)]


class _Reversed:
    __slots__ = ("key",)

    def __init__(self, key: tuple[float, int] | bytes) -> None:
        self.key = key

    def __lt__(self, other: _Reversed) -> bool:
        return other.key < self.key  # type: ignore[operator]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and self.key == other.key

    __hash__ = None  # type: ignore[assignment]


def gather(rows: Iterable[StoredRow]) -> Figures:
    """The figures of `rows`."""
    figures = Figures()
    sample, longest, shortest = _Lowest(SAMPLES), _Lowest(EXTREMES), _Lowest(EXTREMES)
    for row in rows:
        _add(figures, row)
        sample.add(sample_key(row.ordinal), row.ordinal)
        if row.result.status == "ok":
            length = sum(len(answer.text or "") for answer in answers_of(row.result))
            longest.add((-length, row.ordinal), row.ordinal)
            shortest.add((length, row.ordinal), row.ordinal)
    figures.sample = sorted(sample.ordinals())
    figures.longest, figures.shortest = longest.ordinals(), shortest.ordinals()
    return figures


def _add(figures: Figures, row: StoredRow) -> None:
    result = row.result
    figures.rows += 1
    figures.ok += result.status == "ok"
    figures.attempts += result.attempts
    _add_tokens(figures, row)
    for answer in answers_of(result):
        _add_answer(figures, answer)
    failure = next(filter(None, result.failures), None)
    if failure is not None:
        _add_failure(figures.failures, failure, row.ordinal)


def _add_tokens(figures: Figures, row: StoredRow) -> None:
    usages = row.result.usages
    counts = [usage.input_tokens for usage in usages if usage.input_tokens is not None]
    made = [usage.output_tokens for usage in usages if usage.output_tokens is not None]
    figures.input_tokens += sum(counts)
    figures.output_tokens += sum(made)
    if counts:
        figures.prompt_tokens.add(max(counts))  # a further request has the same prompt
    if made:
        figures.answer_tokens.add(sum(made))


def _add_answer(figures: Figures, answer: Completion | Failure) -> None:
    figures.answers += 1
    figures.answer_characters.add(len(answer.text or ""))
    reason = answer.finish_reason or "not told"
    if reason not in figures.finishes and len(figures.finishes) >= MOST_REASONS:
        reason = "others"
    figures.finishes[reason] += 1
    figures.flaws.update(flaws_of(answer))


def _add_failure(
    failures: dict[tuple[str, int | None], FailureFigures], failure: Failure, ordinal: int
) -> None:
    key = (failure.code or str(failure.kind), failure.status)
    if key not in failures and len(failures) >= MOST_CODES:
        key = ("others", None)
    entry = failures.setdefault(
        key, FailureFigures(code=key[0], status=key[1], kind=str(failure.kind), hint=failure.hint)
    )
    entry.rows += 1
    entry.examples = sorted([*entry.examples, ordinal])[:EXAMPLES]
