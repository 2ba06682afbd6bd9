"""A run over an OpenAI batch file: what is checked before it, and what its lines ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.llms.bodies import BodyPlanner
from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM
from distilabel_endpoints.llms.internals import body_planner_of
from distilabel_endpoints.rows import OutputColumns, Row, RowSource
from distilabel_endpoints.rows.batch_lines import BatchLook, check_batch, is_batch, read_line
from distilabel_endpoints.rows.batch_writer import errors_beside
from distilabel_endpoints.runs.options import RunOptions
from distilabel_endpoints.runs.planning import Planning, RowPlanner

__all__ = ["BatchPlanner", "batch_look", "check_columns", "error_file_of", "planning"]

_BESIDE: Final[Mapping[str, Any]] = {
    "num_generations": 1,
    "input_column": None,
    "system": None,
    "template": None,
    "column_prefix": "",
    "escape_formulas": False,
    "drop_last_assistant": False,
    "row_settings": True,
}
"""Options that say what a body says, by their defaults."""


def batch_look(source: RowSource, options: RunOptions) -> BatchLook | None:
    """What the lines of a batch file ask for, all of them checked; None for another input.

    Raises:
        InputError: lines cannot be sent, or an option is for batch files alone.
    """
    if _reads_batch(source, options):
        _refuse_beside(options)
        return check_batch(source, options.limit)
    if options.error_file is not None:
        raise ConfigurationError(
            "error_file (--error-file) is for OpenAI batch files. The failed rows of other inputs "
            "are in the output, with their reason in the column error."
        )
    return None


def _reads_batch(source: RowSource, options: RunOptions) -> bool:
    """Whether the input is read as a batch file: on the user's word, or by its columns."""
    if options.format == "openai-batch":
        return True
    named = options.input_column is not None or options.template is not None
    return options.format == "auto" and not named and is_batch(source.columns)


def error_file_of(output: Path, options: RunOptions) -> Path:
    """Where the failed lines of a batch file go."""
    return Path(options.error_file or errors_beside(output)).absolute()


def check_columns(source: RowSource, options: RunOptions) -> None:
    """Refuse an input that no endpoint could be asked: before one is, as asking may wake it.

    Raises:
        InputError: no column holds a conversation, or the template is wrong.
    """
    if batch_look(source, options) is None and source.columns:
        options.conversations.bind(source.columns)


def planning(
    llm: InferenceEndpointsLLM, source: RowSource, output: Path, options: RunOptions
) -> Planning:
    """What plans the rows of an input.

    Raises:
        InputError: the input or the options are wrong.
    """
    look = batch_look(source, options)
    if look is not None:
        return BatchPlanner(llm, look, error_file_of(output, options))
    return RowPlanner(llm, source.columns, options, first=source.first)


class BatchPlanner:
    """What the lines of a batch file ask for.

    Args:
        llm: what answers.
        look: what all lines have in common.
        error_file: where failed lines go.

    Raises, when made:
        InputError: the endpoint has another model.
    """

    def __init__(self, llm: InferenceEndpointsLLM, look: BatchLook, error_file: Path) -> None:
        self._bodies = _bodies(llm, look)
        self._remarks = ["read as an OpenAI batch file: bodies are sent as they are"]
        # Before the first request: a batch made for one model is not to be answered by another.
        self._compare_models(look)
        self._columns = OutputColumns(
            model_name=llm.model_name, layout="openai-batch", error_file=os.fspath(error_file)
        )

    def _compare_models(self, look: BatchLook) -> None:
        wanted, sent = look.model, self._bodies.model
        if wanted is None or wanted == sent:
            return
        if not self._bodies.is_chosen:
            raise ConfigurationError(
                f"the bodies name the model {wanted!r}, and the endpoint serves "
                f"{sent or 'one without a name'!r}. Give the one to ask: served_model "
                "(--served-model)."
            )
        self._remarks.append(f"the bodies name the model {wanted}; {sent} is asked instead")

    def plan(self, row: Row) -> RowPlan:
        """What a line asks for.

        Raises:
            ConversationError: it is not a request that can be sent.
        """
        made = self._bodies.plan(row.ordinal, read_line(row.columns).body)
        return replace(made, key=row.content_hash)

    def remarks(self) -> list[str]:
        """What the user should know of how the file is read."""
        return self._remarks

    def output_columns(self) -> OutputColumns:
        """The batch format, and where failures go."""
        return self._columns


def _refuse_beside(options: RunOptions) -> None:
    beside = [name for name, usual in _BESIDE.items() if getattr(options, name) != usual]
    beside += options.parameters
    if options.on_bad_row == "skip":
        beside.append("on_bad_row='skip'")
    if beside:
        raise ConfigurationError(
            f"the bodies of a batch file are sent as they are, all or none, so {beside[0]} "
            "cannot be used with them. Leave it out, or put it into the bodies."
        )


def _bodies(llm: InferenceEndpointsLLM, look: BatchLook) -> BodyPlanner:
    return body_planner_of(llm, completes=look.url.endswith("/v1/completions"))
