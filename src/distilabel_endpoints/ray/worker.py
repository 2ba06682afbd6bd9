"""What runs in each actor: one engine, fed by several blocks at once.

Rules
- A row's failure is its `error`; only what no row can get past is raised.
- There is no barrier between blocks: a block's rows wait in the engine beside those of the others.
- Nothing is sent before the coordinator has given this worker a share, if there is a ceiling.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from anyio import to_thread

from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._engine.in_flight import Drain, current_seat
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints.errors import DistilabelError, StorageError
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.quality.alarms import Alarms, Watch
from distilabel_endpoints.ray.coordinator import start_coordinator
from distilabel_endpoints.ray.originals import ORIGINAL, restored
from distilabel_endpoints.ray.parcel import Parcel
from distilabel_endpoints.ray.purse import JobMoney, Purse
from distilabel_endpoints.ray.reporting import Reporter
from distilabel_endpoints.ray.result_columns import added_to, failures_column
from distilabel_endpoints.ray.source import (
    ADDED,
    FAILURE,
    PLACE,
    PROBLEM,
    ROW_ID,
    ordinal_of,
    read_place,
    read_problem,
)
from distilabel_endpoints.records import Failure, FailureKind, Result
from distilabel_endpoints.rows import BadRow, OutputColumns, Row
from distilabel_endpoints.rows.arrow import arrow_rows, pyarrow
from distilabel_endpoints.rows.batch_lines import BatchLook
from distilabel_endpoints.rows.intake import Intake, ReadOptions
from distilabel_endpoints.runs.batch import BatchPlanner
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.pilot import Span
from distilabel_endpoints.runs.planning import Planning, RowPlanner
from distilabel_endpoints.runs.scan import bad_result, checked
from distilabel_endpoints.runs.watching import last_text

__all__ = ["GenerateRows", "JobSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What every worker of a job does. Holds no secret."""

    parcel: Parcel = attribute(repr=False)
    options: RunOptions = attribute(repr=False)
    batch: BatchLook | None = None
    """What the lines of a batch file have in common; None for other rows."""
    id_column: str | None
    alarms: Alarms = attribute(default_factory=lambda: Alarms(warn={}, act={}))
    """What is watched, by the coordinator's listener; nothing if nobody listens."""
    money: JobMoney | None = None
    """What the job may spend; None if that is not counted."""
    notes_times: bool = False
    """Whether the treasury notes when each row began and ended."""
    keeps_failures: bool = False
    """Whether the blocks are a run's store: they get the column `row_failures`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What a worker has once it is ready."""

    llm: InferenceEndpointsLLM
    lease: Lease
    planner: Planning
    columns: OutputColumns
    reporter: Reporter
    purse: Purse | None


class GenerateRows:
    """The callable class of `map_batches`: blocks in, the same blocks with our columns out.

    Args:
        spec: what to do.
        coordinator: the job's coordinating actor.
        treasury: the actor that grants what may be spent; None if that is not counted.
    """

    def __init__(self, spec: JobSpec, coordinator: Any, treasury: Any = None) -> None:
        self._spec = spec
        self._coordinator = coordinator
        self._treasury = treasury
        self._name = uuid.uuid4().hex
        self._opening = threading.Lock()
        self._opened: _Open | None = None
        self._watch = Watch(spec.alarms)
        self._drains: set[Drain] = set()
        self._grace: float | None = None

    async def __call__(self, block: Any) -> Any:
        """Complete the rows of one block (a `pyarrow.Table`).

        Raises:
            RunError: no row can be answered; the coordinator knows.
            InputError: the columns or parameters are wrong for every row.
        """
        try:
            opened = await to_thread.run_sync(self._open, tuple(block.column_names))
            results = await self._answer(opened, block)
            await to_thread.run_sync(opened.reporter.report)
            if opened.purse is not None:
                await to_thread.run_sync(opened.purse.settle)
        except DistilabelError as error:
            await to_thread.run_sync(self._tell, error)
            raise
        return self._written(opened, block, results)

    def _open(self, names: tuple[str, ...]) -> _Open:
        with self._opening:
            if self._opened is None:
                spec = self._spec
                llm = spec.parcel.unpack()
                lease = engine_of(llm)
                shares = llm.max_concurrency is not None
                reporter = Reporter(
                    self._coordinator,
                    self._name,
                    lease,
                    shares=shares,
                    remake=partial(
                        start_coordinator,
                        spec.parcel.identity(),
                        llm.max_concurrency,
                        in_place_of_lost=True,
                    ),
                    drain=self._end,
                )
                planner = self._planner(llm, names)
                columns = planner.output_columns()
                columns.refuse_clash(names)
                reporter.start()
                # Ray is done with the process by then, and its native exit can wait for itself for
                # ever if a report is under way (2.60). Registered after the engine's own ending,
                # so that it comes before it: the reporter must not find the engine gone.
                atexit.register(os._exit, 0)
                self._opened = _Open(
                    llm=llm,
                    lease=lease,
                    planner=planner,
                    columns=columns,
                    reporter=reporter,
                    purse=self._purse(lease),
                )
            return self._opened

    def _planner(self, llm: InferenceEndpointsLLM, names: tuple[str, ...]) -> Planning:
        batch, options = self._spec.batch, self._spec.options
        if batch is not None:
            return BatchPlanner(llm, batch, Path(options.error_file or ""))
        own_names = [name for name in names if name not in (*ADDED, FAILURE)]
        return RowPlanner(llm, own_names, options)

    def _end(self, grace: float) -> None:
        """The job ends: blocks under way are cut short, and later ones are not begun."""
        self._grace = grace
        for drain in [*self._drains]:
            drain.begin(grace)

    def _purse(self, lease: Lease) -> Purse | None:
        money = self._spec.money
        return None if money is None else Purse(self._treasury, self._name, lease, money)

    def _tell(self, error: DistilabelError) -> None:
        """The coordinator keeps the failure whole: Ray carries an error's text only."""
        failure = getattr(error, "failure", None) or Failure(
            kind=FailureKind.LOCAL,
            code="storage" if isinstance(error, StorageError) else "configuration",
            message=str(error),
            retryable=False,
        )
        self._coordinator.stop.remote(failure)

    async def _answer(self, opened: _Open, block: Any) -> list[Result | None]:
        """Every row's result, in the block's order.

        None for a row that is to be left out: it cannot be sent, the budget does not pay for it, or
        the job has ended.
        """
        scheduler = opened.lease.scheduler
        results: list[Result | None] = [None] * block.num_rows
        plans = self._plans(opened, block, results)
        times: dict[int, Span] = {}

        async def work(numbered: tuple[int, RowPlan]) -> tuple[int, Result]:
            place, plan = numbered
            result = await answer_row(scheduler, plan)
            began = current_seat().began
            if self._spec.notes_times and began is not None:
                # Workers share no clock but the wall clock.
                now, passed = time.time(), scheduler.loop.time() - began
                times[result.ordinal] = Span(now - passed, now)
            return place, result

        def deliver(numbered: tuple[int, Result]) -> None:
            place, result = numbered
            results[place] = result
            opened.reporter.tally.add(result)
            cohort = self._watch.counted(result)
            if cohort is not None:
                opened.reporter.closed(cohort)

        account = None if opened.purse is None else opened.purse.account
        with self._draining() as drain:
            rows = self._watched(plans)
            await opened.lease.call(scheduler.drive, rows, work, deliver, drain, account)
        if times:
            self._treasury.note_times.remote(times)
        return results

    def _plans(
        self, opened: _Open, block: Any, results: list[Result | None]
    ) -> list[tuple[int, RowPlan]]:
        """The rows that can be sent, with their places; those that cannot have a result at once."""
        plans: list[tuple[int, RowPlan]] = []
        options, tally = self._spec.options, opened.reporter.tally
        for place, row in enumerate(self._rows(block)):

            def plan(row: Row, place: int = place) -> None:
                plans.append((place, opened.planner.plan(row)))

            bad = checked(row, plan) if isinstance(row, Row) else row
            if bad is not None and options.on_bad_row == "skip":
                tally.skipped += 1
            elif bad is not None:
                results[place] = result = bad_result(bad, options.num_generations)
                tally.add(result)
        return plans

    @contextmanager
    def _draining(self) -> Iterator[Drain]:
        """What ends the rows of one block early, if the job ends."""
        drain = Drain()
        self._drains.add(drain)
        try:
            if self._grace is not None:
                drain.begin(self._grace)
            yield drain
        finally:
            self._drains.discard(drain)

    def _watched(self, plans: list[tuple[int, RowPlan]]) -> Iterator[tuple[int, RowPlan]]:
        """The same, each noted as it is sent. On the engine's loop, as their ends are."""
        for place, plan in plans:
            self._watch.sent(plan.request.ordinal, last_text(plan), is_free=plan.check is None)
            yield place, plan

    def _rows(self, block: Any) -> Iterator[Row | BadRow]:
        """The rows of a block; their ordinals are those of the input if an id says them."""
        names = block.column_names
        column = self._spec.id_column or (ROW_ID if ROW_ID in names else None)
        ids = block[column].to_pylist() if column is not None else repeat(None)
        problems = block[PROBLEM].to_pylist() if PROBLEM in names else repeat(None)
        texts = block[ORIGINAL].to_pylist() if ORIGINAL in names else repeat(None)
        places = block[PLACE].to_pylist() if PLACE in names else repeat(None)
        table = block.drop_columns([name for name in ADDED if name in names])
        intake = Intake(ReadOptions(max_row_bytes=self._spec.options.max_row_bytes))
        rows = chain.from_iterable(
            arrow_rows(batch, intake, "the input", 1)
            for batch in table.combine_chunks().to_batches()
        )
        added = zip(rows, ids, problems, texts, places, strict=False)
        for row, identity, problem, text, place in added:
            ordinal = ordinal_of(identity, row.content_hash)
            if problem is not None:
                yield read_problem(problem, ordinal, row.content_hash)
                continue
            numbered = replace(row, ordinal=ordinal, place=read_place(place, ordinal))
            if text is not None and isinstance(numbered, Row):
                numbered = replace(numbered, columns=restored(numbered.columns, text))
            yield numbered

    def _written(self, opened: _Open, block: Any, results: list[Result | None]) -> Any:
        """The block with our columns, without those of the reading and the rows to be left out."""
        kept = [result for result in results if result is not None]
        if len(kept) < len(results):
            block = block.filter(pyarrow("a Ray dataset").array([r is not None for r in results]))
        block = added_to(block, opened.columns, kept)
        if self._spec.keeps_failures:
            block = block.append_column(FAILURE, failures_column(kept))
        return block.drop_columns(
            [name for name in ADDED if name in block.column_names and name != ROW_ID]
        )
