"""One run: rows -> requests -> journal -> output, interrupted as often as you like.

Rules
- A row is done iff its result is committed; done rows are never sent again.
- What a resume must match is in the journal's header; rows are matched one by one.
- Everything that can be known to be wrong is known before the first request.
- The run's thread pulls rows and hands results to the journal; requests and commits have
  separate threads, so neither waits for the other.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._store.journal import NOTHING_STORED, Journal, Reader
from distilabel_endpoints._store.lock import Lock
from distilabel_endpoints._store.place import check_space, journal_path
from distilabel_endpoints.engine_state import EngineStatistics
from distilabel_endpoints.errors import (
    DistilabelError,
    InputChangedError,
    StorageError,
)
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.lifecycle.for_runs import life_of_run
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.quality.alarms import Alarm, Alarms
from distilabel_endpoints.rows import OutputColumns, Row, RowSource, check_output
from distilabel_endpoints.rows.output import check_place
from distilabel_endpoints.run_state import (
    FailureGroup,
    RunEnding,
    RunPhase,
    RunSnapshot,
    RunSummary,
    Spent,
    TokenCount,
)
from distilabel_endpoints.runs.all_done import AllDone, all_done
from distilabel_endpoints.runs.batch import check_columns, planning
from distilabel_endpoints.runs.finished import Finished
from distilabel_endpoints.runs.first_provider import keep_to_first_provider
from distilabel_endpoints.runs.kept_input import OneTimeInput, drop_kept
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.paying import (
    SpendingOptions,
    change_budget,
    close_account,
    halt_reason,
    no_limit,
    open_account,
    pricing_of,
    refusal_of,
)
from distilabel_endpoints.runs.pilot import Pilot
from distilabel_endpoints.runs.planning import Planning
from distilabel_endpoints.runs.recorder import Recorder
from distilabel_endpoints.runs.row_callback import OnRow, row_callback
from distilabel_endpoints.runs.run_output import RunOutput
from distilabel_endpoints.runs.scan import (
    Ids,
    Scan,
    bad_result,
    changed_meanwhile,
    scan,
)
from distilabel_endpoints.runs.sending import Sending
from distilabel_endpoints.runs.session import Outcome, Session
from distilabel_endpoints.runs.status import run_note
from distilabel_endpoints.runs.steering import Steering, steered_engine
from distilabel_endpoints.runs.stopping import watch_signals
from distilabel_endpoints.runs.watching import AnswerWatch, resume_flags, show_alarm
from distilabel_endpoints.runs.written import refuse_foreign
from distilabel_endpoints.spending.account import Account
from distilabel_endpoints.spending.budget import Budget
from distilabel_endpoints.spending.prices import Pricing
from distilabel_endpoints.spending.reservation import Bound

__all__ = ["Run"]

# A guess at an answer with its metadata, only to refuse a disk that is surely too small.
_BYTES_A_ROW: Final = 2048


@dataclass(slots=True)
class Run:
    """A run over `source` into `output`. `execute` once.

    Args:
        llm: what answers; loaded if it is not yet.
        source: rows; such as come only once are kept beside the output.
        output: the file to write; the journal is beside it.
        alarms: which shares of flawed answers are reported, and which end the run.
        fresh: drop what an earlier run left.
        describe: the input's path or address, for `export`; empty if a program made the rows.
        resume_command: what resumes this run, for the summary.
        spending: what it may spend, and whether it forecasts that first.
        then: how a dedicated endpoint is left; default: asleep again if this run woke it.
        on_row: called with the output of each row as it finishes.
    """

    llm: InferenceEndpointsLLM
    source: RowSource | OneTimeInput
    output: Path
    options: RunOptions
    progress: Progress
    alarms: Alarms = field(default_factory=Alarms)
    fresh: bool = False
    describe: str = ""
    resume_command: tuple[str, ...] | None = None
    spending: SpendingOptions = field(default_factory=SpendingOptions)
    then: Then | None = None
    on_row: OnRow | None = None

    def execute(self) -> tuple[RunSummary, DistilabelError | None]:
        """Do what is left to do, then write the output.

        Returns:
            How the run stands, and the error that stopped it, if one did.

        Raises:
            InputError: the input, the options or the output are wrong; nothing was sent.
            LockedError: another process writes this output.
        """
        check_place(self.output)
        return _LocalDriver(self).session.execute()


async def _snapshot(lease: Lease) -> EngineStatistics:
    """Taken on the engine's own loop, where nothing changes meanwhile."""
    return lease.scheduler.statistics()


class _LocalDriver:
    """Rows through this process's engine, results into the journal."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._source: RowSource
        self._lease: Lease | None = None
        self._life = ExitStack()
        self._output: RunOutput | None = None
        self._repaired = 0
        self._drain = Drain()
        self._recorder = Recorder(run.output)
        self._steering: Steering | None = None
        self._watch = AnswerWatch(run.alarms, self._report_alarm, self.drain)
        self._pricing = Pricing()
        self._bound = Bound()
        self._unlimited = 0
        self._account: Account | None = None
        wanted = run.spending.pilot
        self._pilot = None if wanted is None else Pilot(wanted)
        self._sending: Sending | None = None
        self.session = Session(run.output, run.progress, self, run.resume_command)
        self._tally = self.session.tally
        self._tally.on_result = row_callback(run.on_row, self.session, self._drain)

    def work(self, lock: Lock, /) -> None:
        source, output = self._run.source, self._run.output
        with ExitStack() as stack, self._life:
            if isinstance(source, RowSource):
                self._source = source
            else:
                stack.callback(source.drop, output)
                self._source = source.take(output)
            self._answer(lock)

    def _answer(self, lock: Lock) -> None:
        run, source = self._run, self._source
        _ = source.columns  # an input that is not there is reported first
        for note in source.notes:
            run.progress.message(note)
        done = self._without_endpoint()
        planner: Planning = done or self._connected()
        columns = planner.output_columns()
        check_output(run.output, columns, source)
        output = self._output = RunOutput(
            run.output, columns, limit=run.options.limit, tally=self._tally
        )
        check_space(run.output, (source.count_hint or 0) * _BYTES_A_ROW)
        spec = done.spec if done else self._spec()
        finished = Finished(run.output, source, run.options, columns)
        if not run.fresh and (counts := finished.find(spec)):
            self._tally.recall(counts)
            return
        with ExitStack() as stack:
            stack.enter_context(watch_signals(self.session.stopping))
            stack.callback(self._close_history)
            # Started over, what there was is dropped only when the new run may begin.
            scanned = self._scan(planner, columns, None) if run.fresh else None
            if scanned and not scanned.total:
                self._refuse_to_empty()
            journal = stack.enter_context(
                Journal(
                    run.output,
                    spec,
                    lock=lock,
                    fresh=run.fresh,
                    on_committed=self._tally.committed,
                )
            )
            self._repaired = journal.repair.damaged
            if scanned is None:
                with journal.reader() as reader:
                    output.check(source, journal, reader)
                    scanned = self._scan(planner, columns, reader)
            empty = [] if scanned.total else [f"{source.describe()} has no rows"]
            for remark in (*planner.remarks(), *empty):
                run.progress.message(remark)
            self._begin(journal, scanned, columns)
            if scanned.pending.count and not self.session.stopping:
                self._generate(journal, planner, scanned)
            journal.flush()
            self._life.close()  # nothing is sent any more, and an export takes its time
            if not self.session.stopping or not self._tally.pending:
                output.write(self._source, journal, run.progress.message)
                if self.session.halted is None:
                    output.note_end(self._source, journal, finished)

    def _without_endpoint(self) -> AllDone | None:
        """What shows that no row is left; refuses what can be known to be wrong by now."""
        run, source = self._run, self._source
        if run.fresh:
            done = None
        else:
            done = all_done(run.llm, source, run.output, run.options)
            refuse_foreign(run.output)
        if done is None:
            check_columns(source, run.options)
        return done

    def _connected(self) -> Planning:
        """What plans the rows, now that the endpoint is there."""
        run, tell = self._run, self._run.progress.message
        keep_to_first_provider(run.llm, run.output, tell, fresh=run.fresh)
        self._life.enter_context(life_of_run(run.llm, run.then, run.output, tell))
        self._lease = engine_of(run.llm)
        return planning(run.llm, self._source, run.output, run.options)

    def _spec(self) -> dict[str, Any]:
        """What decides the answers. What they cost is looked up here, too."""
        run = self._run
        # Asked for before the journal is opened: without a price, a budget is refused with nothing
        # changed.
        self._pricing = pricing_of(run.llm, run.spending)
        self._bound = Bound(self._pricing.price, self._pricing.context)
        return run.options.fingerprint(run.llm)

    def _refuse_to_empty(self) -> None:
        output = self._run.output
        if output.exists() and output.stat().st_size:
            raise InputChangedError(
                f"{self._source.describe()} has no rows, so starting over would only empty "
                f"{output}. Check the input, or remove {output} yourself."
            )

    def _about(self, columns: OutputColumns) -> dict[str, Any]:
        run, tally = self._run, self._tally
        return run_note(
            run.options,
            columns,
            source=run.describe,
            kept=not isinstance(run.source, RowSource),
            total=tally.total,
            skipped=tally.skipped,
            duplicate_ids=tally.duplicate_ids,
        )

    def _scan(self, planner: Planning, columns: OutputColumns, reader: Reader | None) -> Scan:
        """The first look, against what is stored; against nothing if the run starts over."""
        options, tally = self._run.options, self._tally

        def show_rows_read(rows: int) -> None:
            tally.rows_read = rows

        about = (reader.note("run") if reader else None) or {}
        before = reader.statistics(options.limit) if reader else None
        ids = Ids(counted=about.get("total") or 0, duplicates=about.get("duplicate_ids") or 0)
        scanned = scan(
            self._source,
            reader.replay() if reader else NOTHING_STORED,
            options,
            check=lambda row: self._look_at(planner, row),
            columns=columns,
            ids=ids,
            on_rows_read=show_rows_read,
            output=str(self._run.output),
            answered=before.ok if before else 0,
        )
        if self._unlimited and self._run.spending.budget.limits_cost:
            raise no_limit(self._unlimited)
        tally.total = tally.rows_read = scanned.total
        tally.ok = tally.resumed = scanned.done
        tally.skipped = scanned.skipped
        tally.duplicate_ids = ids.duplicates
        if reader and before and options.limit is not None:
            self._report_left_out(reader.statistics().ok - before.ok)
        if before:
            tally.earlier = TokenCount(
                input_tokens=before.input_tokens, output_tokens=before.output_tokens
            )
        return scanned

    def _look_at(self, planner: Planning, row: Row) -> None:
        """A row is to be sent: what is spent on it can be limited and forecast."""
        if self._lease is None:
            return  # all were answered a moment ago: it is refused when it is to be sent
        plan = planner.plan(row)
        if self._pilot is not None:
            self._pilot.weigh(plan)
        self._unlimited += not self._bound.holds(plan.request)

    def _report_left_out(self, rows: int) -> None:
        if rows:
            self._run.progress.message(
                f"{rows:,} rows with answers are after the limit of {self._run.options.limit:,}: "
                f"they are left out of {self._run.output} and kept in its journal."
            )

    def _begin(self, journal: Journal, scanned: Scan, columns: OutputColumns) -> None:
        """The run may start: from here on what it finds and does is kept."""
        run = self._run
        if not isinstance(run.source, RowSource):
            self._source = run.source.keep(run.output)
        elif run.fresh:
            drop_kept(run.output)
        if scanned.skipped or run.options.limit is None:
            journal.forget_failed(0 if scanned.skipped else scanned.total)
        journal.write_note("run", self._about(columns))
        for bad in scanned.bad:
            result = bad_result(bad, run.options.num_generations)
            self._tally.appended(result)
            journal.append(result, result.key)

    def _generate(self, journal: Journal, planner: Planning, scanned: Scan) -> None:
        """Send what is pending, and hand every result to the journal as it comes."""
        lease = self._lease
        if lease is None:
            raise changed_meanwhile(self._source)
        lease.scheduler.note_answered(scanned.done)
        self.session.has_begun = True
        self._tally.sending()
        # The history begins before anything is sent, so that the first sample is of a run at rest.
        self._recorder.observe(self._tally.snapshot(self._engine_now()))
        account = self._account = open_account(
            self._run.spending,
            self._pricing,
            journal,
            lease,
            bound=self._bound,
            began=self._tally.started,
            give_up=lambda: self._drain.begin(0.0),
        )
        try:
            with steered_engine(
                self._run.output,
                journal,
                lease,
                spend=self._change_budget,
                report=self._report_change,
            ) as self._steering:
                self._sending = sending = Sending(
                    source=self._source,
                    planner=planner,
                    scanned=scanned,
                    journal=journal,
                    lease=lease,
                    account=account,
                    session=self.session,
                    watch=self._watch,
                    drain=self._drain,
                    pilot=self._pilot,
                    pricing=self._pricing,
                    yes=self._run.spending.yes,
                    message=self._run.progress.message,
                )
                sending.send_all()
        finally:
            with suppress(StorageError):  # raised by the next flush
                close_account(account, journal)
        journal.flush()
        self._raise_what_ended_it()

    def _raise_what_ended_it(self) -> None:
        """Rows may be left for a stop or a budget; if not for these, an error says why."""
        session, pending = self.session, self._tally.pending
        if pending and session.error is None:
            session.error = self._watch.error
        if pending and session.error is None and not (session.stopping or session.halted):
            session.error = changed_meanwhile(self._source)
        if session.error is not None:
            raise session.error

    def _change_budget(self, budget: Budget) -> str | None:
        """The run's budget from now on; gives back why it cannot be, if so."""
        refused = refusal_of(budget, self._pricing, unlimited=self._unlimited)
        if refused is None and self._lease is not None and self._account is not None:
            self._lease.run(change_budget, self._account, budget)
        return refused

    def _report_change(self, text: str) -> None:
        self._recorder.note("tune", text)
        self._run.progress.message(f"Tuned: {text}")

    def _report_alarm(self, alarm: Alarm) -> None:
        show_alarm(alarm, self._recorder, self._run.progress)

    def drain(self, grace: float, /) -> None:
        self._tally.phase = RunPhase.DRAINING
        self._tally.drain_until = time.monotonic() + grace
        self._drain.begin(grace)

    def snapshot(self) -> RunSnapshot:
        snapshot = self._tally.snapshot(self._engine_now())
        if self._steering is not None:
            snapshot = self._steering.shown(snapshot)
        self._recorder.observe(snapshot)
        return replace(snapshot, spent=self._spent())

    def _spent(self) -> Spent | None:
        return None if self._account is None else self._account.spent()

    def _engine_now(self) -> EngineStatistics | None:
        lease = self._lease
        return lease.run(_snapshot, lease) if lease is not None and lease.alive else None

    def _close_history(self) -> None:
        self._recorder.close(self._tally.snapshot(self._engine_now()))

    def outcome(self, ending: RunEnding) -> Outcome:
        tally, spent = self._tally, self._spent()
        forecast = self._sending and self._sending.forecast
        exported = self._output.exported if self._output else None
        if exported:  # it read every row's answer, those of earlier processes too
            tally.answers, tally.truncated = exported.answers, exported.truncated
        is_written = exported is not None or ending is RunEnding.FINISHED
        return Outcome(
            pending=None if tally.total is None else tally.pending,
            failures=self._failures(),
            output=self._run.output if is_written else None,
            journal=journal_path(self._run.output),
            damaged_records=self._repaired,
            spent=spent,
            forecast=None if forecast is None else asdict(forecast),
            reason=halt_reason(self.session.halted, spent),
            alarms=tuple(self._watch.raised),
            resume_flags=resume_flags(self.session.halted, self._watch.error),
        )

    def _failures(self) -> tuple[FailureGroup, ...]:
        if not self._tally.failed:
            return ()
        try:
            with Reader(self._run.output) as reader:
                return reader.statistics(self._run.options.limit).failures
        except StorageError:
            return ()
