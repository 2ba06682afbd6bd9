"""Small pieces of HTML for notebooks. Everything from outside is escaped and, if long, clipped.

No scripts, no addresses, no style sheets of others: what is shown works in a saved notebook too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["details", "figures", "quoted_text", "table"]

_MOST_CHARACTERS: Final = 500
_CELL: Final = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def quoted_text(value: Any, most: int = _MOST_CHARACTERS) -> str:
    """`value` as text that is shown as it is; a long one is cut off."""
    text = str(value)
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return f'<span style="white-space:pre-wrap">{escape(shown)}</span>'


def figures(title: str, values: Mapping[str, Any]) -> str:
    """Names and values, one beside the other; those without a value are left out."""
    rows = "".join(
        f'<tr><th style="{_CELL}">{escape(name)}</th>'
        f'<td style="{_CELL}">{quoted_text(value)}</td></tr>'
        for name, value in values.items()
        if value not in (None, "")
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows under the names of their columns; nothing if there are no rows."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{quoted_text(v)}</td>' for v in row) + "</tr>"
        for row in rows
    )
    if not body:
        return ""
    return (
        f"<div><strong>{escape(title)}</strong><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """`content`, which is HTML, behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
