"""A request for one answer, read from a body in any of the endpoint's dialects.

A request's key is made of its messages or prompt and its sampling parameters, not of the model
name, the number of answers, streaming or limits: sent in another way, it gets the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

__all__ = ["AnswerRequest", "content_text", "request_key"]

_CANONICAL = json.JSONEncoder(sort_keys=True, default=str, separators=(",", ":"))
_NOT_SAMPLING = frozenset(
    {
        "best_of",
        "decoder_input_details",
        "details",
        "logprobs",
        "max_completion_tokens",
        "max_new_tokens",
        "max_tokens",
        "model",
        "n",
        "return_full_text",
        "stop",
        "stream",
        "stream_options",
        "top_logprobs",
        "top_n_tokens",
        "user",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRequest:
    """A request for one answer: what a `reply` function gets."""

    messages: tuple[Mapping[str, Any], ...] | None = field(default=None, repr=False)
    """The conversation, on the chat routes."""
    prompt: str | None = field(default=None, repr=False)
    """The prompt, on the text routes."""
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Everything else of the body; on TGI's own routes, its `parameters`."""
    seed: int | None = None
    index: int = 0
    """Which of `n` answers to the same request this is."""
    key: bytes = field(default=b"", repr=False)
    """Stands for the request's content and sampling parameters."""

    @property
    def text(self) -> str:
        """The prompt, or the contents of all messages, one a line."""
        if self.prompt is not None:
            return self.prompt
        return "\n".join(content_text(message.get("content")) for message in self.messages or ())


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def request_key(content: Any, parameters: Mapping[str, Any], seed: int) -> bytes:
    """A digest of the content and the sampling parameters, under the endpoint's own seed."""
    sampling = {name: value for name, value in parameters.items() if name not in _NOT_SAMPLING}
    text = _CANONICAL.encode([seed, content, sampling])
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
