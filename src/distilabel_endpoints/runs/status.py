"""Looking at a run from outside, also while it goes on: `status` and `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.journal import Reader, holder_of, journal_path
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import OutputColumns, open_rows
from distilabel_endpoints.run_state import FailureGroup, FailureTally, TokenCount
from distilabel_endpoints.runs.export import Exported, export
from distilabel_endpoints.runs.kept_input import spool_path

__all__ = ["RunStatus", "export_run", "read_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How the run stands that writes an output."""

    output: str
    total: int | None
    """Rows of the input; `None` while it is being looked at."""
    ok: int
    failed: int
    skipped: int
    """Rows left out because they cannot be sent; of a run over Ray, known when it has finished."""
    attempts: int | None
    """`None` where it is not kept: in the shards of a run over Ray."""
    tokens: TokenCount
    failures: tuple[FailureGroup, ...]
    running: str | None
    """Who is writing it now: host and process; `None` for nobody."""

    @property
    def pending(self) -> int | None:
        """Rows that have not ended."""
        if self.total is None:
            return None
        return max(0, self.total - self.ok - self.failed - self.skipped)


def read_status(output: Path) -> RunStatus:
    """What is done, failed and why, of the run that writes `output`.

    Raises:
        ConfigurationError: there is no journal beside `output`.
        StorageError: it cannot be read.
    """
    with _reader(output) as reader:
        about = reader.note("run") or {}
        found = reader.statistics()
    tally = FailureTally()
    for reason in found.reasons:
        tally.add(reason.failure, reason.ordinal, rows=reason.rows)
    holder = holder_of(journal_path(output))
    return RunStatus(
        output=str(output),
        total=about.get("total"),
        ok=found.ok,
        failed=found.failed,
        skipped=about.get("skipped", 0),
        attempts=found.attempts,
        tokens=TokenCount(input_tokens=found.input_tokens, output_tokens=found.output_tokens),
        failures=tally.groups(),
        running=None if holder is None else f"process {holder.pid} on {holder.host}",
    )


def export_run(output: Path, source: str | None = None) -> Exported:
    """Write what is finished so far to `output`.

    Args:
        output: the run's output.
        source: where its input is now; default: where it was.

    Raises:
        ConfigurationError: there is no such run, or its input is not to be found.
        StorageError: a disk failed.
    """
    with _reader(output) as reader:
        about: dict[str, Any] = reader.note("run") or {}
        if "columns" not in about:
            raise ConfigurationError(f"{journal_path(output)} has no results to write yet.")
        spooled = spool_path(output)
        given = source or (str(spooled) if spooled.exists() else about["input"])
        columns = OutputColumns(**about["columns"])
        return export(open_rows(given), reader, output, columns, limit=about["limit"])


def _reader(output: Path) -> Reader:
    if not journal_path(output).exists():
        raise ConfigurationError(
            f"there is no run on {output}: {journal_path(output)} does not exist"
        )
    return Reader(output)
