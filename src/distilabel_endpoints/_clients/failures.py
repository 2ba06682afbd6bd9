"""What a failed exchange means, by the table of `rules.py`.

Rules
- Status first, then what the body says, then the fault below HTTP.
- A failure is read from the wire, not from a client library's exception: both libraries then
  mean the same by it. Only what a stream said is read from there, as the library has consumed it.
- Rules look at words from which the prompt is gone, so no prompt decides what its failure means,
  and in which codes still stand: secrets are taken out of what is kept, not of what is read.
- An error that came with a good status, or in a stream, means what its words mean.
- Whose failure it is, is not decided here: see `_engine/retry.py`.
- Reading never raises: whatever cannot be understood is a transient failure.
- Messages are the server's own words, shortened, with tokens and prompts taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from distilabel_endpoints._clients import error_text as wording
from distilabel_endpoints._clients.adapting import refused_parameter
from distilabel_endpoints._clients.error_text import Words, hide, redact
from distilabel_endpoints._clients.rules import (
    BAD_UTF8,
    BROKEN_OFF,
    EMPTY,
    FAULTS,
    REJECTED,
    RULES,
    SERVER_ERROR,
    STREAM_ERROR,
    TRUNCATED,
    UNUSABLE,
    WEB_PAGE,
    Rule,
)
from distilabel_endpoints._clients.streams import StreamError
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.records import SURELY_THE_ROWS, Answer, Failure, FailureKind, Request

__all__ = [
    "UNREADABLE",
    "classify",
    "classify_status",
    "is_usable",
    "retry_after",
    "retry_after_in",
]

_NO_KEY: Final = (
    "No key was sent. Give one as api_key, or on the command line with --api-key-env NAME; a "
    "token in HF_TOKEN goes to Hugging Face's hosts and this machine only."
)
_SAYS_NOTHING: Final = re.compile(r"HTTP 500|internal server error\W*", re.IGNORECASE)

UNREADABLE: Final = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What the libraries raise on events that are none."""

_ASKED_WAIT: Final = re.compile(
    r"(?:(?:retry|try again|wait|available|reset|replenished)(?:ing|s)? (?:in|after|for)"
    r"|please wait) "
    r"((?:\d{1,9}(?:\.\d{1,9})? ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b"
    r"[ ,]{0,2}(?:and )?|\d{1,9}[hm](?=\d))+)",
    re.IGNORECASE,
)
_A_TIME: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|mil|s|m|h)", re.IGNORECASE)
_UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_LONGEST_BELIEVED: Final = 30 * 86_400.0
"""Seconds. A longer `Retry-After` is a point in time, or nonsense."""


def is_usable(answer: Answer, exchange: Exchange, request: Request) -> bool:
    """Whether what came is an answer: says something, in UTF-8 or when that does not matter."""
    return bool(answer.completions) and (request.lenient or not exchange.repaired)


def classify(
    exchange: Exchange,
    request: Request,
    error: BaseException | None = None,
    answer: Answer | None = None,
) -> Failure:
    """What a failed exchange means.

    Args:
        exchange: what happened on the wire.
        request: what was sent.
        error: what the client library raised, if it did.
        answer: what came, if it is an answer and not usable.
    """
    if answer is not None:
        return _classify_answer(answer, exchange)
    secrets = [secret.get_secret_value() for secret in exchange.secrets]
    failure = _classify(exchange, request, error, secrets)
    return replace(
        failure,
        message=hide(failure.message, secrets),
        parameter=_parameter(failure, exchange, request),
        in_answer=exchange.status is not None and 200 <= exchange.status < 300,
        request_id=failure.request_id and _request_id(exchange.headers, request, secrets),
    )


def _parameter(failure: Failure, exchange: Exchange, request: Request) -> str | None:
    """What is wrong with a prompt says nothing of parameters, whichever it counts or names."""
    if failure.code in SURELY_THE_ROWS:
        return None
    return refused_parameter(exchange.body() or b"", request)


def _classify(
    exchange: Exchange, request: Request, error: BaseException | None, secrets: list[str]
) -> Failure:
    status, body = exchange.status, exchange.body()
    content = body or b""
    if status is not None and not 200 <= status < 300:
        words = wording.read_words(content, request, secrets)
        return _keyless(_by_status(status, exchange.headers, words, request), exchange)
    if exchange.fault is not None:
        return _classify_fault(exchange.fault, exchange, request)
    if status is None:
        return _classify_unsent(error, request)
    if wording.is_page(content, exchange.headers.get("content-type", "")):
        title = wording.page_title(hide(content.decode(errors="replace"), secrets).encode())
        return _failure(WEB_PAGE, status, exchange, redact(f"a web page: {title!r}", request))
    if body is None or isinstance(error, StreamError):
        return _classify_stream(status, exchange, request, error, secrets)
    return _classify_unusable(status, exchange, body, request, secrets)


def classify_status(
    status: int, headers: Mapping[str, str], body: bytes, request: Request | None = None
) -> Failure:
    """What an HTTP error answer means."""
    return _by_status(status, headers, wording.read_words(body, request), request)


def _by_status(
    status: int, headers: Mapping[str, str], words: Words, request: Request | None
) -> Failure:
    rule = next((rule for rule in RULES if rule.fits(status, words.plain, request)), None)
    if rule is None:
        rule = REJECTED if 400 <= status < 500 else SERVER_ERROR
    shown = words.shown
    if rule.code == "redirect":
        shown = f"the server answered {status} with a redirect to {_place(headers)}"
    failure = _failure(rule, status, headers, shown or f"HTTP {status}")
    return _with_wait(failure, words)


def _keyless(failure: Failure, exchange: Exchange) -> Failure:
    """If no key was sent, the hint says so, and not that a key was rejected."""
    if exchange.keyed:
        return failure
    if failure.code == "unauthorized" or failure.status == 401:
        return replace(failure, hint=_NO_KEY)
    if failure.status == 500 and _SAYS_NOTHING.fullmatch(failure.message):
        return replace(failure, hint=f"{_NO_KEY} Some gateways answer 500 to that.")
    return failure


def _with_wait(failure: Failure, words: Words) -> Failure:
    """With the wait that the words ask for, if no header does."""
    if failure.retry_after is not None or failure.kind not in {
        FailureKind.THROTTLE,
        FailureKind.UNAVAILABLE,
    }:
        return failure
    return replace(failure, retry_after=retry_after_in(words.plain))


def _failure(rule: Rule, status: int, source: Mapping[str, str] | Exchange, shown: str) -> Failure:
    """`shown` has gone through `redact`, or is ours."""
    headers = source.headers if isinstance(source, Exchange) else source
    return Failure(
        kind=rule.kind,
        code=rule.code,
        status=status,
        message=shown,
        retry_after=retry_after(headers),
        retryable=headers.get("x-should-retry", "").strip().lower() != "false",
        request_id=_request_id(headers),
        hint=rule.hint,
    )


def _request_id(
    headers: Mapping[str, str], request: Request | None = None, secrets: Iterable[str] = ()
) -> str | None:
    request_id = headers.get("x-request-id") or headers.get("x-amzn-requestid")
    return redact(hide(request_id, secrets), request)[:200] if request_id else None


def _classify_answer(answer: Answer, exchange: Exchange) -> Failure:
    """An answer that came to its end, and cannot be used."""
    if answer.broken_off is not None:
        rule, message = BROKEN_OFF, f"the server broke its answer off: {answer.broken_off}"
    elif answer.completions:
        rule, message = BAD_UTF8, "the answer is not UTF-8"
    else:
        rule, message = EMPTY, "the answer came to its end and has no text in it"
    return _failure(rule, exchange.status or 200, exchange, message)


def _classify_fault(fault: WireFault, exchange: Exchange, request: Request) -> Failure:
    kind, hint = FAULTS[fault]
    return Failure(
        kind=kind,
        code="redirect" if fault is WireFault.ORIGIN else str(fault),
        status=exchange.status,
        message=f"{fault}: {redact(exchange.detail, request)}",
        hint=hint,
    )


def _classify_unsent(error: BaseException | None, request: Request) -> Failure:
    """The library refused before it sent anything: what it says of a value, it always will."""
    refused = isinstance(error, TypeError | ValueError)
    reason = f"{type(error).__name__}: {redact(str(error), request) if refused else 'unexpected'}"
    return Failure(
        kind=FailureKind.ROW if refused else FailureKind.TRANSIENT,
        code="client",
        message=f"the client library failed before it sent anything: {reason}",
    )


def _classify_stream(
    status: int,
    exchange: Exchange,
    request: Request,
    error: BaseException | None,
    secrets: list[str],
) -> Failure:
    """A stream that brought no answer: an error among its events, nonsense, or a cut."""
    event = _event(error)
    if error is None:
        return _failure(TRUNCATED, status, exchange, "the stream ended before the answer did")
    if event is None and isinstance(error, UNREADABLE):
        shown = f"an event of the stream could not be read ({type(error).__name__})"
        return _failure(UNUSABLE, status, exchange, shown)
    body = json.dumps({"error": str(error) if event is None else event}, default=str).encode()
    return _disguised(status, exchange, body, request, secrets) or _failure(
        STREAM_ERROR,
        status,
        exchange,
        f"an error inside a stream: {_error_words(body, request, secrets).shown or 'no words'}",
    )


def _event(error: BaseException | None) -> Any:
    """The error object among a stream's events: openai's exception has it, hub's is made of it."""
    made_of = error.args[0] if error is not None and error.args else None
    return getattr(error, "body", None) or (made_of if isinstance(made_of, dict) else None)


def _classify_unusable(
    status: int, exchange: Exchange, body: bytes, request: Request, secrets: list[str]
) -> Failure:
    """A 200 without a usable answer: an error in disguise, or nonsense."""
    shown = _error_words(body, request, secrets).shown
    reason = f"an error inside a {status}: {shown}" if shown else _unusable_reason(body)
    return _disguised(status, exchange, body, request, secrets) or _failure(
        UNUSABLE, status, exchange, reason
    )


def _error_words(body: bytes, request: Request, secrets: list[str]) -> Words:
    def strings(text: bytes) -> list[str]:
        return wording.error_in(wording.load(text))[1]

    return wording.read_words(body, request, secrets, strings)


def _disguised(
    status: int, exchange: Exchange, body: bytes, request: Request, secrets: list[str]
) -> Failure | None:
    """What an error that came with a good status would have meant with its own."""
    words = _error_words(body, request, secrets)
    inner, _ = wording.error_in(wording.load(body))
    if inner is not None:
        return _keyless(_by_status(inner, exchange.headers, words, request), exchange)
    rule = next((rule for rule in RULES if words and rule.fits(None, words.plain, request)), None)
    if rule is None:
        return None
    failure = _keyless(_failure(rule, status, exchange, words.shown), exchange)
    return _with_wait(failure, words)


def _unusable_reason(body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({len(body)} bytes, {type(error).__name__})"
    return f"JSON without an answer in it ({len(body)} bytes)"


def _place(headers: Mapping[str, str]) -> str:
    """Where a redirect points, without whatever else a URL may hold."""
    location = headers.get("location") or ""
    try:
        parts = urlsplit(location)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an unreadable place"
    if parts.hostname:
        return redact(f"{parts.scheme or 'the same scheme'}://{parts.hostname}{port}", None)[:300]
    return "another path on the same host" if location else "nowhere"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait; `None` if it does not say, or says nonsense.

    Takes `retry-after-ms`, and `Retry-After` in seconds or as a date (RFC 9110, 10.2.3). A date
    is measured against the response's own `Date`, so a skewed clock here does not matter.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _believed(milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is None:
        then, now = _moment(value), _moment(headers.get("date"))
        seconds = (then - now).total_seconds() if then and now else None
    return _believed(seconds)


def retry_after_in(text: str) -> float | None:
    """Seconds the words ask us to wait: "retry in 34.5s", "try again in 1m20s"."""
    wait = _ASKED_WAIT.search(text)
    if wait is None:
        return None
    parts = _A_TIME.findall(wait[1])
    return _believed(sum(float(number) * _UNITS[unit.lower()] for number, unit in parts))


def _seconds(value: str | None) -> float | None:
    number = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]*)?)\s*", value or "")
    return float(number[1]) if number else None


def _moment(value: str | None) -> datetime | None:
    """An HTTP date. One without a zone is in UTC, as all of them are."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _believed(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_BELIEVED else None
