"""One run: rows -> requests -> journal -> output, interrupted as often as you like.

Rules
- A row is done iff its result is committed; done rows are never sent again.
- What a resume must match is in the journal's header; rows are matched one by one.
- Everything that can be known to be wrong is known before the first request.
- The run's thread pulls rows and hands results to the journal; requests and commits have threads
  of their own, so neither waits for the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._engine.bridge import iter_results
from distilabel_endpoints._engine.generations import RowPlan, answer_row
from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints._engine.loop import Lease
from distilabel_endpoints._engine.scheduler import EngineStatistics
from distilabel_endpoints._store.journal import Journal, Reader, check_space
from distilabel_endpoints.errors import DistilabelError, LockedError, RunError, StorageError
from distilabel_endpoints.llms.base import AsyncLLM
from distilabel_endpoints.progress import Progress
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import OutputColumns, Row, RowSource, check_output
from distilabel_endpoints.run_state import (
    FailureTally,
    RunEnding,
    RunPhase,
    RunSummary,
    TokenCount,
)
from distilabel_endpoints.runs.export import Exported, export
from distilabel_endpoints.runs.finished import Counts, Finished, column_note
from distilabel_endpoints.runs.heap import Heap
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.ordering import arranged
from distilabel_endpoints.runs.planning import RowPlanner
from distilabel_endpoints.runs.scan import Ids, Scan, bad_result, scan
from distilabel_endpoints.runs.stopping import Stopping, watch_signals
from distilabel_endpoints.runs.tally import Meter

__all__ = ["Run"]

_MOST_BACKLOG: Final = 4096
_BYTES_A_ROW: Final = 2048


@dataclass(slots=True)
class Run:
    """A run over `source` into `output`. `execute` once.

    Args:
        llm: what answers; loaded if it is not yet.
        source: re-iterable rows.
        output: the file to write; the journal is beside it.
        fresh: drop what an earlier run left.
        describe: the input's name, for `status` and `export`.
        resume_command: what goes on with this run, for the summary.
    """

    llm: AsyncLLM
    source: RowSource
    output: Path
    options: RunOptions
    progress: Progress
    fresh: bool = False
    describe: str = ""
    resume_command: tuple[str, ...] | None = None

    def execute(self) -> tuple[RunSummary, DistilabelError | None]:
        """Do what is left to do, then write the output.

        Returns:
            How the run stands, and the error that stopped it, if one did.

        Raises:
            InputError: the input, the options or the output are wrong; nothing was sent.
            LockedError: another process writes this output.
        """
        return _Execution(self).run()


async def _snapshot(lease: Lease) -> EngineStatistics:
    """Taken on the engine's own loop, where nothing changes meanwhile."""
    return lease.scheduler.statistics()


class _Execution:
    """One process's part in a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._meter = Meter()
        self._lease: Lease | None = None
        self._error: DistilabelError | None = None
        self._exported: Exported | None = None
        self._repaired = 0
        self._drain = Drain()
        self._stopping = Stopping(self._begin_drain)

    def run(self) -> tuple[RunSummary, DistilabelError | None]:
        run = self._run
        with run.progress:
            with self._ticking():
                try:
                    self._work()
                except LockedError:
                    raise
                except (RunError, StorageError) as error:
                    self._error = error
                except KeyboardInterrupt:
                    if not self._stopping:
                        raise
            summary = self._summary()
            run.progress.finish(summary)
        return summary, self._error

    def _work(self) -> None:
        run = self._run
        columns_given = run.source.columns  # an input that is not there is said first
        lease = self._lease = run.llm.engine()
        planner = RowPlanner(run.llm, columns_given, run.options)
        columns = planner.output_columns()
        check_output(run.output, columns, run.source)
        check_space(run.output, (run.source.count_hint or 0) * _BYTES_A_ROW)
        spec = {**run.llm.fingerprint(run.options.parameters), **run.options.fingerprint()}
        finished = Finished(run.output, run.source, run.options, columns)
        if not run.fresh and (counts := finished.find(spec)):
            self._meter.recall(counts)
            return
        with (
            Journal(
                run.output, spec, fresh=run.fresh, on_committed=self._meter.committed
            ) as journal,
            watch_signals(self._stopping),
        ):
            self._repaired = journal.repair.damaged
            found = self._scan(journal, planner, columns)
            journal.write_note("run", self._about(columns))
            if found.pending.count and not self._stopping:
                self._generate(journal, lease, planner, found)
            journal.flush()
            if not self._stopping:
                self._export(journal, columns)
                self._note_end(journal, finished)

    def _about(self, columns: OutputColumns) -> dict[str, Any]:
        """What `export` and `status` need to know of a run they did not start."""
        return {
            "input": self._run.describe or self._run.source.describe(),
            "limit": self._run.options.limit,
            "total": self._meter.total,
            "skipped": self._meter.skipped,
            "duplicate_ids": self._meter.duplicate_ids,
            "columns": column_note(columns),
        }

    def _scan(self, journal: Journal, planner: RowPlanner, columns: OutputColumns) -> Scan:
        run, meter = self._run, self._meter

        def tell(rows: int) -> None:
            meter.rows_read = rows

        with journal.reader() as reader:
            before = reader.statistics()
            about = reader.note("run") or {}
            ids = Ids(counted=about.get("total") or 0, duplicates=about.get("duplicate_ids") or 0)
            found = scan(
                run.source,
                reader.replay(),
                run.options,
                check=planner.plan,
                columns=columns,
                ids=ids,
                tell=tell,
                output=str(run.output),
            )
        meter.total = meter.rows_read = found.total
        meter.ok = meter.resumed = found.done
        meter.skipped = found.skipped
        meter.duplicate_ids = ids.duplicates
        meter.earlier = TokenCount(
            input_tokens=before.input_tokens, output_tokens=before.output_tokens
        )
        for bad in found.bad:
            result = bad_result(bad, run.options.num_generations)
            meter.appended(result)
            journal.append(result, bad.content_hash)
        return found

    def _generate(
        self,
        journal: Journal,
        lease: Lease,
        planner: RowPlanner,
        found: Scan,
    ) -> None:
        """Send what is pending, and hand every result to the journal as it comes."""
        hashes: dict[int, bytes] = {}
        scheduler = lease.scheduler

        async def work(plan: RowPlan) -> Result:
            return await answer_row(scheduler, plan)

        def plans() -> Iterator[RowPlan]:
            for item in self._run.source.rows(lambda n, _: n not in found.pending):
                if isinstance(item, Row):
                    hashes[item.ordinal] = item.content_hash
                    yield planner.plan(item)

        def sent() -> Iterator[RowPlan]:
            return takewhile(lambda _: not self._stopping, arranged(plans()))

        heap = Heap()
        heap.give_back()  # what the first look took, the ids above all
        self._meter.sending()
        for result in iter_results(lease, sent(), work, self._drain):
            self._meter.appended(result)
            journal.append(result, hashes.pop(result.ordinal))
            heap.row()
            if journal.backlog > _MOST_BACKLOG:
                journal.flush()

    def _begin_drain(self, grace: float) -> None:
        self._meter.phase = RunPhase.DRAINING
        self._meter.drain_until = time.monotonic() + grace
        self._drain.begin(grace)

    def _export(self, journal: Journal, columns: OutputColumns) -> None:
        run = self._run
        with journal.reader() as reader:
            if self._is_exported(reader, columns):
                return
            self._meter.phase = RunPhase.EXPORTING
            self._exported = export(
                run.source, reader, run.output, columns, limit=run.options.limit
            )
        journal.write_note("exported", self._export_mark(columns))
        journal.flush()
        for note in self._exported.notes:
            run.progress.message(note)

    def _note_end(self, journal: Journal, finished: Finished) -> None:
        meter, exported = self._meter, self._exported
        if meter.failed or exported is None or not self._run.source.identity:
            return
        tokens = meter.run_tokens
        counts = Counts(
            total=meter.total or 0,
            ok=meter.ok,
            skipped=meter.skipped,
            duplicate_ids=meter.duplicate_ids,
            answers=exported.answers,
            truncated=exported.truncated,
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
        )
        journal.write_note(*finished.note(counts))
        journal.flush()

    def _is_exported(self, reader: Reader, columns: OutputColumns) -> bool:
        """Nothing was done since the output was written, and it is still what was written."""
        if self._meter.output_tokens or self._meter.ok + self._meter.failed > self._meter.resumed:
            return False
        exported = reader.note("exported")
        return self._run.output.exists() and exported == self._export_mark(columns)

    def _export_mark(self, columns: OutputColumns) -> dict[str, Any]:
        found = self._run.output.stat() if self._run.output.exists() else None
        return {
            "rows": self._meter.total,
            "size": found.st_size if found else None,
            "modified_ns": found.st_mtime_ns if found else None,
            "limit": self._run.options.limit,
            "columns": column_note(columns),
        }

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Show the run's state several times a second, from a thread of its own."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(self._run.progress.interval):
                self._show()

        thread = threading.Thread(target=tick, name="distilabel-endpoints-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._show()

    def _show(self) -> None:
        lease = self._lease
        engine = None
        if lease is not None and lease.alive:
            engine = lease.run(_snapshot, lease)
        self._run.progress.update(self._meter.snapshot(engine))

    def _summary(self) -> RunSummary:
        """How the run stands now, as the journal has it."""
        meter = self._meter
        meter.phase = RunPhase.FINISHED
        ending, code = self._ending()
        pending = None if meter.total is None else meter.total - meter.ok - meter.failed
        pending = None if pending is None else pending - meter.skipped
        exported = self._exported
        return RunSummary(
            ending=ending,
            exit_code=code,
            reason=str(self._error) if self._error else None,
            ok=meter.ok,
            failed=meter.failed,
            skipped=meter.skipped,
            pending=pending,
            resumed=meter.resumed,
            failures=self._failures(),
            answers=exported.answers if exported else meter.answers,
            truncated=exported.truncated if exported else meter.truncated,
            elapsed=time.monotonic() - meter.started,
            tokens=TokenCount(input_tokens=meter.input_tokens, output_tokens=meter.output_tokens),
            run_tokens=meter.run_tokens,
            mean=meter.mean(),
            damaged_records=self._repaired,
            duplicate_ids=meter.duplicate_ids,
            output=str(self._run.output) if ending is RunEnding.FINISHED else None,
            journal=str(self._run.output) + ".journal",
            resume_command=self._run.resume_command if pending or meter.failed else None,
        )

    def _ending(self) -> tuple[RunEnding, int]:
        match self._error:
            case RunError():
                return RunEnding.ENDPOINT, 3
            case StorageError():
                return RunEnding.STORAGE, 4
        if self._stopping:
            return RunEnding.INTERRUPTED, self._stopping.exit_code
        return RunEnding.FINISHED, 2 if self._meter.failed else 0

    def _failures(self) -> Any:
        if not self._meter.failed:
            return ()
        tally = FailureTally()
        try:
            with Reader(self._run.output) as reader:
                for reason in reader.statistics().reasons:
                    tally.add(reason.failure, reason.ordinal, rows=reason.rows)
        except StorageError:
            return ()
        return tally.groups()
