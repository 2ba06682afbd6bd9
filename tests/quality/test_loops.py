"""Loops: found exactly where the tail repeats, and nowhere in good text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.quality.loops import (
    LEAST_CHARACTERS,
    LEAST_COPIES,
    LONGEST_PERIOD,
    loop_period,
)

ROOT = Path(__file__).parents[2]
pieces = st.text("ab \n", min_size=1, max_size=12) | st.text(min_size=1, max_size=LONGEST_PERIOD)


def by_definition(text: str) -> int | None:
    """The same, the slow way."""
    text = text.rstrip()
    for period in range(1, LONGEST_PERIOD + 1):
        length = max(period * LEAST_COPIES, LEAST_CHARACTERS)
        tail = text[-length:]
        if len(tail) == length and all(tail[n] == tail[n - period] for n in range(period, length)):
            return period
    return None


@given(st.text("ab ", max_size=200) | st.text(max_size=300))
def test_any_text_is_judged_by_the_definition(text: str) -> None:
    """The quick search finds the period that the definition gives, or none."""
    assert loop_period(text) == by_definition(text)


@given(st.text(max_size=50), pieces, st.integers(1, 12), st.integers(0, LONGEST_PERIOD))
def test_repeated_pieces_are_judged_by_the_definition(
    start: str, piece: str, copies: int, cut: int
) -> None:
    """Also for text that repeats, wherever it is cut off."""
    text = start + piece * copies
    text = text[: max(0, len(text) - cut)]
    assert loop_period(text) == by_definition(text)


@given(pieces.filter(lambda piece: not piece.isspace()))
def test_enough_copies_are_a_loop(piece: str) -> None:
    """A piece of up to 200 characters, four times and more than its white space, is a loop."""
    assert loop_period("Sure. " + piece * (LEAST_COPIES * LEAST_CHARACTERS)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha ha",
        "- [ ] one\n- [ ] two\n- [ ] three\n- [ ] four\n- [ ] five\n",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
        "yes " * 40 + "That was the chorus.",
    ],
)
def test_good_text_is_not_a_loop(text: str) -> None:
    """Lists, counting, and text that finds its way out of a repetition."""
    assert loop_period(text) is None


def test_the_documentation_has_no_loops() -> None:
    """Not one thousand-character piece of this project's own pages ends in a loop."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    texts = [page.read_text(encoding="utf-8") for page in pages]
    chunks = [text[n : n + 1000] for text in texts for n in range(0, len(text), 1000)]
    assert len(chunks) > 100
    assert [chunk for chunk in chunks if loop_period(chunk)] == []
