"""Rows to plans: the conversation, the row's own parameters, the columns of the output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.errors import ConfigurationError, ConversationError, InputError
from distilabel_endpoints.llms.answer_columns import columns_of
from distilabel_endpoints.llms.attributes import effective_parameters
from distilabel_endpoints.llms.calls import Planner
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import planner_of
from distilabel_endpoints.records import Conversation
from distilabel_endpoints.rows import Conversations, OutputColumns, Row
from distilabel_endpoints.rows.prompts import STRUCTURED_OUTPUT
from distilabel_endpoints.runs.options import RunOptions

__all__ = ["Planning", "RowPlanner"]

_MOST_PLANNERS: Final = 256
_WITH_COLUMN: Final = ("tools", "logprobs")
"""Parameters whose answers have their own column."""
_ANY: Final[Conversation] = [{"role": "user", "content": ""}]


class Planning(Protocol):
    """What the rows of an input ask for."""

    def plan(self, row: Row) -> RowPlan:
        """What `row` asks for; raises `InputError` if it cannot be sent."""
        ...

    def remarks(self) -> list[str]:
        """What the user should know of the rows that were planned so far."""
        ...

    def output_columns(self) -> OutputColumns:
        """What the run writes."""
        ...


class RowPlanner:
    """What each row asks for.

    Args:
        llm: what answers.
        columns: the names of the input's columns.
        options: of the run.
        first: a row whose own settings are checked at once.

    Raises, when made:
        ConfigurationError: no column holds a conversation, the template is wrong, or columns that
            have the names of settings hold something else.
        ParameterError: a parameter cannot be sent.
    """

    def __init__(
        self,
        llm: InferenceEndpointsLLM,
        columns: Iterable[str],
        options: RunOptions,
        *,
        first: Row | None = None,
    ) -> None:
        self._llm = llm
        self._options = options
        self._columns = tuple(columns)
        spec = options.conversations
        # An empty input has no columns to choose from, and no row to choose them for.
        self._conversations: Conversations | None = spec.bind(columns) if self._columns else None
        self._shared = self._planner({})
        self._planners: dict[str, Planner] = {}
        if first is not None and self._conversations is not None:
            self._check_settings(self._conversations, first)

    def _check_settings(self, conversations: Conversations, row: Row) -> None:
        """What is not settings in the first row is so in all of them: refused before the start."""
        try:
            for column, own in conversations.settings(row):
                self._check_own(row, column, own)
        except ConversationError as error:  # names the column, and the way on
            raise ConfigurationError(f"{row.source}: {error}") from None

    def _check_own(self, row: Row, column: str, own: Mapping[str, Any]) -> None:
        try:
            if column == STRUCTURED_OUTPUT:
                self._shared(row.ordinal, (_ANY, own))
            else:
                self._planner(own)
        except InputError as error:
            raise ConfigurationError(
                f"column {column!r} of the first row does not hold settings: {error}. "
                "If it is data of yours, pass --no-row-settings (row_settings=False)"
            ) from None

    def remarks(self) -> list[str]:
        """What the user should know of the rows that were planned so far."""
        return [] if self._conversations is None else self._conversations.remarks()

    def _planner(self, own: Mapping[str, Any]) -> Planner:
        merged = {**self._options.parameters, **own}
        return planner_of(self._llm, self._options.num_generations, merged)

    def plan(self, row: Row) -> RowPlan:
        """What `row` asks for; the plan's key is the hash of the row's content.

        Raises:
            InputError: its conversation, parameters or structured output cannot be sent.
        """
        assert self._conversations is not None
        prepared = self._conversations.prepare(row)
        planner = self._shared
        if prepared.parameters:
            planner = self._planner_for(prepared.parameters)
        return replace(planner(row.ordinal, prepared.input), key=row.content_hash)

    def _planner_for(self, own: Mapping[str, Any]) -> Planner:
        """Rows whose own parameters are the same share what is made of them."""
        key = json.dumps(own, sort_keys=True, default=str)
        planner = self._planners.get(key)
        if planner is None:
            if len(self._planners) >= _MOST_PLANNERS:
                self._planners.clear()
            self._refuse_unwritten(own)
            planner = self._planners[key] = self._planner(own)
        return planner

    def _refuse_unwritten(self, own: Mapping[str, Any]) -> None:
        """A row may not ask for what the output has no column for: it would be paid and lost."""
        shared = effective_parameters(self._llm, self._options.parameters)
        for name in _WITH_COLUMN:
            if own.get(name) and not shared.get(name):
                raise ConversationError(
                    f"the row's own parameters ask for {name}, for which the output has a column "
                    f"only if the run asks for {name}, too: --param {name}=... ({name}=...)"
                )

    def output_columns(self) -> OutputColumns:
        """The columns that this run adds."""
        options = self._options
        return columns_of(
            self._llm,
            options.parameters,
            num_generations=options.num_generations,
            prefix=options.column_prefix,
            escape_formulas=options.escape_formulas,
        )
