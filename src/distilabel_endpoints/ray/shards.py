"""Shards: the written output of a Ray dataset, one Parquet file per block, resumable.

Rules
- Ray Data's checkpoint (`OUTPUT.checkpoint`) says which rows are in the shards. A shard counts once
  its checkpoint file has its final name; what was written before that is removed by the next run.
- A row that failed is taken out of its shard and its checkpoint when a run is gone on with, so that
  it is done again. Checkpoint first: interrupted, the same is found and done once more.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints.errors import ConfigurationError, DamagedError, StorageError
from distilabel_endpoints.ray.package import ray_package
from distilabel_endpoints.ray.source import ROW_ID
from distilabel_endpoints.rows.arrow import pyarrow
from distilabel_endpoints.rows.columns import WARNING

__all__ = ["Standing", "checkpoint_of", "read_standing", "remove_shards", "write_shards"]

_CPUS: Final = 0.25
_UNSUPPORTED: Final = "You've enabled checkpointing, but the logical plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the shards of an output hold."""

    ok: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


def checkpoint_of(output: str | os.PathLike[str]) -> Path:
    """Where the checkpoint of an output is."""
    path = Path(output)
    return path.with_name(path.name + ".checkpoint")


def write_shards(
    ds: Any,
    output: str | os.PathLike[str],
    *,
    id_column: str = ROW_ID,
    num_cpus: float = _CPUS,
) -> None:
    """Execute `ds` and write it to the folder `output`; goes on where an earlier call was stopped.

    Args:
        ds: read by `read_rows` or one of Ray's own readers: rows that are done are passed over
            right behind the reading, so the id must be a column of what is read.
        output: a folder that all nodes of the cluster see; its checkpoint is kept beside it.
        id_column: tells rows apart, in this run and the next.
        num_cpus: of each writing task.

    Raises:
        ConfigurationError: rows of this dataset cannot be told apart across runs.
    """
    ray_package("write_shards")
    from ray.data.checkpoint import CheckpointConfig

    target = Path(output).absolute()
    target.mkdir(parents=True, exist_ok=True)
    ds.context.checkpoint_config = CheckpointConfig(
        id_column=id_column,
        checkpoint_path=str(checkpoint_of(target)),
        delete_checkpoint_on_success=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_UNSUPPORTED)
        try:
            ds.write_parquet(str(target), ray_remote_args={"num_cpus": num_cpus})
        except UserWarning as warning:
            if not str(warning).startswith(_UNSUPPORTED):
                raise
            raise ConfigurationError(
                "a dataset that does not come from a reader (from_items, materialize, a shuffle) "
                "cannot be gone on with; use read_rows, or write it to Parquet and read that."
            ) from None


def read_standing(
    output: str | os.PathLike[str],
    *,
    prefix: str = "",
    retry_failed: bool = False,
    tell: Callable[[str, str], None] | None = None,
) -> Standing:
    """Count what is done; also while a run goes on.

    Args:
        output: the folder.
        prefix: the column prefix of the run.
        retry_failed: take failed rows out, so that the next run does them again.
        tell: is given the `row_id` and the first error of each failed row.

    Raises:
        DamagedError: a shard is not what was written.
        StorageError: a shard cannot be read.
    """
    ok = failed = given = made = 0
    names = [f"{prefix}{name}" for name in _COUNTED] + [ROW_ID] * (tell is not None)
    for shard in _shards(Path(output)):
        table = _columns(shard, names)
        if table is None:
            continue
        errors, input_tokens, output_tokens = (table.column(n).to_pylist() for n in range(3))
        given += sum(filter(None, input_tokens))
        made += sum(filter(None, output_tokens))
        reasons = [_failure_of(error) for error in errors]
        bad = table.num_rows - reasons.count(None)
        ok += table.num_rows - bad
        if bad and tell is not None:
            _tell_failed(table.column(ROW_ID).to_pylist(), reasons, tell)
        if bad and retry_failed:
            _take_out_failed(shard, checkpoint_of(output), f"{prefix}error")
        failed += bad
    return Standing(
        ok=ok, failed=0 if retry_failed else failed, input_tokens=given, output_tokens=made
    )


_COUNTED: Final = ("error", "input_tokens", "output_tokens")


def remove_shards(output: str | os.PathLike[str]) -> None:
    """Remove shards and checkpoint; what else is in the folder stays."""
    for shard in _shards(Path(output), all_written=True):
        shard.unlink()
    shutil.rmtree(checkpoint_of(output), ignore_errors=True)


def _shards(output: Path, *, all_written: bool = False) -> Iterator[Path]:
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


def _columns(shard: Path, names: list[str]) -> Any:
    """Columns of a shard; None where the run that begins has just taken it out."""
    pa = pyarrow("shards")
    try:
        return pa.parquet.read_table(shard, columns=names, partitioning=None)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(f"{shard} cannot be read: {error.strerror}.") from error
        raise DamagedError(
            f"{shard} is damaged. Remove it together with "
            f"{_noted(checkpoint_of(shard.parent), shard)}: the next run does its rows again."
        ) from error


def _failure_of(error: Any) -> str | None:
    """The first text in an `error` (text, or a list of it) that is no mere warning."""
    said = error if isinstance(error, list) else [error]
    return next((text for text in said if text is not None and not text.startswith(WARNING)), None)


def _tell_failed(
    identities: list[str], reasons: list[str | None], tell: Callable[[str, str], None]
) -> None:
    for identity, reason in zip(identities, reasons, strict=True):
        if reason is not None:
            tell(identity, reason)


def _take_out_failed(shard: Path, checkpoint: Path, error: str) -> None:
    """Leave the rows without an error, in the checkpoint and then in the shard."""
    pa = pyarrow("shards")
    pq = pa.parquet
    table = pq.read_table(shard, partitioning=None)
    kept = table.filter(pa.array([_failure_of(said) is None for said in table[error].to_pylist()]))
    note = _noted(checkpoint, shard)
    assert note is not None
    if not kept.num_rows:
        note.unlink()
        shard.unlink()
        return
    noted = pq.read_schema(note).names
    _rewrite(note, kept.select(noted))
    _rewrite(shard, kept)


def _rewrite(path: Path, table: Any) -> None:
    beside = path.with_name(f".{path.name}.new")
    pyarrow("shards").parquet.write_table(table, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
