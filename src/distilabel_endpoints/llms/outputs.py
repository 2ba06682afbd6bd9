"""What callers get back: plain lists and dicts, one per input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from distilabel_endpoints.errors import GenerationError, InputError
from distilabel_endpoints.html_text import table
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result

__all__ = ["Output", "Outputs", "Statistics", "output_of", "refused_row"]


class Statistics(TypedDict):
    """Tokens as the server counted them, one entry per request that was answered.

    A server that gives all generations of a row in one request makes one entry; the sums are what
    the row cost. `None` if the server did not count.
    """

    input_tokens: list[int | None]
    output_tokens: list[int | None]
    reasoning_tokens: NotRequired[list[int | None]]
    """Those of the output that were thinking, if a server counts them apart."""


class Output(TypedDict):
    """One input's outcome. The lists have one entry per generation.

    `generations[i]` is `None` exactly when `errors[i]` says why, or when the model answered with
    tool calls or reasoning alone. The optional keys are there when some generation has them.

    An answer that was refused (`errors[i].failure.kind` is `content`) has its finish reason and its
    reasoning here all the same; its text is `errors[i].failure.text`.
    """

    generations: list[str | None]
    statistics: Statistics
    finish_reasons: list[str | None]
    errors: list[GenerationError | None]
    logprobs: NotRequired[list[Any]]
    reasoning: NotRequired[list[str | None]]
    tool_calls: NotRequired[list[list[dict[str, Any]] | None]]
    utf8_replaced: NotRequired[list[bool]]
    """If the server's text was not UTF-8, twice: U+FFFD stands in what came the second time."""
    providers: NotRequired[list[str | None]]
    """Behind the router: who answered."""
    distributions: NotRequired[list[dict[str, float] | None]]
    """With `labels`: the probability of each label, the likeliest first."""
    index: NotRequired[int]


class Outputs(list[Output]):
    """The outputs of a call; a list that a notebook shows as a table."""

    _SHOWN = 20

    def _repr_html_(self) -> str:
        title = f"{len(self):,} outputs" + f", the first {self._SHOWN}" * (len(self) > self._SHOWN)
        rows = [
            (
                number,
                next((text for text in output["generations"] if text is not None), ""),
                next((reason for reason in output["finish_reasons"] if reason), ""),
                sum(tokens or 0 for tokens in output["statistics"]["output_tokens"]),
                next((str(error) for error in output["errors"] if error is not None), ""),
            )
            for number, output in enumerate(self[: self._SHOWN], 1)
        ]
        return table(title, ("row", "answer", "finish reason", "tokens", "error"), rows)


def output_of(result: Result) -> Output:
    """The public form of a row's result."""
    statistics = Statistics(
        input_tokens=[usage.input_tokens for usage in result.usages],
        output_tokens=[usage.output_tokens for usage in result.usages],
    )
    if any(usage.reasoning_tokens is not None for usage in result.usages):
        statistics["reasoning_tokens"] = [usage.reasoning_tokens for usage in result.usages]
    output = Output(
        generations=[c.text if c else None for c in result.completions],
        statistics=statistics,
        finish_reasons=[e.finish_reason if e else None for e in result.endings],
        errors=[GenerationError(failure) if failure else None for failure in result.failures],
    )
    if any(e is not None and e.reasoning for e in result.endings):
        output["reasoning"] = [e.reasoning if e else None for e in result.endings]
    _add_extras(output, result.completions)
    return output


def refused_row(ordinal: int, num_generations: int, error: InputError) -> Result:
    """The result of a row that cannot be sent, beside others that can."""
    failure = Failure(kind=FailureKind.ROW, code="input", message=str(error), retryable=False)
    return Result(
        ordinal=ordinal,
        completions=(None,) * num_generations,
        failures=(failure,) * num_generations,
    )


def _add_extras(output: Output, completions: Sequence[Completion | None]) -> None:
    answered = [c for c in completions if c is not None]
    if any(c.provider is not None for c in answered):
        output["providers"] = [c.provider if c else None for c in completions]
    if any(c.distribution is not None for c in answered):
        output["distributions"] = [
            dict(c.distribution) if c and c.distribution else None for c in completions
        ]
    if any(c.utf8_replaced for c in answered):
        output["utf8_replaced"] = [c is not None and c.utf8_replaced for c in completions]
    if any(c.logprobs is not None for c in answered):
        output["logprobs"] = [c.logprobs if c else None for c in completions]
    if any(c.tool_calls is not None for c in answered):
        output["tool_calls"] = [
            [dict(call) for call in c.tool_calls] if c and c.tool_calls is not None else None
            for c in completions
        ]
