"""Sends the rows that are pending, the pilot's first, and hands every result to the journal.

Every way in which sending ends early is here: a stop, an alarm, an input that changed, a budget
that is spent, a forecast that nobody has said yes to. What is left is left for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Final

from distilabel_endpoints._engine.bridge import iter_results
from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._engine.in_flight import Drain, current_seat
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints.progress.forecast_text import forecast_text
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import Row, RowSource
from distilabel_endpoints.run_state import RunEnding
from distilabel_endpoints.runs.heap import Heap
from distilabel_endpoints.runs.ordering import arranged
from distilabel_endpoints.runs.pilot import Pilot, Span
from distilabel_endpoints.runs.planning import Planning
from distilabel_endpoints.runs.scan import Scan, changed_meanwhile, checked
from distilabel_endpoints.runs.session import Session
from distilabel_endpoints.runs.watching import AnswerWatch
from distilabel_endpoints.spending.account import Account
from distilabel_endpoints.spending.forecast import Forecast
from distilabel_endpoints.spending.prices import Pricing

__all__ = ["Sending"]

# Beyond it the disk is slower than the endpoint: wait for it, so that memory stays bounded.
_MOST_BACKLOG: Final = 4096


@dataclass(slots=True, kw_only=True)
class Sending:
    """What `send_all` needs of a run, and the forecast that it makes."""

    source: RowSource
    planner: Planning
    scanned: Scan
    journal: Journal
    lease: Lease
    account: Account
    session: Session
    watch: AnswerWatch
    drain: Drain
    pilot: Pilot | None
    pricing: Pricing
    yes: bool
    """Whether the others follow the pilot at once."""
    message: Callable[[str], None]
    forecast: Forecast | None = field(init=False, default=None)

    def send_all(self) -> None:
        """The pilot's rows first, and what is reported of the others; then these."""
        cohort: Container[int] = ()
        if self.pilot is not None:
            # Among all rows, also those that are done: a resumed run forecasts from the same ones.
            cohort = self.pilot.draw(self.scanned.total)
            self._send(self._pilot_plans(self.pilot))
            if not self._others_follow(self.pilot):
                return
        plans = self._plans(lambda ordinal: ordinal not in cohort)
        self._send(arranged(plans))
        self._is_paid()

    def _is_paid(self) -> bool:
        """Whether the budget was enough for what was to be sent."""
        session = self.session
        if self.account.is_exhausted and session.tally.pending and session.error is None:
            session.halted = RunEnding.BUDGET
        return session.halted is None

    def _plans(self, is_wanted: Callable[[int], bool]) -> Iterator[RowPlan]:
        """Of the rows that are pending, until one is not what it was at the first look."""
        pending = self.scanned.pending
        for item in self.source.rows(lambda n, _: n not in pending or not is_wanted(n)):
            # A file that is rewritten while it is read: what was checked is not what would be sent.
            if not isinstance(item, Row) or not pending.matches(item.ordinal, item.content_hash):
                self.session.error = changed_meanwhile(self.source)
                return
            yield self.planner.plan(item)

    def _pilot_plans(self, pilot: Pilot) -> Iterator[RowPlan]:
        """Of the pilot's rows that are pending; it keeps those that have answers already, too."""
        pending, plan_row = self.scanned.pending, self.planner.plan
        for plan in self._plans(lambda ordinal: ordinal in pilot.cohort):
            pilot.plans[plan.request.ordinal] = plan
            yield plan
        done = self.source.rows(lambda n, _: n not in pilot.cohort or n in pending)
        for row in done:
            if isinstance(row, Row) and checked(row, plan_row) is None:
                pilot.plans[row.ordinal] = plan_row(row)

    def _send(self, plans: Iterator[RowPlan]) -> None:
        scheduler, pilot, journal = self.lease.scheduler, self.pilot, self.journal

        async def work(plan: RowPlan) -> Result:
            result = await answer_row(scheduler, plan)
            began = current_seat().began
            if pilot is not None and began is not None and result.ordinal in pilot.cohort:
                pilot.spans[result.ordinal] = Span(began, scheduler.loop.time())
            return result

        heap = Heap()
        heap.give_back()  # what the first look took, the ids above all
        for result in iter_results(self.lease, self._sent(plans), work, self.drain, self.account):
            self.session.tally.appended(result)
            journal.append(result, result.key)
            self.watch.ended(result)
            heap.row()
            if journal.backlog > _MOST_BACKLOG:
                journal.flush()
        journal.flush()

    def _sent(self, plans: Iterator[RowPlan]) -> Iterator[RowPlan]:
        """These plans, until something ends the sending."""
        for plan in plans:
            if self.session.stopping or self.watch.error is not None:
                return
            self.watch.sent(plan)
            yield plan

    def _others_follow(self, pilot: Pilot) -> bool:
        """Whether the others are to be sent, now that the pilot's rows have ended."""
        session, scanned = self.session, self.scanned
        stopped = session.stopping or session.error or self.watch.error
        if stopped or not self._is_paid():
            return False
        rows = scanned.total - scanned.skipped - len(scanned.bad)
        pending = {ordinal for ordinal in pilot.plans if ordinal in scanned.pending}
        with self.journal.reader() as reader:
            self.forecast = pilot.forecast(
                reader.result, rows=rows, pending=pending, pricing=self.pricing
            )
        self.message(forecast_text(self.forecast, no_price=self.pricing.reason))
        if session.tally.pending and not self.yes:
            session.halted = RunEnding.PILOT
        return session.halted is None
