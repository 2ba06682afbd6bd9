"""The pilot: random rows that are answered completely first, and what they say of all others."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.records import Result
from distilabel_endpoints.spending.cohort import draw_cohort
from distilabel_endpoints.spending.forecast import Forecast, SampleRow, forecast
from distilabel_endpoints.spending.prices import Pricing
from distilabel_endpoints.spending.reservation import prompt_tokens

__all__ = ["Pilot", "Span"]


class Span(NamedTuple):
    """When a row began and ended, on the engine's clock."""

    began: float
    ended: float


@dataclass(slots=True)
class Pilot:
    """The rows that stand for all, and what has been seen of them."""

    wanted: int
    """How many rows."""
    cohort: frozenset[int] = frozenset()
    pending: int = 0
    """Rows of the run that are to be sent."""
    pending_bytes: int = 0
    """Of their prompts."""
    plans: dict[int, RowPlan] = field(default_factory=dict)
    """Of the rows of the cohort that can be sent."""
    spans: dict[int, Span] = field(default_factory=dict)

    def weigh(self, plan: RowPlan) -> None:
        """A row is to be sent."""
        self.pending += 1
        self.pending_bytes += prompt_tokens(plan.request)

    def draw(self, total: int) -> frozenset[int]:
        """Choose among that many rows."""
        self.cohort = draw_cohort(range(total), self.wanted)
        return self.cohort

    def forecast(
        self,
        result_of: Callable[[int], Result | None],
        *,
        rows: int,
        pending: AbstractSet[int],
        pricing: Pricing,
    ) -> Forecast | None:
        """What the run will need; None if the rows are too few.

        Args:
            result_of: gives the result of a row of the cohort, by its place.
            rows: how many the run has that can be sent.
            pending: those of the cohort that had no answer when the run began.
            pricing: what a token costs.
        """
        results = map(result_of, sorted(self.plans))
        sample = [self._row(result) for result in results if result is not None]
        if not sample:
            return None
        sent = [plan.request for ordinal, plan in self.plans.items() if ordinal in pending]
        others = self.pending - len(sent)
        other_bytes = self.pending_bytes - sum(map(prompt_tokens, sent))
        # Rows that were done before the run are not weighed: the others stand for them.
        scale = (rows - len(sample)) / others if others else 0.0
        return forecast(
            sample,
            rows=rows,
            other_bytes=round(other_bytes * scale),
            max_new_tokens=max(plan.request.max_new_tokens or 0 for plan in self.plans.values()),
            generations=max(plan.wanted for plan in self.plans.values()),
            pricing=pricing,
        )

    def _row(self, result: Result) -> SampleRow:
        plan, span = self.plans[result.ordinal], self.spans.get(result.ordinal)
        tokens = [usage.output_tokens or 0 for usage in result.usages]
        is_cut = any(end is not None and end.finish_reason == "length" for end in result.endings)
        return SampleRow(
            prompt_bytes=prompt_tokens(plan.request),
            input_tokens=sum(usage.input_tokens or 0 for usage in result.usages),
            output_tokens=sum(tokens),
            is_cut=is_cut,
            longest_answer=0 if is_cut else max(tokens, default=0),
            began=span.began if span else None,
            ended=span.ended if span else None,
        )
