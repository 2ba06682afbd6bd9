"""One run over a Ray cluster: an input in, a folder of Parquet shards out, resumable.

Rules
- A row is done once its shard is committed; done rows are never sent again. Rows that failed are.
- What a resume must match is in the output folder; one process writes it at a time.
- An interrupt ends the execution at once: it costs the blocks that are under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._limits.limiter import DEFAULT_MOST
from distilabel_endpoints._store.lock import Lock
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.errors import (
    ConfigurationError,
    DistilabelError,
    InputChangedError,
    StorageError,
    run_error,
)
from distilabel_endpoints.lifecycle.decisions import Then
from distilabel_endpoints.lifecycle.for_runs import life_of_run
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import engine_of
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.progress.forecast_text import forecast_text
from distilabel_endpoints.quality.alarms import Alarm, Alarms
from distilabel_endpoints.ray.cluster import cluster
from distilabel_endpoints.ray.coordinator import JobProgress, start_coordinator
from distilabel_endpoints.ray.folder import Folder
from distilabel_endpoints.ray.following import Following
from distilabel_endpoints.ray.ledger_file import halt_path
from distilabel_endpoints.ray.marker import Marker, check_folder, marker_path, refuse_lost_rows
from distilabel_endpoints.ray.package import ray_error
from distilabel_endpoints.ray.parcel import pack
from distilabel_endpoints.ray.payment import JobPayment
from distilabel_endpoints.ray.shards import (
    answered_ids,
    read_shards,
    remove_shards,
    write_shards,
)
from distilabel_endpoints.ray.source import (
    ROW_ID,
    RowFile,
    look_through,
    ordinal_of,
    read_rows,
    row_id,
)
from distilabel_endpoints.ray.stage import ACTORS, NUM_CPUS, ROWS_PER_BLOCK, generate_blocks
from distilabel_endpoints.ray.worker import JobSpec
from distilabel_endpoints.rows import Row, open_rows
from distilabel_endpoints.run_state import RunEnding, RunPhase, RunSnapshot, RunSummary, Spent
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.paying import SpendingOptions, halt_reason, no_limit, pricing_of
from distilabel_endpoints.runs.pilot import Pilot, Span
from distilabel_endpoints.runs.planning import RowPlanner
from distilabel_endpoints.runs.recorder import Recorder
from distilabel_endpoints.runs.scan import checked
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
    "--on-bad-row stop": "cannot be used with --ray; choose fail or skip.",
    "--error-file": "cannot be used with --ray: OpenAI batch files are for runs of one process.",
    "error_file": "cannot be used with ray: OpenAI batch files are for runs of one process.",
    "ray_actors": "needs ray.",
    "on_row": "cannot be used with ray: rows finish on the workers. Read the output instead.",
    "push_to_hub": "cannot be used with ray; push the finished folder with `hf upload`.",
    "on_bad_row='stop'": "cannot be used with ray; choose 'fail' or 'skip'.",
    "- as INPUT": "cannot be used with --ray: workers cannot read standard input. Save it as a "
    "file.",
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
        self._recorder = Recorder(run.output)
        self._steering: Steering | None = None
        self._pricing = Pricing()
        self._payment: JobPayment | None = None
        wanted = run.spending.pilot
        self._pilot = None if wanted is None else Pilot(wanted)
        self._forecast: Forecast | None = None
        self._answered: set[int] = set()
        """Rows that had an answer when the job began, as far as a forecast needs them."""
        self._bad = 0
        self._watch = AnswerWatch(run.alarms, self._report_alarm, self._end_early)
        self._grace: float | None = None
        self.session = Session(run.output, run.progress, self, run.resume_command)
        self._following = Following(self.session.tally)

    def work(self, _: Lock, /) -> None:
        run = self._run
        with (
            watch_signals(self.session.stopping),
            life_of_run(run.llm, run.then, run.output, run.progress.message),
        ):
            try:
                self._answer()
            finally:
                self._recorder.close(self._following.snapshot())

    def _answer(self) -> None:
        run, tally = self._run, self._following.tally
        engine_of(run.llm)
        self._pricing = pricing_of(run.llm, run.spending)
        before = None if run.fresh else Marker.read(run.output)
        file = look_through(
            run.input,
            limit=run.options.limit,
            earlier=before.rows if before else 0,
            max_row_bytes=run.options.max_row_bytes,
        )
        _check_rows(file, run.output)
        names = file.layout.schema.names
        planner = RowPlanner(run.llm, names, run.options, first=file.first)
        columns = planner.output_columns()
        columns.refuse_clash([*names, ROW_ID])
        spec = {**run.options.fingerprint(run.llm), "column_prefix": run.options.column_prefix}
        self._look_at_rows(file, planner, before)
        about = run_note(run.options, columns, source=run.input, total=file.count)
        marker = self._begin(before, Marker.of(spec, file, about), file)
        for note in [*file.layout.notes, *planner.remarks()]:
            run.progress.message(note)
        if tally.ok < file.count:
            self.session.has_begun = True
            self._payment = JobPayment(
                run.output,
                run.spending,
                self._pricing,
                began=tally.started,
                is_fresh=before is None,
            )
            try:
                self._generate(file)
            finally:
                self._payment.close()
            is_paid = self._is_paid(file)
            if self._watch.error is not None:
                raise self._watch.error
            if is_paid and self.session.halted is None:
                self._check_written(file)
                replace(marker, run={**about, "skipped": tally.skipped}).write(run.output)

    def _look_at_rows(self, file: RowFile, planner: RowPlanner, before: Marker | None) -> None:
        """What is spent on the rows can be limited and forecast, if either is wanted."""
        pilot, budget = self._pilot, self._run.spending.budget
        if pilot is None and not budget.limits_cost:
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

        for row in file.rows():
            is_bad = not isinstance(row, Row) or checked(row, look) is not None
            self._bad += is_bad
        if unlimited:
            raise no_limit(unlimited)
        self._answered = {ordinal_of(row, b"") for row in answered}

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
            stored = read_shards(output, prefix=before.prefix, retry_failed=True)
        marker.write(output)
        self._following.begin(file.count, stored)
        return marker

    def _generate(self, file: RowFile) -> None:
        run, payment = self._run, self._payment
        assert payment is not None
        actors = min(run.actors, run.llm.max_concurrency or run.actors)
        parcel = pack(run.llm, workers=actors, api_key_env=None, headers_env=None)
        with cluster(run.address, cpus=actors * NUM_CPUS + _OTHERS_CPUS) as ray:
            coordinator = start_coordinator(parcel.identity(), run.llm.max_concurrency)
            treasury = payment.start()
            spec = JobSpec(
                parcel=parcel,
                options=run.options,
                id_column=ROW_ID,
                keeps_failures=True,
                alarms=run.alarms,
                money=payment.money(),
            )
            ray.get(coordinator.note_answered.remote(self._following.tally.resumed))
            file = replace(file, halt=halt_path(run.output))

            def send(rows: RowFile, spec: JobSpec, rows_per_block: int) -> None:
                ds = generate_blocks(
                    read_rows(rows),
                    spec,
                    coordinator,
                    actors=actors,
                    treasury=treasury,
                    rows_per_block=rows_per_block,
                )
                try:
                    write_shards(ds, run.output)
                except (ray.exceptions.RayError, OSError, RuntimeError) as error:
                    raise self._reason(ray, coordinator, error) from None

            most = run.llm.max_concurrency or DEFAULT_MOST
            tuned = steered(
                run.output,
                most=most,
                apply=coordinator.tune.remote,
                spend=payment.change,
                report=self._report_change,
            )
            with self._followed(ray, coordinator), tuned as self._steering:
                if self._pilot is not None:
                    cohort = replace(file, only=frozenset(self._pilot.plans))
                    if not self._answered.issuperset(self._pilot.plans):
                        small = max(1, len(self._pilot.plans) // (actors * _BLOCKS_OF_PILOT))
                        send(cohort, replace(spec, notes_times=True), small)
                    if not self._may_go_on(self._pilot, file, ray.get(treasury.times.remote())):
                        return
                send(file, spec, ROWS_PER_BLOCK)

    def _may_go_on(self, pilot: Pilot, file: RowFile, times: Mapping[int, Span]) -> bool:
        """Whether the other rows are to be sent, now that the pilot's have ended."""
        run, spending = self._run, self._run.spending
        if self._payment is None or self._payment.is_exhausted or self._watch.error is not None:
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

    def _is_paid(self, file: RowFile) -> bool:
        """Whether the budget was enough for what was to be sent."""
        run = self._run
        assert self._payment is not None
        stored = read_shards(run.output, prefix=run.options.column_prefix)
        left = file.count - stored.ok - stored.failed - self._following.tally.skipped
        if left > 0 and self._payment.is_exhausted:
            self.session.halted = RunEnding.BUDGET
        return self.session.halted is not RunEnding.BUDGET

    def _check_written(self, file: RowFile) -> None:
        """What was counted is in the shards, and is what the input holds."""
        run, skipped = self._run, self._following.tally.skipped
        prefix = run.options.column_prefix
        if not file.is_unchanged():
            refuse_lost_rows(file, run.output, prefix=prefix)
        stored = read_shards(run.output, prefix=prefix)
        written = stored.ok + stored.failed
        if written + skipped != file.count:
            raise StorageError(
                f"{run.output} holds {written:,} rows of {file.count - skipped:,}. "
                "Run the same command again: it does the rows that are missing."
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
        self._following.told(progress)
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
        try:
            with repeating(ask, interval, name, longest=_LAST_WORD):
                yield
        finally:
            if not self.session.stopping:
                ask()

    def _report_change(self, text: str) -> None:
        self._recorder.note("tune", text)
        self._run.progress.message(f"Tuned: {text}")

    def _report_alarm(self, alarm: Alarm) -> None:
        show_alarm(alarm, self._recorder, self._run.progress)

    def _end_early(self, grace: float) -> None:
        """Because of an alarm: the coordinator is told by the thread that hears of the cohorts."""
        self._following.tally.phase = RunPhase.DRAINING
        self._following.tally.drain_until = time.monotonic() + grace
        self._grace = grace

    def drain(self, _: float, /) -> None:
        """Blocks under way are lost: Ray has no way to let them finish and begin no others."""
        raise KeyboardInterrupt

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
        output = run.output if ending is RunEnding.FINISHED else None
        spent = self._spent()
        return Outcome(
            pending=pending,
            failures=stored.failures,
            output=output,
            spent=spent,
            forecast=None if self._forecast is None else asdict(self._forecast),
            reason=halt_reason(self.session.halted, spent),
            alarms=tuple(self._watch.raised),
            resume_flags=resume_flags(self.session.halted, self._watch.error),
        )


def _check_rows(file: RowFile, output: Path) -> None:
    """Refuse an input that would hold its own output, and one that has no rows any more."""
    if open_rows(file.path).would_read(output / "shard.parquet"):
        raise ConfigurationError(
            f"{output} would be a part of the input {file.path} when the run is resumed; choose "
            "an output outside of it"
        )
    if not file.count and marker_path(output).exists():
        raise InputChangedError(
            f"{file.path} has no rows, so the run would only empty {output}. Check the input."
        )
