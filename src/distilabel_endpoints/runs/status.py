"""Looking at a run from outside, also while it is in progress: `status` and `export`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilabel_endpoints._store.atomic import BeforeRename
from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.lock import holder_of
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints._store.store import Store
from distilabel_endpoints.errors import ConfigurationError, OutputExistsError
from distilabel_endpoints.rows import OutputColumns, RowSource, open_rows
from distilabel_endpoints.rows.batch_writer import errors_beside
from distilabel_endpoints.rows.hub_datasets import hub_name
from distilabel_endpoints.run_state import FailureGroup, Spent, TokenCount
from distilabel_endpoints.runs.export import Exported, export
from distilabel_endpoints.runs.finished import column_note
from distilabel_endpoints.runs.kept_input import open_kept
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.paying import spent_in
from distilabel_endpoints.runs.written import Written, exporting, foreign, is_beginning

__all__ = [
    "Opener",
    "RunStatus",
    "export_run",
    "open_input",
    "open_reader",
    "read_status",
    "run_note",
]


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
    """`None` if it is not kept: in the shards of a run over Ray."""
    tokens: TokenCount
    spent: Spent | None
    """With failed attempts; `None` if nothing was sent."""
    failures: tuple[FailureGroup, ...]
    running: str | None
    """Who is writing it now: host and process; `None` if it is not being written."""

    @property
    def pending(self) -> int | None:
        """Rows that have not ended."""
        if self.total is None:
            return None
        return max(0, self.total - self.ok - self.failed - self.skipped)


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


def run_note(
    options: RunOptions,
    columns: OutputColumns,
    *,
    source: str,
    total: int | None,
    kept: bool = False,
    skipped: int = 0,
    duplicate_ids: int = 0,
) -> dict[str, Any]:
    """What a store keeps under `run`, for who looks at it without having started the run.

    Args:
        options: of the run.
        columns: those it adds.
        source: the input's path or address; empty if a program made the rows.
        total: rows of the input.
        kept: whether the rows came only once and are kept beside the output.
        skipped: rows left out.
        duplicate_ids: rows with the id of an earlier one.
    """
    return {
        "input": _place(source),
        "kept": kept,
        "limit": options.limit,
        "max_row_bytes": options.max_row_bytes,
        "total": total,
        "skipped": skipped,
        "duplicate_ids": duplicate_ids,
        "columns": column_note(columns),
    }


def _place(source: str) -> str | None:
    """The input's name as it is understood from any folder; `None` for a program's own objects."""
    if not source:
        return None
    return hub_name(source) or str(Path(source).absolute())


Opener = Callable[[Path], AbstractContextManager[Store]]
"""Finds the store of the run that writes an output; a `ConfigurationError` if there is none."""


def read_status(output: Path, *, opener: Opener = open_reader) -> RunStatus:
    """What is done, failed and why, of the run that writes `output`.

    Args:
        output: the run's output.
        opener: where its results are kept.

    Raises:
        ConfigurationError: there is no such run.
        StorageError: its store cannot be read, or is damaged.
    """
    # In its folder a run over Ray is `.`, and its lock is beside the folder.
    holder = holder_of(journal_path(output.absolute()))
    with opener(output) as store:
        about = store.note("run") or {}
        stored = store.statistics(about.get("limit"))
        spent = spent_in(store)
    return RunStatus(
        output=str(output),
        total=about.get("total"),
        ok=stored.ok,
        failed=stored.failed,
        skipped=about.get("skipped", 0),
        attempts=stored.attempts,
        tokens=TokenCount(input_tokens=stored.input_tokens, output_tokens=stored.output_tokens),
        spent=spent,
        failures=stored.failures,
        running=None if holder is None else f"process {holder.pid} on {holder.host}",
    )


def export_run(
    output: Path,
    source: str | None = None,
    *,
    to: Path | None = None,
    opener: Opener = open_reader,
) -> Exported:
    """Write what is finished so far to one file, in the input's order.

    Args:
        output: the run's output.
        source: where its input is now; default: where it was.
        to: the file, in any format that its name says; default: `output`. Nothing may be there.
        opener: where the results are kept.

    Raises:
        ConfigurationError: there is no such run, or its input is not to be found.
        InputChangedError: the input does not hold the rows that were answered.
        LockedError: another export of it is in progress.
        OutputExistsError: a file is there that this run did not write.
        StorageError: a disk failed.
    """
    target = to or output
    with opener(output) as store, exporting(target, patience=0):
        about: dict[str, Any] = store.note("run") or {}
        if "columns" not in about:
            raise ConfigurationError(f"The run on {output} has no results to write yet.")
        columns = OutputColumns(**about["columns"])
        if to is None:
            accept = _is_the_runs(output, store)
        elif columns.error_file is None:
            accept = _is_free(to)
        else:
            errors = errors_beside(to)  # not the run's own, which stays as it is
            columns = replace(columns, error_file=os.fspath(errors))
            accept = _is_free(to, errors)
        rows = open_input(output, source, about)
        return export(rows, store, target, columns, limit=about["limit"], before_rename=accept)


def _is_the_runs(output: Path, store: Store) -> BeforeRename:
    """Refuses to replace a file that no export of the run wrote."""
    written = Written(output, store)

    def accept(complete: Path) -> None:
        if not written.stands and not is_beginning(output, complete):
            raise foreign(output)
        written.note_beside(complete)

    return accept


def _is_free(*targets: Path) -> BeforeRename:
    """Refuses to replace any file, at once and again when there is something to replace it with."""

    def accept(_: Path) -> None:
        for target in targets:
            if target.exists():
                raise OutputExistsError(
                    f"{target} is already there. Give a name that is not taken."
                )

    accept(targets[0])
    return accept


def open_input(output: Path, source: str | None, about: dict[str, Any]) -> RowSource:
    """Where the rows are: as the user says, as they were kept, or where they were."""
    if source is None and about["kept"]:
        kept = open_kept(output, max_row_bytes=about["max_row_bytes"])
        if kept is None:
            raise ConfigurationError(
                f"the input of {output} could be read only once, and its copy is gone; "
                "give a file with the same rows as --input"
            )
        return kept
    place = source or about["input"]
    if place is None:
        raise ConfigurationError(
            f"a program made the rows of {output}; run it again, or give a file with the same "
            "rows as --input"
        )
    return open_rows(place, max_row_bytes=about["max_row_bytes"])
