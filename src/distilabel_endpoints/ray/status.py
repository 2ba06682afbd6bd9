"""Looking at a run over Ray from outside, also while it goes on. Needs no Ray.

Only what is committed counts: a row whose block is under way is pending. Rows that are left out
(`--on-bad-row skip`) are in no shard, and pending until the run has finished.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NoReturn

from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.ray.marker import Marker, marker_path
from distilabel_endpoints.ray.shards import Standing, read_standing
from distilabel_endpoints.ray.source import ordinal_of
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.run_state import FailureTally, TokenCount
from distilabel_endpoints.runs.status import RunStatus

__all__ = ["read_status", "refuse_export", "told_failure"]

_DESCRIBED: Final = re.compile(
    rf"(?P<kind>{'|'.join(FailureKind)})(?: (?P<status>\d+))?: (?P<message>.*?)"
    r"(?: \(after (?P<attempts>\d+) attempts\))?(?: Hint: (?P<hint>.*))?",
    re.DOTALL,
)


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
    tally, standing = FailureTally(), Standing()
    if marker is not None:
        standing = read_standing(
            folder,
            prefix=marker.prefix,
            tell=lambda identity, error: tally.add(told_failure(error), ordinal_of(identity, b"")),
        )
    return RunStatus(
        output=str(output),
        total=None if marker is None else marker.rows,
        ok=standing.ok,
        failed=standing.failed,
        skipped=0 if marker is None else marker.skipped,
        attempts=None,
        tokens=TokenCount(input_tokens=standing.input_tokens, output_tokens=standing.output_tokens),
        failures=tally.groups(),
        running=None if holder is None else f"process {holder.pid} on {holder.host}",
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


def told_failure(described: str) -> Failure:
    """The failure that `Failure.describe` made the text of, without its code.

    Text in another form is a row's failure with that message.
    """
    found = _DESCRIBED.fullmatch(described)
    if found is None:
        return Failure(kind=FailureKind.ROW, message=described)
    return Failure(
        kind=FailureKind(found["kind"]),
        message=found["message"],
        status=int(found["status"]) if found["status"] else None,
        attempts=int(found["attempts"] or 1),
        hint=found["hint"],
    )


def _no_run(output: Path) -> ConfigurationError:
    return ConfigurationError(f"there is no run on {output}: {marker_path(output)} does not exist")
