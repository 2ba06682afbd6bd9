"""Lines of styled text that fit a number of terminal cells.

A style says what a text means; which colour that is, if any, is the sink's business. Widths are
in cells: a wide character takes two, a combining one none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from distilabel_endpoints.progress.safety import safe_text

__all__ = ["Line", "Span", "Style", "cells", "clip", "line", "plain", "wrap"]


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
    """`text` in at most `width` cells, with an ellipsis where something was cut off."""
    if cells(text) <= width:
        return text
    return f"{_head(text, width - 1).rstrip()}…" if width > 0 else ""


def wrap(text: str, width: int, *, most: int = 100) -> list[str]:
    """`text`, made safe, in at most `most` lines of at most `width` cells.

    Broken between words; a word that is longer than a line fills it and goes on in the next.
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
