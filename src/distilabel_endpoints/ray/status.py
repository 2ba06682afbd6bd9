"""Looking at a run over Ray from outside, also while it goes on. Needs no Ray.

Only what is committed counts: a row whose block is under way is pending. Rows that are left out
(`--on-bad-row skip`) are in no shard, and pending until the run has finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.shards import read_shards
from distilabel_endpoints.runs.status import RunStatus

__all__ = ["read_status", "refuse_export"]


def read_status(output: Path) -> RunStatus:
    """What is done, failed and why, of the run over Ray that writes the folder `output`.

    Raises:
        ConfigurationError: no run was begun there.
        InstallationError: pyarrow is not installed.
        StorageError: marker or shards cannot be read, or are damaged.
    """
    folder = output.absolute()
    marker = Marker.read(folder)
    holder = holder_of(journal_path(folder))
    if marker is None and holder is None:
        raise _no_run(output)
    found = StoreStatistics() if marker is None else read_shards(folder, prefix=marker.prefix)
    return RunStatus.of(
        output,
        found,
        total=None if marker is None else marker.rows,
        skipped=0 if marker is None else marker.skipped,
        holder=holder,
    )


def refuse_export(output: Path) -> NoReturn:
    """Say that a folder needs no export.

    Raises:
        ConfigurationError: always; the message says how to go on.
        DamagedError: the folder cannot prove that it is a run's.
    """
    if Marker.read(output) is None:
        raise _no_run(output)
    raise ConfigurationError(
        f"{output} needs no export: its Parquet files hold every finished row already. For one "
        "table in the input's order, when the run is finished, sort them by row_id: "
        f"pyarrow.parquet.read_table({str(output)!r}).sort_by('row_id')"
    )


def _no_run(output: Path) -> ConfigurationError:
    return ConfigurationError(f"there is no run on {output}: {marker_path(output)} does not exist")
