"""Looking at a run from outside, also while it goes on: `status` and `export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.lock import Holder, holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import StoreStatistics
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.rows import OutputColumns, RowSource, open_rows
from distilabel_endpoints.run_state import FailureGroup, Spent, TokenCount
from distilabel_endpoints.runs.export import Exported, export
from distilabel_endpoints.runs.kept_input import open_kept
from distilabel_endpoints.runs.paying import spent_in
from distilabel_endpoints.runs.written import Written, exporting, foreign, is_beginning

__all__ = ["RunStatus", "export_run", "open_input", "open_reader", "read_status"]


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
    spent: Spent | None
    """With failed attempts; `None` if nothing was sent."""
    failures: tuple[FailureGroup, ...]
    running: str | None
    """Who is writing it now: host and process; `None` for nobody."""

    @classmethod
    def of(
        cls,
        output: Path,
        found: StoreStatistics,
        *,
        total: int | None,
        skipped: int,
        spent: Spent | None = None,
        holder: Holder | None,
    ) -> RunStatus:
        """From what is stored of the run, and who holds its lock."""
        return cls(
            output=str(output),
            total=total,
            ok=found.ok,
            failed=found.failed,
            skipped=skipped,
            attempts=found.attempts,
            tokens=TokenCount(input_tokens=found.input_tokens, output_tokens=found.output_tokens),
            spent=spent,
            failures=found.failures,
            running=None if holder is None else f"process {holder.pid} on {holder.host}",
        )

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
    with open_reader(output) as reader:
        about = reader.note("run") or {}
        found = reader.statistics(about.get("limit"))
        spent = spent_in(reader)
    return RunStatus.of(
        output,
        found,
        total=about.get("total"),
        skipped=about.get("skipped", 0),
        spent=spent,
        holder=holder_of(journal_path(output)),
    )


def export_run(output: Path, source: str | None = None) -> Exported:
    """Write what is finished so far to `output`.

    Args:
        output: the run's output.
        source: where its input is now; default: where it was.

    Raises:
        ConfigurationError: there is no such run, or its input is not to be found.
        InputChangedError: the input does not hold the rows that were answered.
        LockedError: another export of it goes on.
        OutputExistsError: a file stands there that this run did not write.
        StorageError: a disk failed.
    """
    with open_reader(output) as reader, exporting(output, patience=0):
        about: dict[str, Any] = reader.note("run") or {}
        if "columns" not in about:
            raise ConfigurationError(f"{journal_path(output)} has no results to write yet.")
        written = Written(output, reader)

        def accept(complete: Path) -> None:
            if not written.stands and not is_beginning(output, complete):
                raise foreign(output)
            written.note_beside(complete)

        columns = OutputColumns(**about["columns"])
        rows = open_input(output, source, about)
        limit = about["limit"]
        return export(rows, reader, output, columns, limit=limit, before_rename=accept)


def open_input(output: Path, source: str | None, about: dict[str, Any]) -> RowSource:
    """Where the rows are: as the user says, as they were kept, or where they were."""
    if source is None and about["kept"]:
        kept = open_kept(output, max_row_bytes=about["max_row_bytes"])
        if kept is None:
            raise ConfigurationError(
                f"the rows of {output} came only once, and what was kept of them is gone; "
                "give a file that holds them with --input"
            )
        return kept
    place = source or about["input"]
    if place is None:
        raise ConfigurationError(
            f"a program made the rows of {output}; run it again, or give a file that holds them "
            "with --input"
        )
    return open_rows(place, max_row_bytes=about["max_row_bytes"])


def open_reader(output: Path) -> Reader:
    """The journal of the run that writes `output`, to be closed by the caller.

    Raises:
        ConfigurationError: there is none.
        StorageError: it cannot be read.
    """
    if not journal_path(output).exists():
        raise ConfigurationError(
            f"there is no run on {output}: {journal_path(output)} does not exist{_others(output)}"
        )
    return Reader(output)


def _others(output: Path) -> str:
    """The runs in that folder, as the end of a sentence."""
    suffix = journal_path(output).name.removeprefix(output.name)
    try:
        beside = sorted(f.name.removesuffix(suffix) for f in output.parent.glob(f"*{suffix}"))
    except OSError:
        return ""
    return f". Runs in this folder: {', '.join(beside[:5])}" if beside else ""
