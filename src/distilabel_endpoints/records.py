"""The frozen values that cross module borders, and the one seam to a client library.

A row becomes one or more requests; a request is tried in attempts; an attempt ends as an
`Answer` (one or more completions and what they cost) or a `Failure`; a row ends as a `Result`.
Values hold no behaviour beyond describing themselves, and no secret ever enters one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Any, Literal, Protocol

__all__ = [
    "MESSAGE_LIMIT",
    "SURELY_THE_ROWS",
    "Answer",
    "Client",
    "Completion",
    "Conversation",
    "Failure",
    "FailureKind",
    "Message",
    "Request",
    "Result",
    "Route",
    "Server",
    "Usage",
]

Message = Mapping[str, Any]
Conversation = list[dict[str, Any]]

MESSAGE_LIMIT = 2048
"""Longest message of a failure, in characters."""
SURELY_THE_ROWS = frozenset({"content_filter", "context_length_exceeded", "too_large"})
"""Codes of failures that are about one prompt beyond doubt."""


class FailureKind(StrEnum):
    """What a failed attempt means for the row, the engine and the run."""

    THROTTLE = "throttle"
    """The endpoint asks for less: 429, 529, 503 overloaded. Never the row's fault."""
    UNAVAILABLE = "unavailable"
    """Nothing there yet, or for now: refused, DNS, starting, paused. Never the row's fault."""
    TRANSIENT = "transient"
    """This attempt went wrong: 500, reset, timeout. Costs the row an attempt."""
    BAD_RESPONSE = "bad_response"
    """200 and unusable: no JSON, no choices, wrong shape. Costs the row an attempt."""
    ROW = "row"
    """This row cannot be answered: 400, 413, 422. Final for the row; the run continues."""
    RUN = "run"
    """No row can be answered: bad token, no credit, no such model. Ends the run."""
    LOCAL = "local"
    """This machine's disk. Ends the run."""
    CONTENT = "content"
    """Answered, and the answer is not what was asked for: filtered, empty, off schema."""


class Server(StrEnum):
    """Which software answers; it decides parameter names and structured-output dialects."""

    TGI = "tgi"
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"
    OPENAI = "openai"
    """OpenAI itself, or a server that takes no more than OpenAI's documented parameters."""
    ROUTER = "router"
    """Hugging Face's serverless router: what it takes depends on the provider behind."""
    UNKNOWN = "unknown"


class Route(StrEnum):
    """The client's method a request goes through."""

    HUB_CHAT = "hub_chat"
    """`AsyncInferenceClient.chat_completion`"""
    HUB_TEXT = "hub_text"
    """`AsyncInferenceClient.text_generation`, TGI's own route"""
    OPENAI_CHAT = "openai_chat"
    """`AsyncOpenAI.chat.completions.create`"""
    OPENAI_TEXT = "openai_text"
    """`AsyncOpenAI.completions.create`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified error. Pickles, compares and prints without a secret or a prompt in it."""

    kind: FailureKind
    message: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    """Seconds the server asked us to wait."""
    retryable: bool = True
    """False if the server said a second try is pointless (`x-should-retry: false`)."""
    request_id: str | None = None
    parameter: str | None = None
    """The request's parameter that the server does not take, if the failure is about one."""
    attempts: int = 1
    hint: str | None = None
    """How to fix it."""
    text: str | None = field(default=None, repr=False)
    """For `CONTENT`: the text that was refused, kept for the user."""
    reasoning: str | None = field(default=None, repr=False)
    """For `CONTENT`: the model's thinking, which was paid for like the text."""
    finish_reason: str | None = None
    """For `CONTENT`: how the answer that was refused ended."""
    in_answer: bool = field(default=False, compare=False, repr=False)
    """Whether the error came inside an answer that had begun, which may have to be paid."""

    def __post_init__(self) -> None:
        if len(self.message) > MESSAGE_LIMIT:
            object.__setattr__(self, "message", self.message[: MESSAGE_LIMIT - 1] + "…")

    def describe(self) -> str:
        """One line for a person: kind, status, what the server said, how to fix it."""
        label = f"{self.kind} {self.status}" if self.status else str(self.kind)
        tried = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        hint = f" Hint: {self.hint}" if self.hint else ""
        return f"{label}: {self.message}{tried}{hint}"

    def after(self, attempts: int) -> Failure:
        """The same failure, as the last of `attempts`."""
        return replace(self, attempts=attempts)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; `None` if it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    """Those of the output that were thinking, if there was some and the server counts it."""
    dollars: float | None = None
    """What was charged for them, if the provider says that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer to a conversation."""

    text: str | None
    finish_reason: str | None = None
    logprobs: Any = None
    """As the server gave them: a list with one entry per token."""
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] | None = None
    utf8_replaced: bool = False
    """Whether the server's text was not UTF-8, and U+FFFD may stand in it."""
    provider: str | None = None
    """Who answered behind the router, as it says."""
    distribution: Mapping[str, float] | None = None
    """If labels were asked for: the probability of each, the likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one successful attempt brought: at least one completion, and what it cost."""

    completions: tuple[Completion, ...]
    usage: Usage = Usage()
    model: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The rate-limit headers of the response, lower case."""
    provider: str | None = None
    """Who served it behind the router, if the response says so."""
    first_token: float | None = None
    """Seconds until a stream first said something; `None` if nothing was streamed."""
    broken_off: str | None = None
    """Why the server did not write it to its end; there are no completions then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One generation asked for one row: messages for the chat API, or a rendered prompt.

    `options` are keyword arguments of the client's own method, compiled once per call and
    shared by all its rows; what differs from row to row has its own field.
    """

    ordinal: int
    messages: Conversation | None = field(default=None, repr=False)
    prompt: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    n: int = 1
    seed: int | None = None
    stream: bool = False
    counts_stream: bool = True
    """Whether a stream is asked for its token counts (`stream_options`)."""
    max_new_tokens: int | None = None
    grown: bool = False
    """Whether it asks again for an answer that was cut off: its length is ours, not the user's."""
    logprobs: bool = False
    """Whether the tokens' probabilities were asked for."""
    lenient: bool = False
    """Whether an answer that is not UTF-8 is taken, with U+FFFD in its place."""
    model: str | None = None
    """The name in the body, if it is another than the client's own."""
    reasoning: Literal["off", "low", "medium", "high"] | int | None = None
    """How much is to be thought; each server's client knows its words for it."""
    dialects: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """`options` for those endpoints of a pool whose servers want other ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a row ended. One entry per generation in each of the three tuples."""

    ordinal: int
    completions: tuple[Completion | None, ...]
    failures: tuple[Failure | None, ...]
    usages: tuple[Usage, ...] = ()
    """One entry per request that was answered; their sum is what the row cost."""
    attempts: int = 0
    key: Any = field(default=None, repr=False, compare=False)
    """What the row's plan had as its `key`: it takes the caller back to its row. Not stored."""

    @property
    def status(self) -> Literal["ok", "failed"]:
        """`failed` as soon as one generation is missing."""
        return "failed" if any(self.failures) else "ok"

    @property
    def endings(self) -> tuple[Completion | Failure | None, ...]:
        """For each generation its completion, else its failure.

        Both have `text`, `reasoning` and `finish_reason`: what was refused was written all the
        same.
        """
        pairs = zip_longest(self.completions, self.failures)
        return tuple(completion or failure for completion, failure in pairs)


class Client(Protocol):
    """The seam to a client library. One attempt, no retry, no waiting."""

    async def complete(self, request: Request) -> Answer | Failure:
        """Send `request` once. Everything but cancellation comes back as a value."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
