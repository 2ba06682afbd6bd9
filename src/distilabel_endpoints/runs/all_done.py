"""A run whose rows all have their answers: nothing is sent, so a sleeping endpoint stays asleep.

What an endpoint says of its model cannot be compared then. It does not matter, as nobody asks it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints._store.journal import Reader
from distilabel_endpoints._store.place import journal_path
from distilabel_endpoints.errors import DistilabelError, InputChangedError
from distilabel_endpoints.lifecycle.for_runs import is_asleep
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import is_made_with
from distilabel_endpoints.rows import OutputColumns, Row, RowSource
from distilabel_endpoints.runs.batch import error_file_of
from distilabel_endpoints.runs.finished import Finished
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.scan import Ids, scan

__all__ = ["AllDone", "all_done"]


@dataclass(frozen=True, slots=True)
class AllDone:
    """What a run's store says of its settings; it plans nothing."""

    spec: Mapping[str, Any]
    columns: OutputColumns

    def plan(self, row: Row) -> RowPlan:
        """Only for a row that changed since all of them were compared."""
        raise InputChangedError(f"{row.source} was changed while the run was reading it.")

    def remarks(self) -> list[str]:
        """None."""
        return []

    def output_columns(self) -> OutputColumns:
        """As they were, but for what may change between two calls."""
        return self.columns


def all_done(
    llm: InferenceEndpointsLLM, source: RowSource, output: Path, options: RunOptions
) -> AllDone | None:
    """The run as its journal has it, if its endpoint sleeps and nothing is left to be sent.

    Raises:
        RunError: the endpoint's state cannot be read.
    """
    if not journal_path(output).exists() or not is_asleep(llm):
        return None
    try:
        with Reader(output) as reader:
            return _answered(reader, llm, source, output, options)
    except DistilabelError:
        return None  # the run finds and reports it


def _answered(
    reader: Reader,
    llm: InferenceEndpointsLLM,
    source: RowSource,
    output: Path,
    options: RunOptions,
) -> AllDone | None:
    spec, about = reader.header.spec, reader.note("run")
    if about is None or not is_made_with(spec, llm, options.settings(), options.parameters):
        return None
    columns = _columns_now(OutputColumns(**about["columns"]), output, options)
    if Finished(output, source, options, columns).find(spec) is None:
        scanned = scan(
            source,
            reader.replay(),
            options,
            check=lambda _: None,
            columns=columns,
            ids=Ids(most=0),
            on_rows_read=lambda _: None,
            output=str(output),
            answered=0,
        )
        if scanned.pending.count or not scanned.total:
            return None
    return AllDone(spec, columns)


def _columns_now(columns: OutputColumns, output: Path, options: RunOptions) -> OutputColumns:
    """The columns that were written, with the options of this call."""
    is_batch = columns.layout == "openai-batch"
    return replace(
        columns,
        prefix=options.column_prefix,
        escape_formulas=options.escape_formulas,
        error_file=os.fspath(error_file_of(output, options)) if is_batch else None,
    )
