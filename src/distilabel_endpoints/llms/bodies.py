"""Request bodies that are sent as they are: what an OpenAI batch file holds, and who may send them.

Nothing is renamed, added or left out but what says how an answer is read: `model` is the target's,
and `n`, `seed` and the stream belong to the engine, which fetches generations one by one if a
server gives only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints._targets.endpoints import dialects
from distilabel_endpoints._targets.urls import Target
from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.grammar.as_written import as_written
from distilabel_endpoints.llms.attributes import Attributes
from distilabel_endpoints.llms.calls import LONG_ANSWER, growth
from distilabel_endpoints.llms.overrides import overridden
from distilabel_endpoints.records import Request

__all__ = ["BodyPlanner", "plan_bodies"]

_READ: Final = frozenset(
    {"model", "messages", "prompt", "n", "seed", "stream", "stream_options", "max_tokens"}
)
_WOULD_CHANGE: Final = (
    "tokenizer_id",
    "structured_output",
    "generation_kwargs",
    "reasoning",
    "labels",
)
"""Attributes that have no meaning for a body that is sent as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPlanner:
    """Makes plans of bodies that were checked.

    Args:
        model: the name that is sent; None if the server gave none.
        is_chosen: whether the user named the model beside the bodies.
        stream: as the LLM has it.
        takes_cut_off: whether an answer that was cut off is one.
        dialects: how many the endpoints have; a body is the same in each.
    """

    model: str | None
    is_chosen: bool
    stream: bool | Literal["auto"]
    takes_cut_off: bool
    dialects: int

    def plan(self, ordinal: int, body: Mapping[str, Any]) -> RowPlan:
        """What a body asks for."""
        rest = {name: value for name, value in body.items() if name not in _READ}
        if isinstance(rest.get("response_format"), Mapping):
            rest["response_format"] = as_written(rest["response_format"])
        # Beside the rest, as a server may want it under another name.
        limit = body.get("max_tokens")
        options = {"extra_body": rest} | ({} if limit is None else {"max_tokens": limit})
        longest = limit if limit is not None else rest.get("max_completion_tokens")
        request = Request(
            ordinal=ordinal,
            messages=body.get("messages"),
            prompt=body.get("prompt"),
            options=options,
            seed=body.get("seed"),
            stream=self._streams(longest),
            max_new_tokens=longest if type(longest) is int else None,
            logprobs=_wants_logprobs(body.get("logprobs")),
            dialects=(options,) * (self.dialects - 1),
        )
        return RowPlan(request=request, wanted=body.get("n") or 1, takes_cut_off=self.takes_cut_off)

    def _streams(self, longest: Any) -> bool:
        """An answer without a bound may be long, too."""
        if self.stream == "auto":
            return type(longest) is not int or longest > LONG_ANSWER
        return self.stream


def plan_bodies(llm: Attributes, endpoints: Sequence[Target], *, completes: bool) -> BodyPlanner:
    """What plans the bodies that an LLM sends.

    Args:
        llm: whose attributes say how.
        endpoints: where they go.
        completes: whether they are for the completions API.

    Raises:
        ConfigurationError: an attribute or a subclass would change them, or the client has no
            such API.
    """
    _check_unchanged(llm)
    if completes and not llm.use_openai_client:
        raise ConfigurationError(
            "/v1/completions is the OpenAI client's: set use_openai_client=True (--client openai)."
        )
    return BodyPlanner(
        model=endpoints[0].model,
        is_chosen=bool(llm.model_id or llm.endpoint_name or llm.served_model),
        stream=llm.stream,
        takes_cut_off=llm.on_length != "fail",
        dialects=len(dialects(endpoints)),
    )


def _check_unchanged(llm: Attributes) -> None:
    """Refuse attributes that would change a body."""
    if method := overridden(type(llm)):
        raise ConfigurationError(
            f"bodies are sent as they are, so {type(llm).__name__}.{method} cannot answer them. "
            "Use InferenceEndpointsLLM itself, or another format of input."
        )
    for field in _WOULD_CHANGE:
        if getattr(llm, field):
            raise ConfigurationError(
                f"bodies are sent as they are, so {field} cannot be used with them. Leave it out, "
                "or put it into the bodies."
            )
    if growth(llm.on_length):
        raise ConfigurationError(
            "bodies are sent as they are, so on_length is 'keep' or 'fail'. Leave it out."
        )


def _wants_logprobs(value: Any) -> bool:
    """A count of 0 asks for those of the answer itself (completions)."""
    return value is not None and value is not False
