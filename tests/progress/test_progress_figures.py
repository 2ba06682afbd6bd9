"""Numbers and lines: what people read is bounded in width and never says too much."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilabel_endpoints.progress.formatting import (
    cells,
    clip,
    count,
    duration,
    line,
    plain,
    rate,
    rows,
    share,
    short_count,
    wrap,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (9_999.6, "10.0k"),
        (12_345, "12.3k"),
        (99_949, "99.9k"),
        (99_950, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_204_000, "1.20M"),
        (2.5e9, "2.50G"),
        (3e12, "3.00T"),
        (4e15, "4.00P"),
    ],
)
def test_short_counts(number: float, text: str) -> None:
    """Three digits and a unit, from ten thousand on."""
    assert short_count(number) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0, "0"), (0.004, "0"), (0.31, "0.31"), (9.996, "10.0"), (14.2, "14.2"), (99.96, "100")],
)
def test_rates(per_second: float, text: str) -> None:
    """Small rates keep their digits, large ones do without."""
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 m 00 s"),
        (130, "2 m 10 s"),
        (3599.7, "1 h 00 m"),
        (3900, "1 h 05 m"),
        (86_400 * 3 + 3600 * 4, "3 d 04 h"),
        (math.inf, "over 999 d"),
        (math.nan, "over 999 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Two units at most; rounding carries over."""
    assert duration(seconds) == text


def test_short_durations_may_have_tenths() -> None:
    """A run of a few seconds is told more exactly, where asked for."""
    assert duration(4.21, tenths=True) == "4.2 s"
    assert duration(9.96, tenths=True) == "10 s"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (1, 0, "0 %"),
        (1, 1000, "<1 %"),
        (1204, 9876, "12 %"),
        (999, 1000, ">99 %"),
        (10, 10, "100 %"),
    ],
)
def test_shares(part: int, whole: int, text: str) -> None:
    """None and all are said only of none and all."""
    assert share(part, whole) == text


def test_counts_of_rows() -> None:
    """One row is not rows."""
    assert [rows(1), rows(0), rows(12_345)] == ["1 row", "0 rows", "12,345 rows"]
    assert count(1_234_567) == "1,234,567"


@given(st.floats(min_value=0, max_value=1e17), st.floats(min_value=0, max_value=1e12))
def test_widths_are_bounded(number: float, seconds: float) -> None:
    """No figure outgrows the column that is kept for it."""
    assert len(short_count(number)) <= 6
    assert len(rate(number)) <= 6
    assert len(duration(seconds)) <= 10
    assert len(f"ETA {duration(seconds)}") <= 14


@given(st.text(max_size=200), st.integers(min_value=2, max_value=60))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    """Every line fits, whatever the words are."""
    assert all(cells(part) <= width for part in wrap(text, width))
    assert cells(clip(text, width)) <= width


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1), st.integers(9, 40))
def test_wrapping_loses_no_word(words: list[str], width: int) -> None:
    """Words that fit a line are all there, in order and whole."""
    assert " ".join(wrap(" ".join(words), width)).split() == words


def test_long_words_are_broken() -> None:
    """A word longer than the line goes on in the next one."""
    assert wrap("ab" * 10, 8) == ["abababab", "abababab", "abab"]
    assert "".join(wrap("あ" * 10, 7)) == "あ" * 10


def test_signs_that_are_widened_are_counted_as_wide() -> None:
    """U+FE0F makes an emoji, two cells wide, of a sign that is one cell wide."""
    assert cells("❤\ufe0f") == 2
    for width in range(2, 12):
        assert cells(clip("❤\ufe0f" * 10, width)) <= width
        assert all(cells(part) <= width for part in wrap("❤\ufe0f" * 10, width))


def test_what_was_cut_off_is_marked() -> None:
    """An ellipsis stands where there was more."""
    assert wrap("one two three four", 9, most=1) == ["one two…"]
    assert clip("one two", 5) == "one…"
    assert clip("one", 3) == "one"
    assert clip("one", 0) == ""
    assert wrap("one two", 9, most=1) == ["one two"]


def test_lines_end_without_blanks() -> None:
    """Padding inside a line does not show at its end."""
    assert plain((*line("a "), *line("b  "))) == "a b"
