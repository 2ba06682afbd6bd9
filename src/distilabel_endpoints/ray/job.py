"""One run over a Ray cluster: an input in, a folder of Parquet shards out, resumable.

Rules
- A row is done once its shard is committed; done rows are never sent again. Rows that failed are.
- What a resume must match is in the output folder; one process writes it at a time.
- An interrupt drains: nothing new is sent, and what has finished is written. A second one ends the
  execution at once, which costs the blocks that are under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._limits.limiter import DEFAULT_MOST
from distilabel_endpoints._store.lock import Lock
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints._targets.router_models import STICKY
from distilabel_endpoints.errors import (
    ConfigurationError,
    DistilabelError,
    InputChangedError,
    StorageError,
    run_error,
)
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.lifecycle.for_runs import is_asleep, life_of_run
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import engine_of, is_made_with
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.progress.forecast_text import forecast_text
from distilabel_endpoints.quality.alarms import Alarm, Alarms
from distilabel_endpoints.ray.cluster import cluster
from distilabel_endpoints.ray.coordinator import JobProgress, start_coordinator
from distilabel_endpoints.ray.folder import Folder
from distilabel_endpoints.ray.following import Following
from distilabel_endpoints.ray.ledger_file import halt_path
from distilabel_endpoints.ray.lines_file import LinesFile
from distilabel_endpoints.ray.marker import Marker, check_folder, marker_path, refuse_lost_rows
from distilabel_endpoints.ray.package import ray_error
from distilabel_endpoints.ray.parcel import pack
from distilabel_endpoints.ray.payment import JobPayment
from distilabel_endpoints.ray.sender import Sender
from distilabel_endpoints.ray.shards import answered_ids, read_shards, remove_shards
from distilabel_endpoints.ray.source import (
    ROW_ID,
    RowFile,
    look_through,
    ordinal_of,
    row_id,
)
from distilabel_endpoints.ray.stage import ACTORS, NUM_CPUS
from distilabel_endpoints.ray.worker import JobSpec
from distilabel_endpoints.rows import BadRow, OutputColumns, Row, RowSource, open_rows
from distilabel_endpoints.rows.batch_lines import BatchLook
from distilabel_endpoints.run_state import RunEnding, RunPhase, RunSnapshot, RunSummary, Spent
from distilabel_endpoints.runs.all_done import AllDone
from distilabel_endpoints.runs.batch import BatchPlanner, batch_look
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.paying import SpendingOptions, halt_reason, no_limit, pricing_of
from distilabel_endpoints.runs.pilot import Pilot, Span
from distilabel_endpoints.runs.planning import Planning, RowPlanner
from distilabel_endpoints.runs.recorder import Recorder
from distilabel_endpoints.runs.scan import Scan, checked, none_fit, refused
from distilabel_endpoints.runs.session import Outcome, Session, repeating
from distilabel_endpoints.runs.status import run_note
from distilabel_endpoints.runs.steering import Steering, steered
from distilabel_endpoints.runs.stopping import watch_signals
from distilabel_endpoints.runs.watching import AnswerWatch, resume_flags, show_alarm
from distilabel_endpoints.spending.forecast import Forecast
from distilabel_endpoints.spending.prices import Pricing
from distilabel_endpoints.spending.reservation import Bound

__all__ = ["RayRun", "refuse_unusable"]

_LAST_WORD: Final = 5.0
_EXAMPLES: Final = 10
"""Of rows that cannot be sent, if one such row is too many."""
_SHOWN: Final = 3
"""Rows that cannot be sent, of an input in which none can."""
_BLOCKS_OF_PILOT: Final = 4
"""Of each actor, so that all of them work on it."""
_OTHERS_CPUS: Final = 2.0
"""Of the tasks that read, cut and write, and of Ray's checkpoint filter."""
_INSTEAD: Final = {
    "--ray-actors": "needs --ray.",
    "--local": "cannot be used with --ray: run `distilabel-endpoints serve --host HOST` and "
    "give its address as --base-url.",
    "--dry-run": "cannot be used with --ray; leave out --ray to see what would be sent.",
    "--push-to-hub": "cannot be used with --ray; push the finished folder with `hf upload`.",
    "ray_actors": "needs ray.",
    "on_row": "cannot be used with ray: rows finish on the workers. Read the output instead.",
    "push_to_hub": "cannot be used with ray; push the finished folder with `hf upload`.",
    "- as INPUT": "cannot be used with Ray: workers cannot read standard input. Save it as a file.",
}


def refuse_unusable(options: Mapping[str, bool]) -> None:
    """Check that nothing was asked for which workers cannot do.

    Args:
        options: which of the options that do not fit were given.

    Raises:
        ConfigurationError: one was; the message says what to do instead.
    """
    for option, is_set in options.items():
        if is_set:
            raise ConfigurationError(f"{option} {_INSTEAD[option]}")


@dataclass(slots=True, kw_only=True)
class RayRun:
    """A run of `input` into the folder `output`. `execute` once.

    Args:
        llm: what answers; also from here, to look at the endpoint before the start.
        input: what `read_rows` takes.
        address: of a Ray cluster; None for one on this machine.
        actors: how many send.
        api_key_env: the variable that holds the target's key, here and where the actors run.
        fresh: drop what an earlier run left.
        resume_command: what resumes this run, for the summary.
        then: how a dedicated endpoint is left; default: asleep again if this run woke it.
        spending: what it may spend, and whether it forecasts that first.
        alarms: which shares of flawed answers are reported, and which end the run.
    """

    llm: InferenceEndpointsLLM
    input: str
    output: Path
    options: RunOptions
    progress: Progress
    address: str | None = None
    actors: int = ACTORS
    api_key_env: str | None = None
    fresh: bool = False
    resume_command: tuple[str, ...] | None = None
    then: Then | None = None
    spending: SpendingOptions = field(default_factory=SpendingOptions)
    alarms: Alarms = field(default_factory=Alarms)

    def execute(self) -> tuple[RunSummary, DistilabelError | None]:
        """Do what is left to do.

        Returns:
            How the run stands, and the error that stopped it, if one did.

        Raises:
            InputError: the input, the options or the output are wrong; nothing was sent.
            LockedError: another process writes this output.
        """
        check_folder(self.output)
        self.output = self.output.absolute()
        self.output.parent.mkdir(parents=True, exist_ok=True)
        return _RayDriver(self).session.execute()


class _RayDriver:
    """Rows through the workers of a cluster, results into shards."""

    def __init__(self, run: RayRun) -> None:
        self._run = run
        self._life = ExitStack()
        self._recorder = Recorder(run.output)
        self._steering: Steering | None = None
        self._pricing = Pricing()
        self._payment: JobPayment | None = None
        wanted = run.spending.pilot
        self._pilot = None if wanted is None else Pilot(wanted)
        self._forecast: Forecast | None = None
        self._batch: BatchLook | None = None
        self._lines: LinesFile | None = None
        self._answered: set[int] = set()
        """Rows that had an answer when the job began, as far as a forecast needs them."""
        self._bad = 0
        self._watch = AnswerWatch(run.alarms, self._report_alarm, self._end_early)
        self._grace: float | None = None
        self.session = Session(run.output, run.progress, self, run.resume_command)
        self._following = Following(self.session.tally)

    def work(self, _: Lock, /) -> None:
        with watch_signals(self.session.stopping), self._life:
            try:
                self._answer()
            finally:
                self._recorder.close(self._following.snapshot())

    def _answer(self) -> None:
        run, tally = self._run, self._following.tally
        before = None if run.fresh else Marker.read(run.output)
        source = open_rows(run.input, max_row_bytes=run.options.max_row_bytes)
        file = self._open_input(source, before)
        done = None if before is None else self._all_done(before, file)
        planner: Planning = done or self._connected(file)
        columns = planner.output_columns()
        columns.refuse_clash([*file.layout.schema.names, ROW_ID])
        if self._lines is not None:
            self._lines.check(columns, source, before, is_fresh=run.fresh)
        own = {"column_prefix": run.options.column_prefix}
        spec = done.spec if done else {**run.options.fingerprint(run.llm), **own}
        if done is None:
            self._look_at_rows(file, planner, before)
        about = run_note(run.options, columns, source=run.input, total=file.count)
        marker = self._begin(before, Marker.of(spec, file, about), file)
        empty = [] if file.count else [f"{source.describe()} has no rows"]
        for note in [*file.layout.notes, *planner.remarks(), *empty]:
            run.progress.message(note)
        left = (
            self._send_all(file, planner, is_fresh=before is None) if tally.ok < file.count else 0
        )
        self._life.close()  # nothing is sent any more
        if left > 0 and self.session.stopping:
            return
        if self.session.halted is None:
            self._check_written(file, left)
            marker = replace(marker, run={**marker.run, "skipped": tally.skipped})
            marker.write(run.output)
        if self._lines is not None:
            tally.phase = RunPhase.EXPORTING
            self._lines.write(columns, file.source(), marker)

    def _all_done(self, before: Marker, file: RowFile) -> AllDone | None:
        """The run as its folder has it, if its endpoint sleeps and nothing is left to be sent."""
        run, options = self._run, self._run.options
        if file.earlier_digest != before.digest or file.count != before.rows:
            return None
        answered = read_shards(run.output, prefix=before.prefix).ok
        if answered < file.count or not is_asleep(run.llm):
            return None
        own = {**options.settings(), "column_prefix": options.column_prefix}
        if not is_made_with(before.header.spec, run.llm, own, options.parameters):
            return None
        columns = OutputColumns(**before.run["columns"])
        if self._lines is not None:
            columns = replace(columns, error_file=str(self._lines.errors))
        return AllDone(before.header.spec, columns)

    def _connected(self, file: RowFile) -> Planning:
        """What plans the rows, now that the endpoint is there."""
        run, tell = self._run, self._run.progress.message
        self._life.enter_context(life_of_run(run.llm, run.then, run.output, tell))
        engine_of(run.llm)
        self._pricing = pricing_of(run.llm, run.spending)
        # With a separate planner: each counts the rows that it plans, for its remarks.
        _refuse_unsendable(file, self._planner(file))
        return self._planner(file)

    def _planner(self, file: RowFile) -> Planning:
        run = self._run
        if self._batch is None or self._lines is None:
            names = file.layout.schema.names
            return RowPlanner(run.llm, names, run.options, first=file.first)
        return BatchPlanner(run.llm, self._batch, self._lines.errors)

    def _open_input(self, source: RowSource, before: Marker | None) -> RowFile:
        """What is to be answered."""
        run, options = self._run, self._run.options
        self._batch = batch_look(source, options)
        file = look_through(
            run.input,
            limit=options.limit,
            earlier=before.rows if before else 0,
            max_row_bytes=options.max_row_bytes,
            is_batch=self._batch is not None,
        )
        _check_rows(file, source, run.output)
        if self._batch is not None:
            self._lines = LinesFile(run.output, options)
        return file

    def _send_all(self, file: RowFile, planner: Planning, *, is_fresh: bool) -> int:
        """Have the rows answered; gives back how many are left undone."""
        self.session.has_begun = True
        self._payment = JobPayment(
            self._run.output,
            self._run.spending,
            self._pricing,
            began=self._following.tally.started,
            is_fresh=is_fresh,
        )
        try:
            self._generate(file, planner)
        finally:
            self._payment.close()
        left = self._left_undone(file)
        if left > 0 and self._payment.is_exhausted:
            self.session.halted = RunEnding.BUDGET
        if self._watch.error is not None:
            raise self._watch.error
        return left

    def _look_at_rows(self, file: RowFile, planner: Planning, before: Marker | None) -> None:
        """Spending on the rows can be limited and forecast, and none is bad, if that matters."""
        pilot, budget = self._pilot, self._run.spending.budget
        stops = self._run.options.on_bad_row == "stop"
        if pilot is None and not budget.limits_cost and not stops:
            return
        bound = Bound(self._pricing.price, self._pricing.context)
        answered = answered_ids(self._run.output, prefix=before.prefix) if before else set()
        cohort = pilot.draw(file.count) if pilot is not None else frozenset()
        unlimited = 0

        def look(row: Row) -> None:
            nonlocal unlimited
            plan = planner.plan(row)
            is_pending = row_id(row) not in answered
            unlimited += is_pending and budget.limits_cost and not bound.holds(plan.request)
            if pilot is not None and is_pending:
                pilot.weigh(plan)
            if pilot is not None and row.ordinal in cohort:
                pilot.plans[row.ordinal] = plan

        examples: list[BadRow] = []
        for row in file.rows():
            bad = row if isinstance(row, BadRow) else checked(row, look)
            if bad is not None:
                self._bad += 1
                examples += [bad] if len(examples) < _EXAMPLES else []
        if stops and examples:
            raise refused(examples, self._bad)
        if unlimited:
            raise no_limit(unlimited)
        self._answered = {ordinal_of(row, b"") for row in answered}

    def _unlimited(self, file: RowFile, planner: Planning) -> int:
        """How many rows without an answer set no limit on the length of theirs."""
        bound = Bound(self._pricing.price, self._pricing.context)
        answered = answered_ids(self._run.output, prefix=self._run.options.column_prefix)
        unlimited = 0

        def look(row: Row) -> None:
            nonlocal unlimited
            unlimited += row_id(row) not in answered and not bound.holds(planner.plan(row).request)

        for row in file.rows():
            if isinstance(row, Row):
                checked(row, look)
        return unlimited

    def _begin(self, before: Marker | None, marker: Marker, file: RowFile) -> Marker:
        """The run may start: the folder says so, and what failed is taken out."""
        output = self._run.output
        stored = StoreStatistics()
        if before is None:
            remove_shards(output)
        else:
            stored = read_shards(output, prefix=before.prefix)
            if stored.ok:
                before.refuse_other(marker, output)
                if file.earlier_digest != before.digest:
                    refuse_lost_rows(file, output, prefix=before.prefix)
                marker = replace(marker, header=before.header)
            marker = replace(marker, run={**marker.run, "written": before.run.get("written")})
            stored = read_shards(output, prefix=before.prefix, retry_failed=True)
        marker.write(output)
        self._following.begin(file.count, stored)
        return marker

    def _generate(self, file: RowFile, planner: Planning) -> None:
        run, payment, options = self._run, self._payment, self._run.options
        assert payment is not None
        if self._lines is not None:
            options = replace(options, error_file=str(self._lines.errors))
        actors = min(run.actors, run.llm.max_concurrency or run.actors)
        parcel = pack(run.llm, workers=actors, api_key_env=run.api_key_env, headers_env=None)
        with cluster(run.address, cpus=actors * NUM_CPUS + _OTHERS_CPUS) as ray:
            coordinator = start_coordinator(parcel.identity(), run.llm.max_concurrency)
            treasury = payment.start()
            spec = JobSpec(
                parcel=parcel,
                options=options,
                batch=self._batch,
                id_column=ROW_ID,
                keeps_failures=True,
                alarms=run.alarms,
                money=payment.money(),
            )
            sender = Sender(
                ray=ray,
                coordinator=coordinator,
                treasury=treasury,
                output=run.output,
                actors=actors,
                spec=spec,
                reason=lambda error: self._reason(ray, coordinator, error),
            )
            ray.get(coordinator.note_answered.remote(self._following.tally.resumed))
            tuned = steered(
                run.output,
                most=run.llm.max_concurrency or DEFAULT_MOST,
                apply=coordinator.tune.remote,
                spend=lambda budget: payment.change(budget, lambda: self._unlimited(file, planner)),
                report=self._report_change,
            )
            with self._followed(ray, coordinator), tuned as self._steering:
                self._send_in_turn(
                    sender, replace(file, halt=halt_path(run.output), has_places=True)
                )

    def _send_in_turn(self, sender: Sender, file: RowFile) -> None:
        """The rows that show who answers, if one provider is to; the pilot's; then the others."""
        run, pilot, times = self._run, self._pilot, sender.treasury.times
        if run.llm.provider == STICKY:
            sender.keep_to_first_provider(file, self._is_over, run.progress.message)
        if pilot is not None:
            cohort = replace(file, only=frozenset(pilot.plans))
            if not self._answered.issuperset(pilot.plans) and not self._is_over():
                small = max(1, len(pilot.plans) // (sender.actors * _BLOCKS_OF_PILOT))
                spec, sender.spec = sender.spec, replace(sender.spec, notes_times=True)
                sender.send(cohort, small)
                sender.spec = spec
            if not self._may_send_rest(pilot, file, sender.ray.get(times.remote())):
                return
        if not self._is_over():
            sender.send(file)

    def _is_over(self) -> bool:
        """Whether nothing more is to be sent."""
        is_paid = self._payment is not None and not self._payment.is_exhausted
        return bool(self.session.stopping) or self._watch.error is not None or not is_paid

    def _may_send_rest(self, pilot: Pilot, file: RowFile, times: Mapping[int, Span]) -> bool:
        """Whether the other rows are to be sent, now that the pilot's have ended."""
        run, spending = self._run, self._run.spending
        if self._is_over():
            return False
        pilot.spans.update(times)
        stored = Folder(run.output, Marker.read(run.output)).results()
        results = {row.ordinal: row.result for row in stored if row.ordinal in pilot.plans}
        self._forecast = pilot.forecast(
            results.get,
            rows=file.count - self._bad,
            pending=set(pilot.plans).difference(self._answered),
            pricing=self._pricing,
        )
        run.progress.message(forecast_text(self._forecast, no_price=self._pricing.reason))
        done = read_shards(run.output, prefix=run.options.column_prefix)
        if done.ok + done.failed < file.count - self._left_out and not spending.yes:
            self.session.halted = RunEnding.PILOT
        return self.session.halted is None

    @property
    def _left_out(self) -> int:
        """Rows that will be in no shard."""
        return self._bad if self._run.options.on_bad_row == "skip" else 0

    def _left_undone(self, file: RowFile) -> int:
        """How many rows are in no shard and are not left out either."""
        run = self._run
        stored = read_shards(run.output, prefix=run.options.column_prefix)
        return file.count - stored.ok - stored.failed - self._following.tally.skipped

    def _check_written(self, file: RowFile, left: int) -> None:
        """What was counted is in the shards, and is what the input holds."""
        run, skipped = self._run, self._following.tally.skipped
        if not file.is_unchanged():
            refuse_lost_rows(file, run.output, prefix=run.options.column_prefix)
        if left:
            raise StorageError(
                f"{run.output} holds {file.count - skipped - left:,} rows of "
                f"{file.count - skipped:,}. Run the same command again: it does the rows that are "
                "missing."
            )

    def _reason(self, ray: Any, coordinator: Any, error: Exception) -> DistilabelError:
        """Our own error if a worker met one; else what Ray says."""
        try:
            stopped = self._ask(ray, coordinator).stopped
        except ray.exceptions.RayError:
            stopped = None
        if stopped is not None:
            return run_error(stopped)
        if isinstance(error, OSError) and error.errno is not None:
            return StorageError(f"{self._run.output}: {error}")
        return ray_error(error)

    def _ask(self, ray: Any, coordinator: Any) -> JobProgress:
        progress: JobProgress = ray.get(coordinator.progress.remote(), timeout=_LAST_WORD)
        self._following.update(progress)
        for cohort in ray.get(coordinator.take_closed.remote(), timeout=_LAST_WORD):
            self._watch.closed(cohort)
        grace, self._grace = self._grace, None
        if grace is not None:
            coordinator.drain.remote(grace)
            halt_path(self._run.output).touch()
        return progress

    @contextmanager
    def _followed(self, ray: Any, coordinator: Any) -> Iterator[None]:
        """Ask the coordinator several times a second, from a separate thread."""

        def ask() -> None:
            with suppress(ray.exceptions.RayError):
                self._ask(ray, coordinator)

        self._following.tally.sending()
        interval, name = self._run.progress.interval, "distilabel-endpoints-follow"
        with repeating(ask, interval, name, longest=_LAST_WORD):
            yield
        ask()

    def _report_change(self, text: str) -> None:
        self._recorder.note("tune", text)
        self._run.progress.message(f"Tuned: {text}")

    def _report_alarm(self, alarm: Alarm) -> None:
        show_alarm(alarm, self._recorder, self._run.progress)

    def _end_early(self, grace: float) -> None:
        """The thread that follows the coordinator passes it on."""
        self._following.tally.phase = RunPhase.DRAINING
        self._following.tally.drain_until = time.monotonic() + grace
        self._grace = grace

    def drain(self, grace: float, /) -> None:
        if not self._following.is_heard:
            raise KeyboardInterrupt  # nothing is under way, and Ray may wait for ever to begin
        self._end_early(grace)

    def snapshot(self) -> RunSnapshot:
        snapshot = self._following.snapshot()
        if self._steering is not None:
            snapshot = self._steering.shown(snapshot)
        self._recorder.observe(snapshot)
        return replace(snapshot, spent=self._spent())

    def _spent(self) -> Spent | None:
        return None if self._payment is None else self._payment.spent()

    def outcome(self, ending: RunEnding) -> Outcome:
        """Counted a moment ago is not written yet: the shards say how it stands."""
        run, tally = self._run, self.session.tally
        stored = read_shards(run.output, prefix=run.options.column_prefix)
        tally.settle(stored)
        pending = None
        if tally.total is not None:
            skipped = tally.skipped if ending is RunEnding.FINISHED else 0
            pending = max(0, tally.total - stored.ok - stored.failed - skipped)
        written = run.output if self._lines is None else self._lines.path
        output = written if ending is RunEnding.FINISHED else None
        spent = self._spent()
        return Outcome(
            pending=pending,
            failures=stored.failures,
            output=output,
            journal=run.output,
            spent=spent,
            forecast=None if self._forecast is None else asdict(self._forecast),
            reason=halt_reason(self.session.halted, spent),
            alarms=tuple(self._watch.raised),
            resume_flags=resume_flags(self.session.halted, self._watch.error),
        )


def _refuse_unsendable(file: RowFile, planner: Planning) -> None:
    """Refuse an input of which no row can be sent; the first one that can ends the look."""
    scanned = Scan(total=file.count)
    for row in file.rows():
        bad = row if isinstance(row, BadRow) else checked(row, planner.plan)
        if bad is None:
            return
        scanned.examples.append(bad)
        del scanned.examples[_SHOWN:]
    if scanned.examples:
        raise none_fit(scanned, file.source())


def _check_rows(file: RowFile, source: RowSource, output: Path) -> None:
    """Refuse an input that would hold its own output, and one that has no rows any more."""
    if source.would_read(output / "shard.parquet"):
        raise ConfigurationError(
            f"{output} would be a part of the input {file.path} when the run is resumed; choose "
            "an output outside of it"
        )
    if not file.count and marker_path(output).exists():
        raise InputChangedError(
            f"{file.path} has no rows, so the run would only empty {output}. Check the input."
        )
