"""One run over a Ray cluster: an input in, a folder of Parquet shards out, resumable.

Rules
- A row is done once its shard is committed; done rows are never sent again. Rows that failed are.
- What a resume must match is in the output folder; one process writes it at a time.
- An interrupt ends the execution at once: it costs the blocks that are under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.lock import hold
from distilabel_endpoints.errors import (
    ConfigurationError,
    DistilabelError,
    RunError,
    StorageError,
    run_error,
)
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.progress import Progress as Display
from distilabel_endpoints.ray.cluster import cluster
from distilabel_endpoints.ray.coordinator import Progress, start_coordinator
from distilabel_endpoints.ray.credentials import pack
from distilabel_endpoints.ray.following import Following
from distilabel_endpoints.ray.marker import Marker, check_folder
from distilabel_endpoints.ray.shards import read_standing, remove_shards, write_shards
from distilabel_endpoints.ray.source import ROW_ID, RowFile, look_through, read_rows
from distilabel_endpoints.ray.stage import ACTORS, NUM_CPUS, generate_blocks
from distilabel_endpoints.ray.worker import Order
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.run_state import RunEnding, RunSummary
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import RowPlanner
from distilabel_endpoints.runs.stopping import Stopping, watch_signals

__all__ = ["RayRun", "refuse_unusable"]

_LAST_WORD: Final = 5.0
_OTHERS_CPUS: Final = 2.0
"""Of the tasks that read, cut and write, and of Ray's checkpoint filter."""
_INSTEAD: Final = {
    "--ray-actors": "needs --ray.",
    "--local": "cannot be used with --ray: run `distilabel-endpoints serve --host HOST` and "
    "give its address as --base-url.",
    "--dry-run": "cannot be used with --ray; leave out --ray to see what would be sent.",
    "--push-to-hub": "cannot be used with --ray; push the finished folder with `hf upload`.",
    "--on-bad-row stop": "cannot be used with --ray; choose fail or skip.",
    "- as INPUT": "cannot be used with --ray: workers cannot read standard input. Save it as a "
    "file.",
}


def refuse_unusable(asked: Mapping[str, bool]) -> None:
    """Check that nothing was asked for which workers cannot do.

    Args:
        asked: which of the options that do not fit were given.

    Raises:
        ConfigurationError: one was; the message says what to do instead.
    """
    for option, given in asked.items():
        if given:
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
        resume_command: what goes on with this run, for the summary.
    """

    llm: InferenceEndpointsLLM
    input: str
    output: Path
    options: RunOptions
    progress: Display
    address: str | None = None
    actors: int = ACTORS
    api_key_env: str | None = None
    fresh: bool = False
    resume_command: tuple[str, ...] | None = None

    def execute(self) -> RunSummary:
        """Do what is left to do.

        Raises:
            InputError: the input, the options or the output are wrong; nothing was sent.
            LockedError: another process writes this output.
        """
        return _Execution(self).run()


class _Execution:
    """One process's part in a run."""

    def __init__(self, run: RayRun) -> None:
        self._run = run
        self._following = Following()
        self._stopping = Stopping(_interrupt)
        self._error: DistilabelError | None = None

    def run(self) -> RunSummary:
        run = self._run
        check_folder(run.output)
        output = run.output = run.output.absolute()
        output.parent.mkdir(parents=True, exist_ok=True)
        with run.progress, hold(output.with_name(f"{output.name}.journal")):
            with watch_signals(self._stopping):
                try:
                    self._work()
                except (RunError, StorageError) as error:
                    self._error = error
                except KeyboardInterrupt:
                    if not self._stopping:
                        raise
            summary = self._summary()
            run.progress.finish(summary)
        return summary

    def _work(self) -> None:
        run, meter = self._run, self._following.meter
        run.llm.engine()
        before = None if run.fresh else Marker.read(run.output)
        file = look_through(
            run.input, limit=run.options.limit, earlier=before.rows if before else 0
        )
        names = file.layout.schema.names
        planner = RowPlanner(run.llm, names, run.options)
        planner.output_columns().refuse_clash([*names, ROW_ID])
        spec = {
            **run.llm.fingerprint(run.options.parameters),
            **run.options.fingerprint(),
            "column_prefix": run.options.column_prefix,
        }
        marker = Marker.of(spec, file)
        if before is not None:
            before.refuse_other(marker, file, run.output)
        elif run.fresh:
            remove_shards(run.output)
        if before is None or file.count > before.rows:
            marker.write(run.output)
        self._following.begin(
            file.count,
            read_standing(run.output, prefix=run.options.column_prefix, retry_failed=True),
        )
        for note in file.layout.notes:
            run.progress.message(note)
        if meter.ok < file.count:
            self._generate(file)
            replace(marker, skipped=meter.skipped).write(run.output)

    def _generate(self, file: RowFile) -> None:
        run = self._run
        actors = min(run.actors, run.llm.max_concurrency or run.actors)
        parcel = pack(run.llm, workers=actors, api_key_env=run.api_key_env, headers_env=None)
        with cluster(run.address, cpus=actors * NUM_CPUS + _OTHERS_CPUS) as ray:
            coordinator = start_coordinator(parcel.identity(), run.llm.max_concurrency)
            order = Order(parcel=parcel, options=run.options, id_column=ROW_ID)
            ds = generate_blocks(read_rows(file), order, coordinator, actors=actors)
            with self._shown(ray, coordinator):
                try:
                    write_shards(ds, run.output)
                except (ray.exceptions.RayError, OSError, RuntimeError) as error:
                    raise self._reason(ray, coordinator, error) from None

    def _reason(self, ray: Any, coordinator: Any, error: Exception) -> DistilabelError:
        """Our own error where a worker met one; else what Ray says."""
        try:
            stopped = self._ask(ray, coordinator).stopped
        except ray.exceptions.RayError:
            stopped = None
        if stopped is not None:
            return run_error(stopped)
        if isinstance(error, OSError) and error.errno is not None:
            return StorageError(f"{self._run.output}: {error}")
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return RunError(Failure(kind=FailureKind.LOCAL, code="ray", message=f"Ray: {said}"))

    def _ask(self, ray: Any, coordinator: Any) -> Progress:
        told: Progress = ray.get(coordinator.progress.remote(), timeout=_LAST_WORD)
        self._following.told(told)
        return told

    @contextmanager
    def _shown(self, ray: Any, coordinator: Any) -> Iterator[None]:
        """Show the run as the coordinator knows it, from a thread of its own."""
        over = threading.Event()
        display = self._run.progress

        def tick() -> None:
            while not over.wait(display.interval):
                try:
                    self._ask(ray, coordinator)
                except ray.exceptions.RayError:
                    continue
                display.update(self._following.snapshot())

        thread = threading.Thread(target=tick, name="distilabel-endpoints-progress", daemon=True)
        self._following.meter.sending()
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_LAST_WORD)
            if not self._stopping:
                with suppress(ray.exceptions.RayError):
                    self._ask(ray, coordinator)

    def _summary(self) -> RunSummary:
        """How the run stands now, as the shards have it."""
        run, meter = self._run, self._following.meter
        standing = read_standing(run.output, prefix=run.options.column_prefix)
        ending, code = self._ending(standing.failed)
        pending = None
        if meter.total is not None:
            skipped = self._following.skipped if ending is RunEnding.FINISHED else 0
            pending = max(0, meter.total - standing.ok - standing.failed - skipped)
        summary = self._following.summary(standing, ending, code)
        return replace(
            summary,
            pending=pending,
            elapsed=time.monotonic() - meter.started,
            reason=str(self._error) if self._error else None,
            output=str(run.output) if ending is RunEnding.FINISHED else None,
            resume_command=run.resume_command if pending or standing.failed else None,
        )

    def _ending(self, failed: int) -> tuple[RunEnding, int]:
        match self._error:
            case RunError():
                return RunEnding.ENDPOINT, 3
            case StorageError():
                return RunEnding.STORAGE, 4
        if self._stopping:
            return RunEnding.INTERRUPTED, self._stopping.exit_code
        return RunEnding.FINISHED, 2 if failed else 0


def _interrupt(_: float) -> None:
    raise KeyboardInterrupt
