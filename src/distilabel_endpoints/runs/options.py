"""What a run is: the options a user gives, and the fingerprint that a resume must match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from distilabel_endpoints.config import MAX_ROW_MB
from distilabel_endpoints.errors import ConfigurationError, ParameterError
from distilabel_endpoints.rows import ConversationSpec
from distilabel_endpoints.rows.formats import FORMATS, Format

if TYPE_CHECKING:  # `status` reads options, and loads nothing that sends
    from distilabel_endpoints.llms.huggingface import InferenceEndpointsLLM

__all__ = ["BadRowPolicy", "RunOptions"]

BadRowPolicy = Literal["fail", "skip", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How rows become conversations, and what is asked of the model for each.

    Raises, when made:
        InputError: a count is not an integer >= 1, or there is no such policy.
    """

    num_generations: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Generation parameters, over the LLM's `generation_kwargs`."""
    input_column: str | None = None
    """Default: `messages`, else `prompt`, else `instruction`."""
    system: str | None = None
    """A system message for rows of text."""
    template: str | None = None
    """A Jinja template over the columns, which makes the user's message."""
    limit: int | None = None
    """Only the first N rows."""
    on_bad_row: BadRowPolicy = "fail"
    """A row that cannot be sent: record it as failed, leave it out, or stop before the start."""
    column_prefix: str = ""
    """Before the names of the columns that are added."""
    escape_formulas: bool = False
    """CSV: put an apostrophe before cells that a spreadsheet would run as formulas."""
    format: Format = "auto"
    """In which form the columns hold the conversation: recognised, or as the user says."""
    drop_last_assistant: bool = False
    """Leave out assistant messages at the end of a conversation."""
    row_settings: bool = True
    """Whether columns with such names hold a row's own system message and parameters."""
    max_row_mb: int = MAX_ROW_MB
    """A larger row of the input is recorded as failed."""
    error_file: str | None = None
    """For an OpenAI batch file: where its failed lines go; default: beside the output."""

    def __post_init__(self) -> None:
        _check_count("num_generations", self.num_generations)
        if self.limit is not None:
            _check_count("limit", self.limit)
        _check_count("max_row_mb", self.max_row_mb)
        if self.format not in FORMATS:
            raise ConfigurationError(
                f"format must be one of {', '.join(FORMATS)}; got {self.format!r}."
            )
        if self.on_bad_row not in get_args(BadRowPolicy):
            raise ConfigurationError(
                f"on_bad_row must be fail, skip or stop; got {self.on_bad_row!r}."
            )

    @property
    def conversations(self) -> ConversationSpec:
        """How rows become conversations."""
        return ConversationSpec(
            self.input_column,
            self.system,
            template=self.template,
            format=self.format,
            drop_last_assistant=self.drop_last_assistant,
            row_settings=self.row_settings,
        )

    @property
    def max_row_bytes(self) -> int:
        """The same in bytes."""
        return self.max_row_mb << 20

    def fingerprint(self, llm: InferenceEndpointsLLM) -> dict[str, Any]:
        """What decides a run's answers, as JSON values: of the LLM, and of these options.

        `limit` is not part of it: it may grow between sessions.
        """
        return {**llm.fingerprint(self.parameters), **self.settings()}

    def settings(self) -> dict[str, Any]:
        """The part of it that is not the LLM's."""
        return {
            "num_generations": self.num_generations,
            "input_column": self.input_column,
            "system": self.system,
            "template": self.template,
            "format": self.format,
            "drop_last_assistant": self.drop_last_assistant,
            "row_settings": self.row_settings,
            "on_bad_row": self.on_bad_row,
        }


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ParameterError(f"{name!r} must be an integer >= 1; got {value!r}.")
