"""What a job over Ray pays with: the driver's side of its budget, its price and its ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.ray.ledger_file import (
    JobLedger,
    begin_ledger,
    change_ledger,
    limit_of,
    read_ledger,
)
from distilabel_endpoints.ray.purse import JobMoney, Terms, start_treasury
from distilabel_endpoints.run_state import Spent
from distilabel_endpoints.runs.paying import SpendingOptions, refusal_of
from distilabel_endpoints.spending.account import Account, spent_of
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.prices import Pricing
from distilabel_endpoints.spending.reservation import Bound

__all__ = ["JobPayment"]


class JobPayment:
    """The ledger of one job, from its beginning to its end.

    Args:
        output: the folder of the run.
        options: the budget.
        pricing: what tokens or hours cost.
        began: the reading of `time.monotonic` when the job began.
        is_fresh: whether the run starts over, with nothing spent.
    """

    def __init__(
        self,
        output: Path,
        options: SpendingOptions,
        pricing: Pricing,
        *,
        began: float,
        is_fresh: bool,
    ) -> None:
        self._output = output
        self._budget = options.budget
        self._pricing = pricing
        self._began = began
        self._is_over = False
        self._treasury: Any = None
        self._spent: Spent | None = None
        self._ledger: JobLedger = begin_ledger(
            output,
            options.budget,
            price=pricing.price,
            hourly=pricing.hourly,
            began=time.time() - (time.monotonic() - began),
            is_fresh=is_fresh,
        )

    def money(self) -> JobMoney:
        """What workers need to know of it."""
        bound = Bound(self._pricing.price, self._pricing.context)
        return JobMoney(terms=self._terms(self._budget), bound=bound)

    def start(self) -> Any:
        """The actor that grants workers what they may spend."""
        terms = self._terms(self._budget)
        change_ledger(self._output, self._ledger.job, ends_at=terms.ends_at)
        self._treasury = start_treasury(self._output, self._ledger.job)
        return self._treasury

    def change(self, budget: Budget, unlimited: Callable[[], int]) -> str | None:
        """The job's budget from now on; gives back why it cannot be, if so.

        Args:
            budget: that is wanted.
            unlimited: counts the rows left that set no limit on the length of their answers. A job
                that began with such a budget has none.
        """
        is_first = budget.limits_cost and not self._budget.limits_cost
        refused = refusal_of(budget, self._pricing, unlimited=unlimited() if is_first else 0)
        if refused is None:
            self._budget = budget
            self._treasury.change.remote(self._terms(budget), budget.text)
        return refused

    def _terms(self, budget: Budget) -> Terms:
        clock = Account(
            budget,
            Bound(),
            clock=time.monotonic,
            began=self._began,
            hourly=self._pricing.hourly,
            earlier=self._ledger.note(is_over=True),
        )
        # As a time of day: nodes share no monotonic clock.
        left = clock.seconds_left
        limit = limit_of(budget, self._pricing.hourly)
        return Terms(limit, None if left is None else time.time() + left)

    def close(self) -> None:
        """No worker is left: what is still reserved counts as spent."""
        seconds = self._ledger.earlier.seconds + time.monotonic() - self._began
        with suppress(StorageError):  # of a disk that has failed, which ended the run
            change_ledger(self._output, self._ledger.job, seconds=seconds)
        self._is_over = True

    @property
    def is_exhausted(self) -> bool:
        """Whether something was left undone for want of money or time."""
        ledger = read_ledger(self._output)
        return ledger is not None and ledger.is_exhausted

    def spent(self) -> Spent | None:
        """What the run has spent by now, as far as the disk can be read."""
        with suppress(StorageError):
            ledger = read_ledger(self._output)
            if ledger is not None:
                seconds = self._ledger.earlier.seconds + time.monotonic() - self._began
                note = {**ledger.note(is_over=self._is_over), "seconds": seconds}
                self._spent = spent_of(note)
        return self._spent
