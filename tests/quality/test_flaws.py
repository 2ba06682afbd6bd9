"""What is wrong with an answer, told from the answer alone."""

from __future__ import annotations

import pytest

from distilabel_endpoints.quality.flaws import Flaw, answers_of, flaws_of
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result


def refused(code: str, text: str | None = None, finish: str | None = None) -> Failure:
    return Failure(
        kind=FailureKind.CONTENT, message="refused", code=code, text=text, finish_reason=finish
    )


@pytest.mark.parametrize(
    ("answer", "flaws"),
    [
        (Completion(text="Hello.", finish_reason="stop"), set()),
        (Completion(text="", finish_reason="stop"), {Flaw.EMPTY}),
        (Completion(text=" \n", finish_reason="stop"), {Flaw.EMPTY}),
        (Completion(text=None, tool_calls=({"name": "f"},)), set()),
        (Completion(text="Hell", finish_reason="length"), {Flaw.TRUNCATED}),
        (Completion(text="so on. " * 40, finish_reason="length"), {Flaw.TRUNCATED, Flaw.LOOPS}),
        (refused("repetition", "on and on", "repetition"), {Flaw.LOOPS}),
        (refused("content_filter", None, "content_filter"), {Flaw.FILTERED}),
        (refused("off_schema", "{}", "stop"), {Flaw.OFF_SCHEMA}),
        (refused("budget_spent", None, "length"), {Flaw.EMPTY, Flaw.TRUNCATED}),
        (refused("length", "Hell", "length"), {Flaw.TRUNCATED}),
    ],
)
def test_flaws(answer: Completion | Failure, flaws: set[Flaw]) -> None:
    """Each flaw has its sign: an empty text, a finish reason, a code, a tail that repeats."""
    assert flaws_of(answer) == flaws


def test_refusals_are_not_answers() -> None:
    """A row that was refused or timed out says nothing about what the model writes."""
    refusal = Failure(kind=FailureKind.ROW, message="too long", code="context_length_exceeded")
    off = refused("off_schema", "{}")
    completion = Completion(text="x")
    result = Result(ordinal=0, completions=(None, None, completion), failures=(refusal, off, None))
    assert answers_of(result) == [off, completion]
