"""What the body of an error says: in words, as a status, or as a web page.

Whatever the body is, reading it takes bounded time and never raises. What a body repeats of the
request (`input`, `ctx`) is not read; what stands of it in the words themselves is taken out.

Rules
- The words that decide what a failure means are read before secrets are taken out of them: a code
  beside the word "token" is not a secret. They are never kept.
- What is kept has neither tokens nor the prompt. Each string of a body is looked at by itself, so
  that no word of one makes a secret of the next.
- A server echoes a request in many ways: whole or shortened, as JSON, as Python's repr, escaped
  once more inside another string. So both sides are brought to one plain form, and every longer
  run of characters that a message shares with a prompt is cut out of it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, quote_plus

from distilabel_endpoints.records import Request

__all__ = [
    "Words",
    "error_in",
    "hide",
    "is_page",
    "load",
    "page_title",
    "read_words",
    "redact",
    "strings_in",
    "strings_of",
    "why_blocked",
]

_PARSED: Final = 1_000_000
"""Bytes up to which a body is read as JSON; an error that is longer repeats the request."""
_SHOWN: Final = 16_384
"""Bytes of any other body that are read, and characters of all strings together."""
_DEEPEST: Final = 8
_KEYS: Final = (
    "error", "message", "msg", "title", "detail", "details", "reason", "error_description",
    "errors", "error_type", "type", "code", "error_message", "error_msg", "errmsg", "status_msg",
    "base_resp", "innererror", "inner_error", "metadata", "raw", "reasons",
    # Java gateways, AWS, Apigee and WSO2
    "error_code", "errorCode", "errorMessage", "err_msg", "Message", "__type", "fault",
    "faultstring", "errorcode", "description",
    # Tencent, and functions behind a gateway
    "Error", "Code", "exception",
)  # fmt: skip
"""Where servers put words, in the order in which they are read."""
_STATUS_KEYS: Final = (
    "code", "status", "status_code", "http_status_code", "error_code", "statusCode",
)  # fmt: skip
_ERROR_KEYS: Final = (
    "error", "errors", "detail", "error_code", "error_msg", "error_message", "errmsg", "errorCode",
    "errorMessage", "err_msg", "fault", "Error", "exception",
)  # fmt: skip
_MESSAGE_KEYS: Final = ("message", "msg")
_FEEDBACK: Final = ("promptFeedback", "prompt_feedback")
_FAILED: Final = frozenset({"error", "fail", "failed", "failure"})
"""What stands under `status`, where an error has no key of its own."""
_WRAPPERS: Final = ("Response", "body")
"""Where Tencent and functions behind a gateway put an error: an object, or a text of JSON."""
_TAG: Final = re.compile(r"<[^<>]*>")
_UNSEEN: Final = re.compile(r"<(?:script|style)\b", re.IGNORECASE)
_SEEN_AGAIN: Final = re.compile(r"</(?:script|style)\b", re.IGNORECASE)
_STATUS: Final = re.compile(r"[345][0-9][0-9]")
_LONGEST_FIELD: Final = 8
"""Steps of the path to a field that are shown."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a server said."""

    plain: str
    """To decide by: without the prompt, and with whatever else it holds. Not to be kept."""
    shown: str
    """For people: without the prompt, and without secrets."""

    def __bool__(self) -> bool:
        return bool(self.shown)


def load(body: bytes) -> Any:
    """The JSON value of a body; `None` if it is not JSON, or too long for an error."""
    if len(body) > _PARSED:
        return None
    try:
        return json.loads(body.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return None


def read_words(
    body: bytes,
    request: Request | None = None,
    secrets: Sequence[str] = (),
    strings: Callable[[bytes], list[str]] | None = None,
) -> Words:
    """What a body says, without what it repeats of `request`.

    Args:
        body: as it came.
        request: what was sent.
        secrets: what was sent and must not be shown.
        strings: reads the strings of a body; default: `strings_in`.
    """
    read = strings or strings_in
    texts = safe = read(body)
    if secrets:
        # In the whole body first: what is shortened later may end in half of a secret.
        hidden = hide(body.decode(errors="replace"), secrets).encode()
        safe = [hide(text, secrets) for text in (texts if hidden == body else read(hidden))]
    plain = [_without_prompt(text, request) for text in texts]
    shown = plain if safe == texts else [_without_prompt(text, request) for text in safe]
    return Words(_joined(plain), _joined(map(_without_secrets, shown)))


def _joined(parts: Iterable[str]) -> str:
    return ": ".join(dict.fromkeys(filter(None, parts)))


def strings_in(body: bytes) -> list[str]:
    """What a body says: the strings of JSON that are meant to be read, or its visible text."""
    loaded = load(body)
    if loaded is not None:
        return strings_of(loaded)
    text = _text(body)
    return [_visible(text) if text.lstrip().startswith("<") else text.strip()]


def strings_of(value: Any) -> list[str]:
    """Every telling string of an error, once; what it repeats of the request is left out."""
    texts: dict[str, None] = {}
    length = 0
    for text in filter(None, _strings(value, 0)):
        if length >= _SHOWN:
            break
        texts[text[: _SHOWN - length]] = None
        length += len(text) + 1
    return list(texts)


def _strings(value: Any, depth: int) -> Iterator[str]:
    match value:
        case str():
            yield value.strip()
        case dict() if depth < _DEEPEST:
            where = _field(value)
            for key in _KEYS:
                for text in _strings(value.get(key), depth + 1):
                    yield f"{where}: {text}" if where else text
                    where = ""
            if isinstance(blocked := why_blocked(value), str):
                yield f"prompt blocked: {blocked}"
            if isinstance(wait := value.get("retryDelay"), str):
                yield f"retry in {wait}"
        case list() if depth < _DEEPEST:
            # There may be a validation error for each message of a long conversation.
            for item in value[:5]:
                yield from _strings(item, depth + 1)


def why_blocked(value: Mapping[str, Any]) -> Any:
    """Why Gemini took no prompt: it says so beside choices that are not there."""
    feedback = next(filter(None, map(value.get, _FEEDBACK)), None)
    if not isinstance(feedback, dict):
        return None
    return next(filter(None, map(feedback.get, ("blockReason", "block_reason"))), None)


def _field(error: Mapping[str, Any]) -> str:
    """The field that a validation error is about: `messages.0.role`."""
    path = error.get("loc")
    if not isinstance(path, list):
        return ""
    steps = [str(step)[:60] for step in path[: _LONGEST_FIELD + 1] if isinstance(step, str | int)]
    return ".".join(steps[1:] if steps[:1] == ["body"] else steps)


def error_in(loaded: Any) -> tuple[int | None, list[str]]:
    """The status and the strings of a JSON value that is an error, or has one instead of an answer.

    Servers put it under `error`, `errors`, `detail`, `base_resp` or inside a choice, or lay it
    flat; one gives a list of errors. Anything else has no strings.
    """
    if isinstance(loaded, list):
        return error_in(loaded[0]) if loaded and isinstance(loaded[0], dict) else (None, [])
    if not isinstance(loaded, dict):
        return None, []
    choice = next(filter(None, map(_error_of, _choices(loaded))), None)
    if choice is not None and not loaded.get("error"):
        return error_in({"error": choice})
    if not _is_error(loaded):
        return _wrapped_error(loaded)
    inner = loaded["error"] if isinstance(loaded.get("error"), dict) else loaded
    return _status_in(inner), strings_of(loaded)


def _status_in(error: Mapping[str, Any]) -> int | None:
    for value in map(error.get, _STATUS_KEYS):
        if isinstance(value, int | str) and _STATUS.fullmatch(str(value)):
            return int(value)
    return None


def _wrapped_error(loaded: Mapping[str, Any]) -> tuple[int | None, list[str]]:
    for value in map(loaded.get, _WRAPPERS):
        inner = load(value.encode(errors="replace")) if isinstance(value, str) else value
        if isinstance(inner, dict) and _is_error(inner):
            return _status_in(inner) or _status_in(loaded), strings_of(inner)
    return None, []


def _is_error(loaded: Mapping[str, Any]) -> bool:
    """One kept alive by `{"type": "ping"}` has not said that anything is wrong."""
    if any(map(loaded.get, _ERROR_KEYS)) or "error" in (loaded.get("object"), loaded.get("type")):
        return True
    if loaded.get("success") is False or str(loaded.get("status")).lower() in _FAILED:
        return True
    if why_blocked(loaded):
        return True
    base = loaded.get("base_resp")
    failed = isinstance(base, dict) and base.get("status_code") not in (None, 0)
    return failed or any(isinstance(loaded.get(key), str) for key in _MESSAGE_KEYS)


def _choices(loaded: Mapping[str, Any]) -> list[Any]:
    choices = loaded.get("choices")
    return choices if isinstance(choices, list) else []


def _error_of(choice: Any) -> Any:
    return choice.get("error") if isinstance(choice, dict) else None


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


_READ: Final = 16_384
"""Characters of a server's words that are looked at; a failure keeps 2,048."""
_EDGE: Final = 65_536
"""Characters of each end of a long prompt that an echo is looked for in."""
_SHORTEST: Final = 8
"""A prompt with fewer characters is not worth hiding, and hiding it would garble the message."""
_RUN: Final = 20
"""Shared characters that are taken for an echo: fewer are shared by chance."""
_STEP: Final = _RUN // 2
"""Whatever its place, a run of `_RUN` holds a whole block of this size at a multiple of it."""

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtbfv0])|([\"'\\/`]))")
_UNPRINTABLE: Final = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]+"
)
_SECRET: Final = re.compile(
    r"hf_[A-Za-z0-9_\-]{4,}"
    r"|\bapi_org_[A-Za-z0-9]{4,}"
    r"|(?<![A-Za-z])sk-[A-Za-z0-9_\-*.]{6,}"
    r"|\beyJ[\w\-]{8,}\.[\w\-]{8,}(?:\.[\w\-]*)?"
)
_NAMED_SECRET: Final = re.compile(
    r"(\b(?:bearer|basic)\s+(?!(?:tokens?|auth\w*|scheme|realm)(?:[\s.,]|$)))"
    r"[^\s\"',;)}\[\]]{4,}"
    r"|(\b(?:api[-_ ]?keys?|token|authorization|secret|password)\b(?:\s+provided|\s+received)?"
    r"[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)"
    # Not a number, and not a code in words: `invalid_request_error`.
    r"(?!\d+\b|bearer\b|basic\b|(?-i:[a-z]+(?:_[a-z]+)+)(?:[\s\"',.;:)}\[\]]|$))"
    r"[^\s\"',;)}\[\]]{6,}",
    re.IGNORECASE,
)


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` without these exact strings, as they are or quoted for a URL."""
    for secret in secrets:
        for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(form, "[secret]")
    return text


def redact(text: str, request: Request | None) -> str:
    """`text` in one printable line, without tokens and without what it repeats of the prompt."""
    return _without_secrets(_without_prompt(text, request))


def _without_prompt(text: str, request: Request | None) -> str:
    text = _plain(text[:_READ])
    for prompt in _prompts(request) if len(text) >= _SHORTEST else ():
        text = _without_echo(text, prompt)
    return text


def _without_secrets(text: str) -> str:
    text = _SECRET.sub("[secret]", text)
    return _NAMED_SECRET.sub(lambda match: f"{match[1] or match[2]}[secret]", text)


def _plain(text: str) -> str:
    """One line, with escapes undone for as long as there are any (at most four levels)."""
    for _ in range(4):
        undone = html.unescape(_ESCAPE.sub(_unescaped, text))
        if undone == text:
            break
        text = undone
    # Two halves of a character join, a lone half is replaced.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _UNPRINTABLE.sub(" ", text).strip()


def _unescaped(match: re.Match[str]) -> str:
    code, control, quoted = match[1] or match[2], match[3], match[4]
    if code:
        return chr(int(code, 16))
    return " " if control else quoted


def _without_echo(text: str, prompt: str) -> str:
    if len(prompt) < _SHORTEST:
        return text
    if len(prompt) < _RUN:
        return text.replace(prompt, "[prompt]")
    kept, end = [], 0
    for start, stop in _echoes(text, prompt):
        echo = text[start:stop]
        kept += [text[end:start], echo.replace(echo.strip(), "[prompt]")]
        end = stop
    return "".join([*kept, text[end:]])


def _echoes(text: str, prompt: str) -> Iterator[tuple[int, int]]:
    """Where `text` shares at least `_RUN` characters with `prompt`, from left to right."""
    least, at = 0, 0
    while at + _STEP <= len(text):
        start, stop = _longest_shared(text, at, prompt, least)
        if stop - start >= _RUN:
            yield start, stop
            least = stop
        at = max(at + _STEP, least)


def _longest_shared(text: str, at: int, prompt: str, least: int) -> tuple[int, int]:
    """The longest run around the block at `at`, among the first places it has in the prompt."""
    best, place = (at, at), -1
    # A block of blanks may be in thousands of places.
    for _ in range(8):
        place = prompt.find(text[at : at + _STEP], place + 1)
        if place < 0:
            break
        start = at - _shared(text[least:at][::-1], prompt[max(0, place - at) : place][::-1])
        stop = at + _shared(text[at:], prompt[place : place + len(text) - at])
        best = max(best, (start, stop), key=lambda run: run[1] - run[0])
    return best


def _shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _prompts(request: Request | None) -> Iterator[str]:
    """All text of a request, longest first, in the plain form."""
    if request is None:
        return
    texts = [*_texts(request.prompt), *_texts(request.messages)]
    edges = [edge for text in texts for edge in _edges(text)]
    yield from sorted(set(map(_plain, edges)), key=len, reverse=True)


def _edges(text: str) -> Iterable[str]:
    return (text,) if len(text) <= 2 * _EDGE else (text[:_EDGE], text[-_EDGE:])


def _texts(value: Any) -> Iterator[str]:
    """Every string of a conversation: contents, parts, names, tool calls."""
    match value:
        case str():
            yield value
        case Mapping():
            for name, item in value.items():
                if name not in {"role", "type"}:
                    yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)
