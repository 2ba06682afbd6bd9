"""What a job over Ray pays with: the driver's side of its budget, its price and its ledger."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.ray.ledger_file import (
    JobLedger,
    begin_ledger,
    change_ledger,
    read_ledger,
)
from distilabel_endpoints.ray.purse import JobMoney, start_treasury
from distilabel_endpoints.run_state import Spent
from distilabel_endpoints.runs.paying import SpendingOptions
from distilabel_endpoints.spending.account import Account, spent_of
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
        clock = Account(
            self._budget,
            bound,
            clock=time.monotonic,
            began=self._began,
            hourly=self._pricing.hourly,
            earlier=self._ledger.note(is_over=True),
        )
        left = clock.seconds_left
        ends_at = None if left is None else time.time() + left
        return JobMoney(limit=self._ledger.limit, bound=bound, ends_at=ends_at)

    def start(self) -> Any:
        """The actor that grants workers what they may spend."""
        return start_treasury(self._output, self._ledger.job)

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
