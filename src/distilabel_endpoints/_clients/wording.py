"""What the body of an error says: in words, as a status, or as a web page.

Whatever the body is, reading it takes bounded time and never raises. What a body repeats of the
request (`input`, `ctx`) is not read; `redaction.py` takes out what stands in the words themselves.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["error_in", "is_page", "load", "page_title", "words_in", "words_of"]

_PARSED: Final = 1_000_000
"""Bytes up to which a body is read as JSON; an error that is longer repeats the request."""
_SHOWN: Final = 16_384
"""Bytes of any other body that are read."""
_DEEPEST: Final = 8
_KEYS: Final = (
    "error", "message", "msg", "title", "detail", "details", "reason", "error_description",
    "errors", "error_type", "type", "code",
)  # fmt: skip
_STATUS_KEYS: Final = ("code", "status", "status_code", "http_status_code")
_TAG: Final = re.compile(r"<[^<>]*>")
_UNSEEN: Final = re.compile(r"<(?:script|style)\b", re.IGNORECASE)
_SEEN_AGAIN: Final = re.compile(r"</(?:script|style)\b", re.IGNORECASE)
_STATUS: Final = re.compile(r"[45][0-9][0-9]")


def load(body: bytes) -> Any:
    """The JSON value of a body; `None` where it is none, or too long for an error."""
    if len(body) > _PARSED:
        return None
    try:
        return json.loads(body.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return None


def words_in(body: bytes) -> str:
    """What a body says: the strings of JSON that are meant to be read, or its visible text."""
    loaded = load(body)
    if loaded is not None:
        return words_of(loaded)
    text = _text(body)
    return _visible(text) if text.lstrip().startswith("<") else text.strip()


def words_of(value: Any) -> str:
    """Every telling string of an error, once; what it repeats of the request is left out."""
    found = dict.fromkeys(filter(None, _strings(value, 0)))
    return ": ".join(found)[:_SHOWN]


def _strings(value: Any, depth: int) -> Iterator[str]:
    match value:
        case str():
            yield value.strip()
        case dict() if depth < _DEEPEST:
            for key in _KEYS:
                yield from _strings(value.get(key), depth + 1)
        case list() if depth < _DEEPEST:
            for item in value[:5]:
                yield from _strings(item, depth + 1)


def error_in(loaded: Any) -> tuple[int | None, str]:
    """The status and the words of a JSON value that is an error object."""
    if not isinstance(loaded, dict) or not (loaded.get("error") or loaded.get("object") == "error"):
        return None, ""
    inner = loaded["error"] if isinstance(loaded.get("error"), dict) else loaded
    for value in map(inner.get, _STATUS_KEYS):
        if isinstance(value, int | str) and _STATUS.fullmatch(str(value)):
            return int(value), words_of(loaded)
    return None, words_of(loaded)


def is_page(body: bytes, content_type: str) -> bool:
    """Is this a web page, by its first tag or by what the server calls it?"""
    if _after_prolog(_text(body)).lower().startswith(("<!doctype html", "<html")):
        return True
    is_html = content_type.strip().lower().startswith(("text/html", "application/xhtml"))
    return is_html and load(body) is None


def _after_prolog(text: str) -> str:
    """A page without what may stand before its first tag."""
    text = text.lstrip()
    while text.startswith(("<?", "<!--")):
        text = text.partition("-->" if text.startswith("<!--") else "?>")[2].lstrip()
    return text


def page_title(body: bytes) -> str:
    """A web page's title, or `untitled`."""
    text = _text(body)
    start = text.lower().find("<title")
    if start < 0:
        return "untitled"
    title = text[start:].partition(">")[2].partition("<")[0]
    return " ".join(html.unescape(title).split())[:200] or "untitled"


def _text(body: bytes) -> str:
    return body[:_SHOWN].decode("utf-8-sig", errors="replace")


def _visible(page: str) -> str:
    """The text of a page, without tags, scripts and styles."""
    shown, *hidden = _UNSEEN.split(page)
    for part in hidden:
        end = _SEEN_AGAIN.search(part)
        shown += part[end.start() :] if end else ""
    return " ".join(html.unescape(_TAG.sub(" ", shown)).split())
