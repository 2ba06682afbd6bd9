"""What a call takes: inputs, and generation parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from distilabel_endpoints.records import Conversation

__all__ = ["GenerationParameters", "Input"]

Input = Conversation | str | tuple[Conversation | str, Mapping[str, Any]]
"""Messages, or a prompt that is sent as it is; either with the structured output it wants."""


class GenerationParameters(TypedDict, total=False):
    """What `generate` and its kin take beside the inputs. `None` means: not set.

    Which ones can be sent depends on client, route and server; one that cannot is an error.
    """

    max_new_tokens: int | None
    """Tokens generated at most; default 128."""
    temperature: float | None
    """>= 0; 0 is greedy."""
    top_p: float | None
    """In (0, 1]."""
    top_k: int | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    """In [-2, 2]."""
    presence_penalty: float | None
    """In [-2, 2]."""
    stop_sequences: str | list[str] | None
    seed: int | None
    """>= 0. Row `r` of a call gets `seed + r * num_generations`, its generations the next ones."""
    do_sample: bool | None
    return_full_text: bool | None
    watermark: bool | None
    logprobs: bool | None
    top_logprobs: int | None
    """0 to 20, beside `logprobs=True`."""
    logit_bias: dict[str, float] | None
    tools: list[dict[str, Any]] | None
    tool_choice: str | dict[str, Any] | None
    tool_prompt: str | None
    response_format: dict[str, Any] | None
    extra_body: dict[str, Any] | None
    """Sent as it is, beside everything else."""
