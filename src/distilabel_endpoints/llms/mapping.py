"""An LLM as the function of `datasets.Dataset.map(..., batched=True)`.

Rules
- It pickles, and is hashed by `datasets`, as the LLM's dump and its own settings: no secret, and
  the same hash in every process, so that the map's cache is found again.
- A row's failure is its `error`; a run's failure is an exception, which ends the map.
- It keeps no journal: what a map had done is gone when it fails. `generate_dataset` keeps one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.conversations import without_nulls
from distilabel_endpoints.errors import ConfigurationError, InputError
from distilabel_endpoints.llms.answer_columns import columns_of
from distilabel_endpoints.llms.internals import answer_plans, planner_of
from distilabel_endpoints.llms.outputs import refused_row
from distilabel_endpoints.records import Result
from distilabel_endpoints.rows import ConversationSpec, OutputColumns, Place, Row
from distilabel_endpoints.rows.columns import ColumnKind, OutputColumn, cell_text
from distilabel_endpoints.rows.datasets_rows import datasets_package

if TYPE_CHECKING:
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["MapFunction"]

Batch = Mapping[str, Sequence[Any]]
_TABLES: Final = frozenset({"DataFrame", "Table"})
"""What `map` passes on from a dataset in the format of pandas, polars or Arrow."""


@dataclass(frozen=True, kw_only=True)
class MapFunction:
    """Takes a batch (column name to values), gives back the columns that a run would add."""

    llm: InferenceEndpointsLLM
    conversations: ConversationSpec
    num_generations: int = 1
    column_prefix: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, batch: Batch, indices: Sequence[int] | None = None) -> dict[str, list[Any]]:
        """Complete the rows of `batch`.

        Args:
            batch: one list per column, all equally long.
            indices: the rows' places in the dataset, as `map(..., with_indices=True)` gives them:
                a `seed` then counts from the dataset's first row, not from the batch's.

        Raises:
            InputError: a parameter cannot be sent, no column holds a conversation, or a column
                has the name of one of ours.
            RunError: no request can succeed.
        """
        columns = self._columns()
        if type(batch).__name__ in _TABLES:
            raise ConfigurationError(
                f"this function takes lists of values by column, not a {type(batch).__name__}; "
                "take the dataset's format away: dataset.with_format(None).map(...)"
            )
        if not _is_batch(batch):
            raise ConfigurationError(
                "this function takes batches of whole rows: call map(function, batched=True), "
                "without input_columns"
            )
        columns.refuse_clash(batch)
        count = len(next(iter(batch.values()), ()))
        ordinals = list(indices) if indices is not None else list(range(count))
        results = self._results(batch, ordinals)
        values = [columns.values(results[ordinal]) for ordinal in ordinals]
        return {
            column.name: [cell_text(column, value[column.name]) for value in values]
            for column in columns
        }

    def features(self, present: Mapping[str, Any]) -> Any:
        """`present` (a dataset's `features`) and those of our columns, for `map(features=...)`.

        Without, `map` takes a column's type from its first batch, and an `error` after a batch
        without one ends it.

        Raises:
            InstallationError: `datasets` is not installed.
        """
        datasets = datasets_package("the features of a dataset")
        columns = self._columns()
        columns.refuse_clash(present)
        ours = {
            column.name: datasets.List(_type(datasets, column))
            if column.many
            else _type(datasets, column)
            for column in columns
        }
        return datasets.Features({**present, **ours})

    def _columns(self) -> OutputColumns:
        return columns_of(
            self.llm,
            self.parameters,
            num_generations=self.num_generations,
            prefix=self.column_prefix,
        )

    def _results(self, batch: Batch, ordinals: Sequence[int]) -> dict[int, Result]:
        """Every row's result, by its ordinal."""
        bound = self.conversations.bind(batch)
        shared = self._planner({})
        results: dict[int, Result] = {}
        plans: list[RowPlan] = []
        for place, ordinal in enumerate(ordinals):
            try:
                prepared = bound.prepare(_row(batch, place, ordinal))
                own = prepared.parameters
                planner = shared if not own else self._planner(own)
                plans.append(planner(ordinal, prepared.input))
            except InputError as error:
                results[ordinal] = refused_row(ordinal, self.num_generations, error)

        for remark in bound.remarks():
            _log_once(remark.lstrip("0123456789, "))

        def deliver(result: Result) -> None:
            results[result.ordinal] = result

        answer_plans(self.llm, plans, deliver)
        return results

    def _planner(self, own: Mapping[str, Any]) -> Any:
        return planner_of(self.llm, self.num_generations, {**self.parameters, **own})


def _is_batch(batch: Any) -> bool:
    """Whether `map` gave lists of values by column, and not one row."""
    if not isinstance(batch, Mapping) or type(batch).__name__ == "LazyRow":
        return False
    return all(hasattr(v, "__len__") and not isinstance(v, str) for v in batch.values())


@cache
def _log_once(remark: str) -> None:
    """Log what a run would have said; a dataset has many batches, and each has the same remarks."""
    logging.getLogger("distilabel_endpoints").warning("%s", remark)


def _row(batch: Batch, place: int, ordinal: int) -> Row:
    # Arrow gives a struct every key that some row's has; those were never this row's own.
    columns = {name: without_nulls(values[place]) for name, values in batch.items()}
    return Row(ordinal, columns, content_hash=b"", place=Place("the batch", place + 1))


def _type(datasets: Any, column: OutputColumn) -> Any:
    kinds = {ColumnKind.COUNT: "int64", ColumnKind.SHARE: "float64"}
    return datasets.Value(kinds.get(column.kind, "string"))
