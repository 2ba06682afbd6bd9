"""Labels with confidence: the requests that a row of them takes, and what its answers show.

The first answer is held to all labels. More are asked for only if they may change a share; see
`grammar/labels.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from distilabel_endpoints._engine.generations import RowPlan
from distilabel_endpoints.errors import ConfigurationError, ParameterError
from distilabel_endpoints.grammar import constrain, parse_grammar
from distilabel_endpoints.grammar.labels import Evidence, LabelSet, steps_of
from distilabel_endpoints.grammar.values import GrammarFormat
from distilabel_endpoints.llms.calls import Planner
from distilabel_endpoints.llms.inputs import Input
from distilabel_endpoints.records import Completion, Failure, FailureKind, Request, Route, Server

__all__ = ["LabelInquiry", "check_labelling", "label_parameters", "label_planner"]

_LISTED: Final = {Server.TGI: 5}
"""Servers that list fewer tokens than the usual twenty: TGI's `--max-top-n-tokens`."""
_DECIDED: Final = ("temperature", "logprobs", "top_logprobs", "do_sample")


def check_labelling(
    structured_output: Mapping[str, Any] | None,
    server: Server,
    route: Route,
    num_generations: int,
    parameters: Mapping[str, Any],
) -> None:
    """What cannot be beside labels, and servers that cannot hold an answer to them.

    Raises:
        ConfigurationError, ParameterError: the message says which.
    """
    if constrain(parse_grammar(_choice(("a", "b"))), server, route) is None:
        name = "A server that is not recognised" if server is Server.UNKNOWN else server.value
        raise ConfigurationError(
            f"{name} cannot hold an answer to labels on this path, so their confidence is "
            "not known. Use vLLM, SGLang, llama.cpp or TGI, or leave labels (--label) out."
        )
    if structured_output is not None:
        raise ConfigurationError("labels and structured_output exclude each other. Keep one.")
    if num_generations != 1:
        raise ParameterError("labels need one answer per row; leave num_generations out.")
    for name in _DECIDED:
        if name in parameters:
            raise ParameterError(f"labels decide {name!r} themselves; leave it out.")


def label_parameters(server: Server) -> dict[str, Any]:
    """The likeliest label, with what else might have come."""
    return {"temperature": 0, "logprobs": True, "top_logprobs": _LISTED.get(server, 20)}


def label_planner(planner: Planner, labels: LabelSet) -> Planner:
    """Plans for rows whose answers are one of these labels."""

    def plan(index: int, input_: Input) -> RowPlan:
        if isinstance(input_, tuple):
            raise ConfigurationError(
                "an input has its own structured_output, which cannot be used with labels."
            )

        def held_to(texts: Sequence[str]) -> RowPlan:
            return planner(index, (input_, _choice(texts)))

        first = held_to(labels.labels)
        inquiry = LabelInquiry(labels, lambda texts: held_to(texts).request)
        return replace(first, inquiry=inquiry, longer=None)

    return plan


def _choice(texts: Sequence[str]) -> dict[str, Any]:
    return {"format": str(GrammarFormat.CHOICE), "schema": list(texts)}


@dataclass(frozen=True, slots=True)
class LabelInquiry:
    """What is asked of a row beyond its first answer, and what comes of all of them."""

    labels: LabelSet
    held_to: Callable[[Sequence[str]], Request] = field(repr=False)

    def evidence(self) -> Evidence:
        """What the answers of one row show: nothing yet."""
        return Evidence(self.labels)

    def next_request(self, evidence: Evidence, completion: Completion) -> Request | Failure | None:
        """Take an answer in; the next request, if one more is worth it."""
        steps = steps_of(completion.text or "", completion.logprobs)
        if not steps:
            return _no_logprobs()
        evidence.add(steps)
        texts = evidence.next_texts()
        return self.held_to(texts) if texts else None

    def conclude(self, evidence: Evidence, completion: Completion) -> Completion:
        """The first answer with what all of them show; tokens are not kept."""
        return replace(completion, logprobs=None, distribution=evidence.shares())


def _no_logprobs() -> Failure:
    return Failure(
        kind=FailureKind.RUN,
        code="no_logprobs",
        message="the server gives no log-probabilities of an answer's tokens, which the "
        "confidence of labels is made of",
        hint="Use a server that gives them, or leave labels (--label) out.",
        retryable=False,
    )
