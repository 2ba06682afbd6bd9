"""Flaws of one answer: those that a program can detect without judging its content."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from distilabel_endpoints.quality.loops import loop_period
from distilabel_endpoints.records import Completion, Failure, FailureKind, Result

__all__ = ["Flaw", "answers_of", "flaws_of", "normalized"]


class Flaw(StrEnum):
    """A flaw of an answer. The names are those of `--alarm`."""

    EMPTY = "empty"
    """No text and no tool call, or all tokens went into thinking."""
    TRUNCATED = "truncated"
    """Cut off at `max_new_tokens`."""
    LOOPS = "loops"
    """It ends in a loop, or the server stopped it because it repeated itself."""
    ECHO = "echo"
    """The same text as the prompt's last message."""
    IDENTICAL = "identical"
    """The same text as the answers to other prompts."""
    OFF_SCHEMA = "off_schema"
    """It does not fit `structured_output`."""
    FILTERED = "filtered"
    """The server's content filter stopped it."""


_BY_CODE: Final = {
    "content_filter": Flaw.FILTERED,
    "repetition": Flaw.LOOPS,
    "length": Flaw.TRUNCATED,
    "budget_spent": Flaw.EMPTY,
    "off_schema": Flaw.OFF_SCHEMA,
}
"""Codes of failures that are about an answer."""


def answers_of(result: Result) -> list[Completion | Failure]:
    """What the model wrote for a row, refused answers included: what flaws are looked for in.

    Refusals, time-outs and the like are not answers.
    """
    return [
        ending
        for ending in result.endings
        if isinstance(ending, Completion)
        or (ending is not None and ending.kind is FailureKind.CONTENT)
    ]


def flaws_of(answer: Completion | Failure) -> set[Flaw]:
    """What is wrong with `answer` by itself: all but `ECHO` and `IDENTICAL`."""
    flaws: set[Flaw] = set()
    if isinstance(answer, Failure) and answer.code in _BY_CODE:
        flaws.add(_BY_CODE[answer.code])
    if answer.finish_reason == "length":
        flaws.add(Flaw.TRUNCATED)
    text = answer.text or ""
    if not text or text.isspace():
        if isinstance(answer, Completion) and not answer.tool_calls:
            flaws.add(Flaw.EMPTY)
    elif loop_period(text) is not None:
        flaws.add(Flaw.LOOPS)
    return flaws


def normalized(text: str) -> str:
    """Text to be compared: without regard to case and white space."""
    return " ".join(text.split()).casefold()
