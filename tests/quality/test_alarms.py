"""Alarms: what users may ask for, and what a run does by itself."""

from __future__ import annotations

from typing import Any

import pytest

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.quality.alarms import (
    CANNOT_BE_RIGHT,
    WARNINGS,
    Alarm,
    Watch,
    parse_alarms,
)
from distilabel_endpoints.quality.flaws import Flaw
from distilabel_endpoints.records import Completion, Result

PROMPT = "Write a few words about number {}, please."


def watched(*words: str, action: str | None = None, text: str, rows: int = 200) -> list[Alarm]:
    """The alarms that so many rows with this answer raise."""
    watch = Watch(parse_alarms(words or None, action))
    raised: list[Alarm] = []
    for n in range(rows):
        watch.sent(n, PROMPT.replace("{}", str(n)))
        completion = Completion(text=text.replace("{}", str(n)), finish_reason="stop")
        raised += watch.ended(Result(ordinal=n, completions=(completion,), failures=(None,)))
    return raised


@pytest.mark.parametrize(
    ("text", "flaw", "acts"),
    [
        ("", Flaw.EMPTY, True),
        ("Number {} is one more thing. " * 5, Flaw.LOOPS, True),
        ("I am here to help you with that.", Flaw.IDENTICAL, True),
        (PROMPT, Flaw.ECHO, False),
    ],
)
def test_what_cannot_be_right_pauses(text: str, flaw: Flaw, acts: bool) -> None:
    """Empty answers, loops and one text for all; an echo is reported. With rows to look at."""
    alarms = watched(text=text)
    assert [(alarm.flaw, alarm.acts) for alarm in alarms] == [(flaw, acts)]
    assert alarms[0].whole >= 50
    assert len(alarms[0].examples) == 3


@pytest.mark.parametrize("text", ["yes", "Number {} is a fine number to write about.", "no\n"])
def test_good_answers_raise_nothing(text: str) -> None:
    """Labels may be the same everywhere, and texts may be alike."""
    assert watched(text=text) == []


def test_fewer_than_fifty_rows_raise_nothing() -> None:
    """Whatever they are."""
    assert watched(text="", rows=49) == []


@pytest.mark.parametrize("off", [["off"], ["empty=off"], ["loops=2%", "off"]])
def test_alarms_can_be_switched_off(off: list[str]) -> None:
    """One, or all."""
    assert watched(*off, text="") == []


def test_on_alarm_is_about_the_alarms_that_are_named() -> None:
    """If none is, about all; the others do what they do anyway."""
    alarms = parse_alarms(["truncated=10%"], "pause")
    assert alarms.act == {**CANNOT_BE_RIGHT, Flaw.TRUNCATED: 0.1}
    assert parse_alarms(None, "pause").act == WARNINGS
    assert parse_alarms(None, "warn").act == {}
    assert parse_alarms(["empty=60%"]).act[Flaw.EMPTY] == 0.6
    assert parse_alarms(None, "stop").drains is False
    assert parse_alarms({"off-schema": 0.5}).warn[Flaw.OFF_SCHEMA] == 0.5


@pytest.mark.parametrize(
    ("shares", "action", "message"),
    [
        (["loops"], None, "an alarm is a name and a share"),
        (["lops=2%"], None, "Did you mean loops"),
        (["loops=two"], None, "must be below 1"),
        (["loops=120%"], None, "must be below 1"),
        (["loops=-1%"], None, "must be below 1"),
        ({"loops": True}, None, "must be below 1"),
        (None, "shout", "on_alarm must be warn, pause or stop"),
    ],
)
def test_what_is_no_alarm_is_refused(shares: Any, action: str | None, message: str) -> None:
    """With what there is instead."""
    with pytest.raises(ConfigurationError, match=message):
        parse_alarms(shares, action)
