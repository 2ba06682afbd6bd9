"""A row's result as upstream's tasks take it: lists with one entry per generation.

Every row has the same keys. Tasks merge the statistics of several rows and refuse other keys, and
a pipeline's Parquet files have to fit each other: so a row without an error has the error `""`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distilabel_endpoints.llms.outputs import Output
from distilabel_endpoints.rows.json_text import json_text

__all__ = ["generate_outputs"]


def generate_outputs(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    """What `LLM.generate` gives back, for the rows of one batch.

    `generations` and `statistics` (tokens, `finish_reason`, `error`) always; `logprobs`,
    `reasoning` and `tool_calls` in all rows if some row has them: each becomes a column.
    """
    extras = [
        name
        for name in ("logprobs", "reasoning", "tool_calls")
        if any(name in output for output in outputs)
    ]
    return [_generate_output(output, extras) for output in outputs]


def _generate_output(output: Output, extras: Sequence[str]) -> dict[str, Any]:
    count = len(output["generations"])
    statistics = output["statistics"]
    made: dict[str, Any] = {
        "generations": output["generations"],
        "statistics": {
            "input_tokens": _counts(statistics["input_tokens"], count),
            "output_tokens": _counts(statistics["output_tokens"], count),
            "finish_reason": [reason or "" for reason in output["finish_reasons"]],
            "error": [str(error) if error else "" for error in output["errors"]],
        },
    }
    values: Mapping[str, Any] = output
    for name in extras:
        made[name] = [_EXTRAS[name](value) for value in values.get(name) or [None] * count]
    return made


def _counts(counts: Sequence[int | None], generations: int) -> list[int]:
    """One count per generation, with the row's sum: requests are as many, or fewer, or more."""
    known = [count or 0 for count in counts]
    if len(known) > generations:
        known = [*known[: generations - 1], sum(known[generations - 1 :])]
    return known + [0] * (generations - len(known))


def _logprobs(tokens: Any) -> list[list[dict[str, Any]]] | None:
    """The likeliest tokens at each place, as upstream has them."""
    if not isinstance(tokens, list):
        return None
    return [
        [{"token": top["token"], "logprob": top["logprob"]} for top in token["top_logprobs"] or ()]
        for token in tokens
    ]


def _tool_calls(calls: Any) -> str | None:
    """As JSON text: arguments of different tools are not one type."""
    return None if calls is None else json_text(calls)


_EXTRAS: Mapping[str, Any] = {
    "logprobs": _logprobs,
    "reasoning": lambda text: text,
    "tool_calls": _tool_calls,
}
