"""The one table that says what a failed exchange means.

Rules
- Status first, then what the body says, then the fault below HTTP. The first rule that fits wins.
- A failure is read from the wire, not from a client library's exception: both libraries then
  mean the same by it. Only what a stream said is read from there, as the library has consumed it.
- Rules look at words from which the prompt is gone, so no prompt decides what its failure means.
- Reading never raises: whatever cannot be understood is a transient failure.
- Messages are the server's own words, shortened, with tokens and prompts taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from distilabel_endpoints._clients import error_text as wording
from distilabel_endpoints._clients.error_text import hide, redact
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request

__all__ = [
    "BODY_RULES",
    "FAULTS",
    "OTHER_RULES",
    "RULES",
    "UNREADABLE",
    "Rule",
    "classify",
    "classify_status",
    "is_usable",
    "retry_after",
]

THROTTLE = FailureKind.THROTTLE
UNAVAILABLE = FailureKind.UNAVAILABLE
TRANSIENT = FailureKind.TRANSIENT
BAD_RESPONSE = FailureKind.BAD_RESPONSE
ROW = FailureKind.ROW
RUN = FailureKind.RUN


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits when the status is one of `statuses` and the text contains `pattern`, where given."""

    code: str
    kind: FailureKind
    statuses: frozenset[int] = frozenset()
    pattern: str | None = None
    hint: str | None = None

    def fits(self, status: int, text: str) -> bool:
        if self.statuses and status not in self.statuses:
            return False
        return self.pattern is None or re.search(self.pattern, text, re.IGNORECASE) is not None


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


_TOO_LONG: Final = (
    r"context.?length|maximum context|context.?size|prompt is too long"
    r"|must (?:be <=|have less than) .{0,80}tokens"
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "redirect",
        RUN,
        _on(300, 301, 302, 303, 305, 307, 308),
        hint="The URL has moved; give the new one as base_url. Prompts are never sent on.",
    ),
    Rule(
        "paused",
        UNAVAILABLE,
        _on(400),
        r"^(?:bad request\W+)?invalid state\b|\bis paused\b|scaled.to.zero",
        "The endpoint is paused; resume it, and the run goes on. With wake=True it is resumed.",
    ),
    Rule(
        "context_length_exceeded",
        ROW,
        _on(400, 413, 422),
        _TOO_LONG,
        "Shorten the conversation or lower max_new_tokens.",
    ),
    Rule(
        "not_found",
        RUN,
        _on(400),
        r"model_not_(?:found|supported)|supported by any provider|model\b.{0,99} does not exist",
        "Check the name of the model.",
    ),
    Rule("bad_request", ROW, _on(400)),
    Rule(
        "unauthorized",
        RUN,
        _on(401),
        hint="The token was rejected. Set HF_TOKEN or api_key to a valid one and run again.",
    ),
    Rule(
        "no_credit",
        RUN,
        _on(402),
        hint="The account that pays has no credit left. Top it up and run again.",
    ),
    Rule(
        "no_credit",
        RUN,
        _on(429),
        r"insufficient.quota|exceeded your current quota|out of credit",
        "The account that pays has no quota left. Raise it and run again.",
    ),
    Rule(
        "forbidden",
        RUN,
        _on(403),
        hint=(
            "The token may not use this model or endpoint: accept the model's licence, or give "
            "the token the permission to make calls to inference."
        ),
    ),
    Rule(
        "not_found",
        RUN,
        _on(404, 405, 410),
        hint="Check the URL's path and the name of the model.",
    ),
    Rule("proxy_auth", RUN, _on(407), hint="The proxy on the way wants a login; see HTTPS_PROXY."),
    Rule("request_timeout", TRANSIENT, _on(408, 499)),
    Rule("conflict", TRANSIENT, _on(409, 425)),
    Rule("too_large", ROW, _on(413), hint="The request is larger than the server takes."),
    Rule("invalid_row", ROW, _on(422)),
    Rule("generation_failed", TRANSIENT, _on(424)),
    Rule("rate_limited", THROTTLE, _on(429, 529)),
    # Apache's usual 503 speaks of capacity problems too, and means that nothing is there.
    Rule(
        "overloaded",
        THROTTLE,
        _on(503),
        r"overload|too many|(?<!or )\bcapacity|\bbusy|queue is full|no slot",
    ),
    Rule("starting", UNAVAILABLE, _on(503)),
    Rule("gateway_timeout", TRANSIENT, _on(504, 524)),
    Rule("bad_gateway", TRANSIENT, _on(502, 520, 521, 522, 523)),
    Rule("unsupported", RUN, _on(501), hint="The server does not have this route."),
)
"""What a status means; the first that fits."""

_REJECTED: Final = Rule("rejected", ROW)
_SERVER_ERROR: Final = Rule("server_error", TRANSIENT)
_WEB_PAGE: Final = Rule(
    "web_page", BAD_RESPONSE, hint="The URL answers with a web page, not an API."
)
_EMPTY: Final = Rule("empty", BAD_RESPONSE)
_BAD_UTF8: Final = Rule("bad_utf8", BAD_RESPONSE)
_UNUSABLE: Final = Rule("unusable", BAD_RESPONSE)
_TRUNCATED: Final = Rule("truncated", TRANSIENT)
_STREAM_ERROR: Final = Rule("stream_error", TRANSIENT)

OTHER_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("any other 4xx", _REJECTED),
    ("any other status", _SERVER_ERROR),
    ("200 with a web page", _WEB_PAGE),
    ("200 with an answer that ended and has no text", _EMPTY),
    ("200 with text that is no UTF-8", _BAD_UTF8),
    ("200 with anything else that is no answer", _UNUSABLE),
    ("a stream that ends before its answer", _TRUNCATED),
    ("any other error inside a stream", _STREAM_ERROR),
)
"""What is seen where no rule names it, and what it means."""

BODY_RULES: Final[tuple[Rule, ...]] = (
    Rule("context_length_exceeded", ROW, pattern=_TOO_LONG),
    Rule("no_credit", RUN, pattern=r"insufficient.quota|payment required|out of credit"),
    Rule("rate_limited", THROTTLE, pattern=r"rate.?limit|overload|too many requests|slow.?down"),
    Rule("unauthorized", RUN, pattern=r"invalid.api.key|unauthori[sz]ed|invalid token"),
    Rule("starting", UNAVAILABLE, pattern=r"is (currently )?loading|loading model|starting up"),
    Rule("bad_request", ROW, pattern=r"invalid.request|bad.?request|validation"),
)
"""What an error inside a 200 means when it has no status of its own; the first that fits."""

_SLOW: Final = "The server is stuck, or has more requests than it can serve: set max_concurrency."

FAULTS: Final[Mapping[WireFault, tuple[FailureKind, str | None]]] = {
    WireFault.REFUSED: (UNAVAILABLE, "Nothing listens there. Is the server started?"),
    WireFault.DNS: (UNAVAILABLE, "The host's name does not resolve. Check the URL."),
    WireFault.CONNECT_TIMEOUT: (UNAVAILABLE, "The host does not take connections."),
    WireFault.TLS: (
        RUN,
        (
            "The certificate could not be verified. For a private authority, give its certificate "
            "with ca_file; verification cannot be turned off."
        ),
    ),
    WireFault.FIRST_TOKEN_TIMEOUT: (TRANSIENT, _SLOW),
    WireFault.TOKEN_TIMEOUT: (TRANSIENT, _SLOW),
    WireFault.RESET: (TRANSIENT, None),
    WireFault.TRUNCATED: (TRANSIENT, None),
    WireFault.TOO_LARGE: (BAD_RESPONSE, None),
    WireFault.ENCODING: (BAD_RESPONSE, None),
    WireFault.PROTOCOL: (BAD_RESPONSE, None),
    WireFault.ORIGIN: (RUN, "The endpoint sends requests elsewhere; give that URL as base_url."),
}
"""What went wrong below a complete HTTP response: its class, and how to mend it."""

UNREADABLE: Final = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What the libraries raise on events that are none."""

_LONGEST_BELIEVED: Final = 30 * 86_400.0
"""Seconds. A longer `Retry-After` is a point in time, or nonsense."""


def is_usable(answer: Answer, exchange: Exchange, request: Request) -> bool:
    """Whether what came is an answer: says something, in UTF-8 or where that does not matter."""
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
        answer: what came, where it is one and not usable.
    """
    if answer is not None:
        return _classify_answer(answer, exchange)
    secrets = [secret.get_secret_value() for secret in exchange.secrets]
    failure = _classify(exchange, request, error, secrets)
    return replace(
        failure,
        message=hide(failure.message, secrets),
        request_id=failure.request_id and _request_id(exchange.headers, request, secrets),
    )


def _classify(
    exchange: Exchange, request: Request, error: BaseException | None, secrets: list[str]
) -> Failure:
    status, body = exchange.status, exchange.body()
    if body is not None and secrets:
        # Here too: what is shortened later may end in half of one.
        body = hide(body.decode(errors="replace"), secrets).encode()
    content = body or b""
    if status is not None and not 200 <= status < 300:
        return classify_status(status, exchange.headers, content, request)
    if exchange.fault is not None:
        return _classify_fault(exchange.fault, exchange, request)
    if status is None:
        return _classify_unsent(error, request)
    if wording.is_page(content, exchange.headers.get("content-type", "")):
        said = f"a web page: {wording.page_title(content)!r}"
        return _failure(_WEB_PAGE, status, exchange.headers, redact(said, request))
    if body is None:
        return _classify_stream(status, exchange, request, error)
    return _classify_unusable(status, exchange, body, request)


def classify_status(
    status: int, headers: Mapping[str, str], body: bytes, request: Request | None = None
) -> Failure:
    """What an HTTP error answer means."""
    return _by_status(status, headers, redact(wording.words_in(body), request))


def _by_status(status: int, headers: Mapping[str, str], said: str) -> Failure:
    rule = next((rule for rule in RULES if rule.fits(status, said)), None)
    if rule is None:
        rule = _REJECTED if 400 <= status < 500 else _SERVER_ERROR
    if rule.code == "redirect":
        said = f"the server answered {status} with a redirect to {_place(headers)}"
    return _failure(rule, status, headers, said or f"HTTP {status}")


def _failure(rule: Rule, status: int, headers: Mapping[str, str], said: str) -> Failure:
    """`said` has gone through `redact`, or is ours."""
    return Failure(
        kind=rule.kind,
        code=rule.code,
        status=status,
        message=said,
        retry_after=retry_after(headers),
        retryable=headers.get("x-should-retry", "").strip().lower() != "false",
        request_id=_request_id(headers),
        hint=rule.hint,
    )


def _request_id(
    headers: Mapping[str, str], request: Request | None = None, secrets: Iterable[str] = ()
) -> str | None:
    given = headers.get("x-request-id") or headers.get("x-amzn-requestid")
    return redact(hide(given, secrets), request)[:200] if given else None


def _classify_answer(answer: Answer, exchange: Exchange) -> Failure:
    """An answer that came to its end, and cannot be used."""
    rule, said = (
        (_BAD_UTF8, "the answer is no UTF-8")
        if answer.completions
        else (_EMPTY, "the answer came to its end and has no text in it")
    )
    return _failure(rule, exchange.status or 200, exchange.headers, said)


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
    said = f"{type(error).__name__}: {redact(str(error), request) if refused else 'unexpected'}"
    return Failure(
        kind=ROW if refused else TRANSIENT,
        code="client",
        message=f"the client library failed before it sent anything: {said}",
    )


def _classify_stream(
    status: int, exchange: Exchange, request: Request, error: BaseException | None
) -> Failure:
    """A stream that brought no answer: an error among its events, nonsense, or a cut."""
    headers, told = exchange.headers, _told(error)
    if error is None:
        said = "the stream ended before the answer did"
        return _failure(_TRUNCATED, status, headers, said)
    if told is None and isinstance(error, UNREADABLE):
        said = f"an event of the stream could not be read ({type(error).__name__})"
        return _failure(_UNUSABLE, status, headers, said)
    inner, said = wording.error_in({"error": told})
    said = redact(said or str(error), request)
    return _disguised(inner, status, headers, said) or _failure(
        _STREAM_ERROR, status, headers, f"an error inside a stream: {said}"
    )


def _told(error: BaseException | None) -> Any:
    """The error object among a stream's events: openai's exception has it, hub's is made of it."""
    made_of = error.args[0] if error is not None and error.args else None
    return getattr(error, "body", None) or (made_of if isinstance(made_of, dict) else None)


def _classify_unusable(status: int, exchange: Exchange, body: bytes, request: Request) -> Failure:
    """A 200 without a usable answer: an error in disguise, or nonsense."""
    inner, said = wording.error_in(wording.load(body))
    said = redact(said, request)
    reason = f"an error inside a {status}: {said}" if said else _unusable_reason(body)
    return _disguised(inner, status, exchange.headers, said) or _failure(
        _UNUSABLE, status, exchange.headers, reason
    )


def _disguised(
    inner: int | None, status: int, headers: Mapping[str, str], said: str
) -> Failure | None:
    """What an error that came with a good status would have meant with its own."""
    if inner is not None:
        return _by_status(inner, headers, said)
    rule = next((rule for rule in BODY_RULES if said and rule.fits(status, said)), None)
    return _failure(rule, status, headers, said) if rule else None


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
    """Seconds the server asks us to wait; `None` where it does not say, or nonsense.

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
