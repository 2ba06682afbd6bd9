"""Numbers as people read them: counts, rates, shares, durations.

Every text is ASCII, has a bounded width, and never claims more than is so: 99.99 % is not 100 %.

Lines of styled text that fit a number of terminal cells.

A style says what a text means; which colour that is, if any, is the sink's business. Widths are
in cells: a wide character takes two, a combining one none.

Text from elsewhere, made fit for a terminal.

What a model or a server says may hold sequences that move the cursor, recolour the screen, set the
window's title, answer for the user or turn the reading direction (ECMA-48; Unicode UTS #55). Files
keep every byte; what is shown goes through here.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = [
    "Line",
    "Span",
    "Style",
    "cells",
    "clip",
    "count",
    "duration",
    "line",
    "plain",
    "rate",
    "rows",
    "safe_text",
    "share",
    "short_count",
    "wrap",
]

# OSC, DCS, SOS, PM and APC with what they carry. One that is not closed before the next control
# character is not a sequence: its introducer goes, its words stay.
_STRING: Final = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
_CSI: Final = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
_ESCAPE: Final = r"\x1b[ -/]*[0-~]"
_CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
# Marks, embeddings, overrides and isolates; invisible operators and tags, which hide text.
_INVISIBLE: Final = (
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_REMOVED: Final = re.compile(f"{_STRING}|{_CSI}|{_ESCAPE}|{_CONTROL}|{_INVISIBLE}")
_BREAK: Final = re.compile("\r\n|[\t\n\r\u2028\u2029]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def safe_text(text: str, *, newlines: bool = False) -> str:
    """`text` without anything that drives a terminal, on one line unless `newlines`.

    C0, DEL and C1 controls, escape sequences with what they carry, and invisible characters that
    reorder or hide text are taken out; line breaks and tabs become spaces (`newlines` keeps line
    breaks as they are in Unix); lone surrogates, which no stream takes, become U+FFFD. Everything
    else stays, joiners of scripts and emoji included. Applied twice it changes nothing more.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _REMOVED.sub("", text)
    text = _BREAK.sub((lambda match: " " if match[0] == "\t" else "\n") if newlines else " ", text)
    return _SURROGATE.sub("\ufffd", text)


class Style(StrEnum):
    """What a text means."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    LABEL = "label"
    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Span, ...]


def line(text: str = "", style: Style = Style.PLAIN) -> Line:
    """A line of one span."""
    return (Span(text, style),)


def plain(spans: Line) -> str:
    """The line's text, without blanks at its end."""
    return "".join(span.text for span in spans).rstrip()


def cells(text: str) -> int:
    """How many cells `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def clip(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis if something was cut off."""
    if cells(text) <= width:
        return text
    return f"{_head(text, width - 1).rstrip()}…" if width > 0 else ""


def wrap(text: str, width: int, *, most: int = 100) -> list[str]:
    """`text`, made safe, in at most `most` lines of at most `width` cells.

    Broken between words; a word that is longer than a line fills it and continues in the next.
    """
    lines: list[str] = []
    current = ""
    for word in safe_text(text).split():
        joined = f"{current} {word}" if current else word
        if cells(joined) <= width:
            current = joined
            continue
        if cells(word) <= width:
            lines.append(current)
            current = word
            continue
        current = joined
        while cells(current) > width:
            head = _head(current, width) or current[0]
            lines.append(head.rstrip())
            current = current[len(head) :]
    lines.append(current)
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], clip(f"{lines[most - 1]} {lines[most]}…", width)]


def _head(text: str, width: int) -> str:
    """The longest beginning of `text` in `width` cells."""
    used = 0
    for position, character in enumerate(text):
        # VS16 may widen the character before it.
        used += 1 if character == "\ufe0f" else cells(character)
        if used > width:
            return text[:position]
    return text


_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: int) -> str:
    """`12,345`"""
    return f"{number:,}"


def rows(number: int) -> str:
    """`1 row`, `12,345 rows`"""
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def short_count(number: float) -> str:
    """`9,876`, `12.3k`, `845k`, `1.20M`: three digits, once there are more than four."""
    if number < 9999.5:
        return f"{number:,.0f}"
    for size, unit in _UNITS:
        # 999,500 rounds to 1,000k, which is 1.00M.
        if number >= size * 0.9995:
            value = number / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f}{unit}"
    raise AssertionError(number)


def rate(per_second: float) -> str:
    """`0`, `0.31`, `14.2`, `812`, `8,120`, `12.3k`: without its unit."""
    if per_second < 0.005:
        return "0"
    if per_second < 9.995:
        return f"{per_second:.2f}"
    if per_second < 99.95:
        return f"{per_second:.1f}"
    return short_count(per_second)


def share(part: int, whole: int) -> str:
    """`12 %`; `<1 %` and `>99 %` when rounding would say none or all."""
    if part <= 0 or whole <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    percent = 100 * part / whole
    if percent < 1:
        return "<1 %"
    return ">99 %" if percent > 99 else f"{percent:.0f} %"


def duration(seconds: float, *, tenths: bool = False) -> str:
    """`45 s`, `2 m 10 s`, `1 h 05 m`, `3 d 04 h`; `tenths` says `4.2 s` below ten seconds."""
    if not math.isfinite(seconds) or seconds >= 1000 * 86_400:
        return "over 999 d"
    if tenths and 0 <= seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = max(0, int(seconds + 0.5))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02d} h"
