"""Shards: the written output of a Ray dataset, one Parquet file per block, resumable.

Rules
- Ray Data's checkpoint (`OUTPUT.checkpoint`) says which rows are in the shards. A shard counts once
  its checkpoint file has its final name; what was written before that is removed by the next run.
- A row that failed is taken out of its shard and its checkpoint when a run is resumed, so that
  it is done again. Checkpoint first: interrupted, the same is found and done once more.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.errors import ConfigurationError, DamagedError, StorageError
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.ray.result_columns import COUNTED, stored_failures
from distilabel_endpoints.ray.source import FAILURE, ROW_ID, ordinal_of
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.run_state import FailureTally

__all__ = [
    "answered_ids",
    "checkpoint_of",
    "committed_shards",
    "read_shards",
    "remove_shards",
    "rows_in_order",
    "write_shards",
]

_CPUS: Final = 0.25
_ROWS_AT_ONCE: Final = 256
_UNSUPPORTED: Final = "You've enabled checkpointing, but the logical plan"


def checkpoint_of(output: str | os.PathLike[str]) -> Path:
    """Where the checkpoint of an output is."""
    path = Path(output)
    return path.with_name(path.name + ".checkpoint")


def _pyarrow() -> Any:
    return pyarrow("The output of a run over Ray", extra="ray")


def write_shards(
    ds: Any,
    output: str | os.PathLike[str],
    *,
    id_column: str = ROW_ID,
    num_cpus: float = _CPUS,
) -> None:
    """Execute `ds` and write it to the folder `output`; resumes where an earlier call stopped.

    Args:
        ds: read by `read_rows` or one of Ray's own readers: rows that are done are passed over
            right behind the reading, so the id must be a column of what is read.
        output: a folder that all nodes of the cluster see; its checkpoint is kept beside it.
        id_column: tells rows apart, in this run and the next.
        num_cpus: of each writing task.

    Raises:
        ConfigurationError: rows of this dataset cannot be distinguished across runs.
    """
    ray_package("write_shards")
    from ray.data.checkpoint import CheckpointConfig

    target = Path(output).absolute()
    target.mkdir(parents=True, exist_ok=True)
    ds.context.checkpoint_config = CheckpointConfig(
        id_column=id_column,
        checkpoint_path=str(checkpoint_of(target)),
        # It is what a resumed run, and `status`, know the finished rows by.
        delete_checkpoint_on_success=False,
    )
    with warnings.catch_warnings():
        # Ray warns, and writes all the same: the next run would answer everything again.
        warnings.filterwarnings("error", message=_UNSUPPORTED)
        try:
            ds.write_parquet(str(target), ray_remote_args={"num_cpus": num_cpus})
        except UserWarning as warning:
            if not str(warning).startswith(_UNSUPPORTED):
                raise
            raise ConfigurationError(
                "a dataset that does not come from a reader (from_items, materialize, a shuffle) "
                "cannot be resumed; use read_rows, or write it to Parquet and read that."
            ) from None


def read_shards(
    output: str | os.PathLike[str],
    *,
    prefix: str = "",
    stop: int | None = None,
    retry_failed: bool = False,
) -> StoreStatistics:
    """Count what is done; also while a run is in progress.

    Args:
        output: the folder.
        prefix: the column prefix of the run.
        stop: only the rows before this ordinal.
        retry_failed: take failed rows out, so that the next run does them again.

    Raises:
        DamagedError: a shard is not what was written.
        StorageError: a shard cannot be read.
    """
    ok = failed = input_tokens = output_tokens = 0
    tally = FailureTally()
    for shard in committed_shards(Path(output)):
        table = _columns(shard, prefix)
        if table is None:
            continue
        if stop is not None:
            table = table.filter(_pyarrow().compute.less(table[ROW_ID], f"{stop:012d}"))
        input_tokens += sum(filter(None, table.column(f"{prefix}input_tokens").to_pylist()))
        output_tokens += sum(filter(None, table.column(f"{prefix}output_tokens").to_pylist()))
        bad = table.filter(_is_failed(table, prefix))
        ok += table.num_rows - bad.num_rows
        if bad.num_rows and retry_failed:
            _take_out_failed(shard, checkpoint_of(output), prefix)
        else:
            failed += bad.num_rows
            for ordinal, failure in _failures(shard, bad, prefix):
                tally.add(failure, ordinal)
    return StoreStatistics(
        ok=ok,
        failed=failed,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        failures=tally.groups(),
    )


def answered_ids(output: Path, *, prefix: str) -> set[str]:
    """The `row_id` of every row in the shards that did not fail."""
    ids: set[str] = set()
    for shard in committed_shards(output):
        table = _columns(shard, prefix)
        if table is not None:
            kept = table.filter(_pyarrow().compute.invert(_is_failed(table, prefix)))
            ids.update(kept.column(ROW_ID).to_pylist())
    return ids


def _is_failed(table: Any, prefix: str) -> Any:
    return table.column(f"{prefix}error_code").is_valid()


def _failures(shard: Path, bad: Any, prefix: str) -> Iterator[tuple[int, Failure]]:
    """Ordinal and failure of each row of `bad`, as the run kept it."""
    codes, errors = (bad.column(f"{prefix}{name}").to_pylist() for name in ("error_code", "error"))
    kept = bad.column(FAILURE).to_pylist() if FAILURE in bad.column_names else [None] * len(codes)
    ids = bad.column(ROW_ID).to_pylist()
    for row, text, code, error in zip(ids, kept, codes, errors, strict=True):
        ordinal = ordinal_of(row, b"")
        if text is not None:
            yield ordinal, next(filter(None, stored_failures(shard, text)))
        else:
            message = str(_first(error))
            yield ordinal, Failure(kind=FailureKind.ROW, code=_first(code), message=message)


def _first(value: Any) -> Any:
    """What stands in a column for the first generation that failed."""
    return next(filter(None, value), None) if isinstance(value, list) else value


def remove_shards(output: str | os.PathLike[str]) -> None:
    """Remove shards and checkpoint; what else is in the folder stays."""
    for shard in committed_shards(Path(output), all_written=True):
        shard.unlink()
    shutil.rmtree(checkpoint_of(output), ignore_errors=True)


def rows_in_order(output: Path, names: Sequence[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The rows of all shards in the input's order, with these columns.

    A shard is opened when its first row is due, so only those that overlap are held at once.
    """
    due = deque(
        sorted((first, shard) for shard in committed_shards(output) if (first := _first_id(shard)))
    )
    opened: list[tuple[str, int, Path, dict[str, Any], Iterator[dict[str, Any]]]] = []
    count = 0
    while due or opened:
        if due and (not opened or due[0][0] <= opened[0][0]):
            shard = due.popleft()[1]
            rows = _sorted_rows(shard, names)
        else:
            _, _, shard, row, rows = heappop(opened)
            yield shard, row
        following = next(rows, None)
        if following is not None:
            count += 1  # breaks ties, as rows cannot be compared
            heappush(opened, (following[ROW_ID], count, shard, following, rows))


def _first_id(shard: Path) -> str | None:
    ids = _read(shard, [ROW_ID])
    first = None if ids is None else _pyarrow().compute.min(ids.column(ROW_ID)).as_py()
    return None if first is None else str(first)


def _sorted_rows(shard: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    table = _read(shard, names)
    if table is not None:
        for batch in table.sort_by(ROW_ID).to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def committed_shards(output: Path, *, all_written: bool = False) -> Iterator[Path]:
    """The shards that count: those whose checkpoint is committed."""
    checkpoint = checkpoint_of(output)
    for shard in sorted(output.glob("*.parquet")):
        if all_written or _noted(checkpoint, shard) is not None:
            yield shard


def _noted(checkpoint: Path, shard: Path) -> Path | None:
    """The committed checkpoint file of a shard: its name is what the shard's begins with."""
    note = checkpoint / shard.name
    if note.exists():
        return note
    stem = shard.stem.rpartition("-")[0]
    note = checkpoint / f"{stem}.parquet"
    return note if stem and note.exists() else None


def _columns(shard: Path, prefix: str) -> Any:
    """What is counted of a shard; None if the run that begins has just taken it out."""
    return _read(shard, [ROW_ID, *(f"{prefix}{name}" for name in COUNTED), FAILURE])


def _read(shard: Path, names: Sequence[str]) -> Any:
    """Columns of a shard. A run has the column of failures, a pipeline's shards have not."""
    pa = _pyarrow()
    try:
        there = pa.parquet.read_schema(shard).names
        columns = [name for name in names if name in there or name != FAILURE]
        return pa.parquet.read_table(shard, columns=columns, partitioning=None)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"{shard} cannot be read: {error.strerror}.") from error
        raise DamagedError(
            f"{shard} is damaged. Remove it together with "
            f"{_noted(checkpoint_of(shard.parent), shard)}: the next run does its rows again."
        ) from error


def _take_out_failed(shard: Path, checkpoint: Path, prefix: str) -> None:
    """Leave the rows that did not fail, in the checkpoint and then in the shard."""
    pa = _pyarrow()
    pq = pa.parquet
    table = pq.read_table(shard, partitioning=None)
    kept = table.filter(pa.compute.invert(_is_failed(table, prefix)))
    note = _noted(checkpoint, shard)
    assert note is not None
    if not kept.num_rows:
        note.unlink()
        shard.unlink()
        return
    noted = pq.read_schema(note).names
    # In this order: a row in the shard alone is done again, one in the checkpoint alone is lost.
    _rewrite(note, kept.select(noted))
    _rewrite(shard, kept)


def _rewrite(path: Path, table: Any) -> None:
    with writing(path) as file:
        _pyarrow().parquet.write_table(table, file)
