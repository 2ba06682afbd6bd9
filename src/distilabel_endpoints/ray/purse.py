"""The actor that grants the workers of a job what they may spend, and a worker's side of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints.errors import DistilabelError
from distilabel_endpoints.ray.ledger_file import change_ledger, halt_path, read_ledger
from distilabel_endpoints.ray.package import ray_error, ray_package
from distilabel_endpoints.runs.pilot import Span
from distilabel_endpoints.spending.account import Account, Ask, Grant
from distilabel_endpoints.spending.amounts import Cost
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.reservation import Bound
from distilabel_endpoints.spending.treasury import Treasury

__all__ = ["JobMoney", "Purse", "Terms", "TreasuryActor", "start_treasury"]

_PERIOD: Final = 0.5
"""Seconds after which a worker looks what has become of the money, if it has nothing to ask."""
_PAUSE: Final = 0.05
"""Seconds before it asks again for what others have."""
_PATIENCE: Final = 5.0
"""Seconds for one answer of the treasury."""


class Terms(NamedTuple):
    """What a job may spend. It may change while the job runs."""

    limit: Cost
    """The most that all may spend; it begins with what earlier jobs spent."""
    ends_at: float | None
    """When its time is over, by the wall clock; None if it is not limited."""

    def budget(self, passed: float) -> Budget:
        """The same for a worker that has worked for `passed` seconds."""
        if self.ends_at is None:
            return Budget.up_to(self.limit, None)
        return Budget.up_to(self.limit, max(0.0, passed + self.ends_at - time.time()))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoney:
    """What a job may spend, and on what. Holds no secret."""

    terms: Terms
    bound: Bound


class TreasuryActor:
    """The treasury, with its books on the disk; `start_treasury` makes an actor of it.

    Args:
        output: the folder of the run; every node sees it.
        job: whose books these are. They have its terms, also those that were changed meanwhile.
    """

    def __init__(self, output: str, job: str) -> None:
        self._output, self._job = Path(output), job
        ledger = read_ledger(self._output)
        if ledger is None or ledger.job != job:
            self._terms, earlier, notes = Terms(Cost(), None), Cost(), {}
        else:
            self._terms = Terms(ledger.limit, ledger.ends_at)
            earlier, notes = ledger.earlier.cost, dict(ledger.workers)
        self._began = time.time() if ledger is None else ledger.began - ledger.earlier.seconds
        self._treasury = Treasury(self._terms.limit, earlier, notes, time.monotonic())
        self._times: dict[int, Span] = {}

    def grant(self, worker: str, ask: Ask) -> tuple[Grant, Terms]:
        """What a worker may spend from now on, after that is on the disk."""
        granted = self._treasury.grant(worker, ask, time.monotonic())
        notes, seconds = self._treasury.notes, time.time() - self._began
        if change_ledger(self._output, self._job, workers=notes, seconds=seconds) is None:
            return Grant(most=ask.held, limit=Cost()), self._terms
        return granted, self._terms

    def look(self, worker: str) -> tuple[Grant, Terms]:
        """A worker is still there, and wants to know what it may come to."""
        return self._treasury.look(worker, time.monotonic()), self._terms

    def change(self, terms: Terms, text: str) -> None:
        """The job may spend this much from now on, which the user wrote as `text`."""
        self._terms, self._treasury.limit = terms, terms.limit
        changes = {"limit": terms.limit, "ends_at": terms.ends_at, "budget": text}
        change_ledger(self._output, self._job, **changes)

    def run_out(self) -> None:
        """A worker left something undone, as there is no money or no time for it."""
        if change_ledger(self._output, self._job, is_exhausted=True) is not None:
            halt_path(self._output).touch()

    def note_times(self, times: Mapping[int, Span]) -> None:
        """When rows of the pilot began and ended, by the wall clock."""
        self._times.update(times)

    def times(self) -> Mapping[int, Span]:
        """All that was noted."""
        return self._times


def start_treasury(output: Path, job: str) -> Any:
    """The actor that keeps the books of this job."""
    ray = ray_package("a budget")
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(TreasuryActor)
    return actor.remote(str(output), job)


class Purse:
    """A worker's account, filled from the treasury by a separate thread.

    Args:
        treasury: the actor.
        name: the worker's.
        lease: its engine.
        money: what the job may spend.
    """

    def __init__(self, treasury: Any, name: str, lease: Lease, money: JobMoney) -> None:
        self._ray = ray_package("a worker")
        self._treasury, self._name, self._lease = treasury, name, lease
        self._asks: queue.SimpleQueue[Ask] = queue.SimpleQueue()
        self._error: DistilabelError | None = None
        self._terms = money.terms
        budget = money.terms.budget(0.0)
        self.account = Account(budget, money.bound, clock=time.monotonic, save=self._asks.put)
        threading.Thread(
            target=self._ask_treasury, name="distilabel-endpoints-purse", daemon=True
        ).start()

    def _ask_treasury(self) -> None:
        while self._lease.alive and self._error is None:
            ask = None
            with suppress(queue.Empty):
                ask = self._asks.get(timeout=_PERIOD)
            while (answer := self._answer(ask)) is None and self._lease.alive:
                time.sleep(_PAUSE)
            if answer is not None:
                grant, terms = answer
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    self._lease.loop.call_soon_threadsafe(self._take, ask, grant, terms)
                # Others have the rest, and the account asks again at once.
                if ask is not None and not ask.most.within(grant.most):
                    time.sleep(_PAUSE)

    def _answer(self, ask: Ask | None) -> tuple[Grant, Terms] | None:
        """The treasury's answer; None if it does not give one now, and may give one later."""
        treasury, name = self._treasury, self._name
        try:
            request = (
                treasury.look.remote(name) if ask is None else treasury.grant.remote(name, ask)
            )
            answer: tuple[Grant, Terms] = self._ray.get(request, timeout=_PATIENCE)
        except self._ray.exceptions.RayError as error:
            self._error = _final(error)
            if self._error is None:
                return None
            held = Cost() if ask is None else ask.held
            return Grant(most=held, limit=Cost()), self._terms
        return answer

    def _take(self, ask: Ask | None, grant: Grant, terms: Terms) -> None:
        if ask is None:
            self.account.hear(grant.limit)
        else:
            self.account.saved(grant)
        # Afterwards: what was granted ahead was a share of the other budget, too.
        if terms != self._terms:
            self._terms = terms
            self.account.change_budget(terms.budget(self.account.seconds))

    def settle(self) -> None:
        """After a block: have noted exactly what was spent, if nothing is under way.

        Raises:
            StorageError: the treasury cannot write its books any more.
        """
        until = time.monotonic() + _PATIENCE
        while not self._lease.run(_is_settled, self.account) and time.monotonic() < until:
            time.sleep(_PAUSE)
        if self._error is not None:
            raise self._error
        if self.account.is_exhausted:
            try:
                self._ray.get(self._treasury.run_out.remote())
            except self._ray.exceptions.RayError as error:
                raise _final(error) or ray_error(error) from None


def _final(error: Exception) -> DistilabelError | None:
    """The treasury's own error; None if it was not reached and may answer later."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, DistilabelError):
        return cause
    # Not even a new one can read its books, or it met a defect: the next answer is the same.
    is_final = cause is not None or getattr(error, "actor_init_failed", False)
    return ray_error(error) if is_final else None


async def _is_settled(account: Account) -> bool:
    """On the engine's own loop, where nothing changes meanwhile."""
    return account.ledger.open_rows > 0 or account.note_exactly()
