"""The one table that says what a failed exchange means.

Rules
- Status first, then what the body says, then the fault below HTTP. The first rule that fits wins.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from distilabel_endpoints._clients import error_text as wording
from distilabel_endpoints._clients.adapting import refused_parameter
from distilabel_endpoints._clients.error_text import Words, hide, redact
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.records import Answer, Failure, FailureKind, Request

__all__ = [
    "FAULTS",
    "OTHER_RULES",
    "RULES",
    "UNREADABLE",
    "Rule",
    "classify",
    "classify_status",
    "is_usable",
    "retry_after",
    "retry_after_in",
]

THROTTLE = FailureKind.THROTTLE
UNAVAILABLE = FailureKind.UNAVAILABLE
TRANSIENT = FailureKind.TRANSIENT
BAD_RESPONSE = FailureKind.BAD_RESPONSE
ROW = FailureKind.ROW
RUN = FailureKind.RUN


Phrases = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What it means that a server answers with one of `statuses` and says one of the phrases.

    A rule without statuses takes any error status. An error without its own status, inside a
    200 or a stream, is judged by words alone: by `without_status`, or else by `text`.
    """

    code: str
    kind: FailureKind
    statuses: frozenset[int] = frozenset()
    text: Phrases = ()
    hint: str | None = None
    _: KW_ONLY
    without_status: Phrases = ()
    when: Callable[[str, Request | None], bool] | None = None
    """What else has to be true of the words and the request."""

    def fits(self, status: int | None, text: str, request: Request | None = None) -> bool:
        phrases = self.text
        if status is None:
            phrases = self.without_status or phrases
            if not phrases:
                return False
        elif self.statuses and status not in self.statuses:
            return False
        if phrases and _any_of(phrases).search(text) is None:
            return False
        return self.when is None or self.when(text, request)


@cache
def _any_of(phrases: Phrases) -> re.Pattern[str]:
    """Finds any of the phrases, in whatever case, at the beginning of a word.

    A blank stands for whatever joins words (`rate limit`, `rate_limit`, `RateLimit`), `...` for up
    to 80 characters, `#` for a digit, `^` for the beginning of the text.
    """
    return re.compile("|".join(map(_pattern_of, phrases)), re.IGNORECASE)


def _pattern_of(phrase: str) -> str:
    start = r"\A" if phrase.startswith("^") else "(?<![a-z])"
    words = re.escape(phrase.removeprefix("^")).replace(r"\#", r"\d")
    return start + words.replace(r"\ \.\.\.\ ", ".{0,80}?").replace(r"\ ", r"[\W_]{0,3}")


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


_MOST_TOKENS: Final = re.compile(
    r"(?:maximum context length (?:is|of)|context (?:length|size|window)(?: is| of)?|must be <="
    r"|less than or equal to|at most|range of max_tokens is \[\d{1,9},|\blimit:?)"
    r"[\s`'\"(]{0,4}(\d{1,9})\b|> (\d{1,9}), which is the maximum",
    re.IGNORECASE,
)
_LIMIT_AND_REQUESTED: Final = re.compile(
    r"\blimit:? (\d{1,9})\b.{0,60}\brequested:? (\d{1,9})\b", re.IGNORECASE
)


def _asks_for_too_much(text: str, request: Request | None) -> bool:
    """`max_new_tokens` alone is as much as the server allows in all: no prompt is to blame."""
    wanted = request.max_new_tokens if request is not None and not request.grown else None
    most = _MOST_TOKENS.search(text)
    return wanted is not None and most is not None and wanted >= int(most[1] or most[2])


def _never_fits(text: str, _: Request | None) -> bool:
    """This one request is larger than what a whole minute allows."""
    numbers = _LIMIT_AND_REQUESTED.search(text)
    if numbers is None:
        return "request too large" in text.lower()
    return int(numbers[2]) > int(numbers[1])


# What servers and gateways say, in their own words; see `docs/failures.md`.
_OUTPUT_TOKENS: Final = (
    "max tokens", "max new tokens", "max completion tokens", "max output tokens",
    "in the completion", "for the completion", "output tokens", "request too large",
)  # fmt: skip
_TOO_LONG: Final = (
    "context length", "maximum context", "context size", "context window", "prompt is too long",
    "input is too long", "conversation is too long", "request is too long",
    "string above max length", "must be <= ... tokens", "must have less than ... tokens",
)  # fmt: skip
_FILTERED: Final = (
    "content filter", "content management policy", "content policy", "ResponsibleAI policy",
    "content exists risk", "data inspection failed", "inappropriate content", "sensitive content",
    "new sensitive", "敏感内容", "flagged", "needs moderation", "requires moderation",
    "moderation blocked", "blocked by moderation", "considered high risk", "usage policy",
    "usage policies", "usage guidelines", "violates ... policy", "violated ... policy",
    "violates ... policies", "violated guardrail",
)  # fmt: skip
_NO_CREDIT: Final = (
    "insufficient quota", "insufficient balance", "insufficient credit", "insufficient fund",
    "balance is insufficient", "balance is too low", "not enough balance", "not enough credit",
    "out of credit", "no credit left", "no credits left", "all available credits",
    "included credits", "can only afford", "credit limit", "spend limit", "spending limit",
    "payment required", "arrear", "overdue", "account is in good standing", "recharge",
    "余额不足", "欠费", "exceeded_current_quota", "budget has been exceeded", "budget exceeded",
    "exceeded budget", "over budget", "crossed budget",
)  # fmt: skip
_A_RATE: Final = (
    "retry in #", "retry after #", "try again in #", "try again after #", "per minute", "per min",
    "per hour", "per day", "per second", "requests per", "tokens per", "free tier", "RPM", "TPM",
    "RPD", "TPD",
)  # fmt: skip
_NOT_TAKEN: Final = (
    "no endpoints found that support", "provide the mmproj", "image input is not supported",
    "images are not supported", "image ... not supported", "audio ... not supported",
    "video ... not supported", "vision ... not supported", "tool ... not supported",
    "multimodal ... not supported", "not support ... image", "not support ... audio",
    "not support ... video", "not support ... vision", "not support ... tool",
    "not support ... multimodal", "not a multimodal model",
)  # fmt: skip
_NO_MODEL: Final = (
    "model_not_found", "model_not_supported", "supported by any provider", "invalid model name",
    "model ... does not exist",
)  # fmt: skip
_BAD_KEY: Final = (
    "invalid API key", "incorrect API key", "wrong API key", "API key not valid",
    "API key is invalid",
)  # fmt: skip
_NO_KEYS: Final = ("no connected db", "no_db_connection")
# Apache's usual 503 speaks of capacity problems too, and means that nothing is there.
_FULL: Final = (
    "overload", "too many", "at capacity", "no capacity", "no available capacity",
    "out of capacity", "over capacity", "capacity exceeded", "capacity temporarily",
    "insufficient capacity", "busy", "queue is full", "no slot", "backlog limit",
    "waiting timeout", "running timeout", "by a higher priority", "limiting requests",
)  # fmt: skip
_LOADING: Final = (
    "is loading", "still loading", "currently loading", "loading model", "is starting",
    "starting up", "warming up",
)  # fmt: skip
_FIREWALL: Final = (
    "cloudflare", "firewall", "you have been blocked", "incapsula", "akamai", "incident id",
    "request blocked",
)  # fmt: skip
_UNFINISHED: Final = (
    "json_validate_failed", "tool_use_failed", "failed to generate JSON",
    "failed to call a function",
)  # fmt: skip

_PAY: Final = "The account that pays has no credit left, or a budget is spent. Raise it and resume."
_NAME: Final = "Check the URL's path and the name of the model."
_STREAM: Final = (
    "A gateway stops waiting before the answer is there. Stream the answers (stream=True, "
    "--stream) or raise the gateway's time-out."
)
_SHORTEN: Final = "Shorten the conversation or lower max_new_tokens."

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
        ("^invalid state", "^bad request invalid state", "is paused", "scaled to zero"),
        "The endpoint is paused; resume it, and the run goes on. With wake=True it is resumed.",
    ),
    Rule(
        "content_filter",
        ROW,
        text=_FILTERED,
        hint="A content filter of the server refuses this conversation.",
    ),
    Rule(
        "max_tokens_too_large",
        RUN,
        _on(400, 413, 422, 429),
        _OUTPUT_TOKENS,
        "max_new_tokens alone reaches what the server allows in all; lower it.",
        when=_asks_for_too_much,
    ),
    Rule(
        "too_large",
        ROW,
        _on(400, 413, 429),
        ("request too large", "limit ... requested"),
        f"One request may not be that large, however long it waits. {_SHORTEN}",
        when=_never_fits,
    ),
    Rule("no_credit", RUN, _on(400, 401, 402, 403, 412, 429), _NO_CREDIT, _PAY),
    Rule("context_length_exceeded", ROW, _on(400, 413, 422, 500), _TOO_LONG, _SHORTEN),
    Rule(
        "generation_failed",
        TRANSIENT,
        _on(400),
        _UNFINISHED,
        "What the model wrote was not what the request asks for; another try may fit.",
    ),
    Rule("not_found", RUN, _on(400), _NO_MODEL, "Check the name of the model."),
    Rule(
        "unauthorized",
        RUN,
        _on(400),
        _NO_KEYS,
        "A LiteLLM proxy without a database takes its master key only; give that one.",
    ),
    Rule("unauthorized", RUN, _on(400, 403), _BAD_KEY, "The key was rejected. Give a valid one."),
    Rule(
        "unsupported_input",
        ROW,
        _on(400, 404, 422, 500, 501, 503),
        _NOT_TAKEN,
        "The model does not take what this row has in it, such as images or tools.",
    ),
    Rule(
        "bad_request",
        ROW,
        _on(400),
        without_status=("invalid request", "bad request", "validation"),
    ),
    Rule(
        "unauthorized",
        RUN,
        _on(401),
        hint="The token was rejected. Set HF_TOKEN or api_key to a valid one and run again.",
        without_status=(*_BAD_KEY, "unauthorized", "unauthorised", "invalid token", "login fail"),
    ),
    Rule("no_credit", RUN, _on(402), hint=_PAY),
    Rule(
        "blocked",
        RUN,
        _on(403, 451),
        _FIREWALL,
        "A firewall before the server refused the request; its owner can let it pass.",
    ),
    Rule(
        "forbidden",
        RUN,
        _on(403, 451),
        hint=(
            "The token may not use this model or endpoint: accept the model's licence, or give "
            "the token the permission to make calls to inference."
        ),
    ),
    Rule("not_found", RUN, _on(404, 405, 410), hint=_NAME),
    Rule("proxy_auth", RUN, _on(407), hint="The proxy on the way wants a login; see HTTPS_PROXY."),
    Rule("request_timeout", TRANSIENT, _on(408, 499)),
    Rule("conflict", TRANSIENT, _on(409, 425)),
    Rule("too_large", ROW, _on(413), hint="The request is larger than the server takes."),
    Rule("invalid_row", ROW, _on(422)),
    Rule("generation_failed", TRANSIENT, _on(424)),
    Rule("no_capacity", TRANSIENT, _on(498)),
    Rule("rate_limited", THROTTLE, _on(429), _A_RATE),
    Rule("no_credit", RUN, _on(429), ("exceeded your current quota", "plan and billing"), _PAY),
    Rule(
        "rate_limited",
        THROTTLE,
        _on(429, 529),
        without_status=("rate limit", "slow down", *_FULL),
    ),
    Rule("overloaded", THROTTLE, _on(503), _FULL),
    Rule("starting", UNAVAILABLE, _on(500), _LOADING),
    Rule("starting", UNAVAILABLE, _on(503)),
    Rule("gateway_timeout", TRANSIENT, _on(504, 524), hint=_STREAM),
    Rule("bad_gateway", TRANSIENT, _on(502, 520, 521, 522, 523)),
    Rule("unsupported", RUN, _on(501), hint="The server does not have this route."),
)
"""What a status, or an error without one, means; the first that fits."""

_NO_KEY: Final = (
    "No key was sent. Give one as api_key, or on the command line with --api-key-env NAME; a "
    "token in HF_TOKEN goes to Hugging Face's hosts and this machine only."
)
_REJECTED: Final = Rule("rejected", ROW)
_SERVER_ERROR: Final = Rule("server_error", TRANSIENT)
_WEB_PAGE: Final = Rule(
    "web_page", BAD_RESPONSE, hint="The URL answers with a web page, not an API."
)
_EMPTY: Final = Rule("empty", BAD_RESPONSE)
_BROKEN_OFF: Final = Rule("broken_off", TRANSIENT)
_BAD_UTF8: Final = Rule("bad_utf8", BAD_RESPONSE)
_UNUSABLE: Final = Rule("unusable", BAD_RESPONSE)
_TRUNCATED: Final = Rule("truncated", TRANSIENT)
_STREAM_ERROR: Final = Rule("stream_error", TRANSIENT)

OTHER_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("any other 4xx", _REJECTED),
    ("any other status", _SERVER_ERROR),
    ("200 with a web page", _WEB_PAGE),
    ("200 with an answer that ended and has no text", _EMPTY),
    ("200 with an answer that the server broke off, by its finish reason", _BROKEN_OFF),
    ("200 with text that is not UTF-8", _BAD_UTF8),
    ("200 with anything else that is not an answer", _UNUSABLE),
    ("a stream that ends before its answer", _TRUNCATED),
    ("any other error inside a stream", _STREAM_ERROR),
)
"""What is seen if no rule names it, and what it means."""

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
"""What went wrong below a complete HTTP response: its class, and how to fix it."""

UNREADABLE: Final = (TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""What the libraries raise on events that are none."""

_ASKED_WAIT: Final = re.compile(
    r"(?:retry|try again|wait|available)(?:ing)? (?:in|after|for) "
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
        parameter=refused_parameter(exchange.body() or b"", request),
        in_answer=exchange.status is not None and 200 <= exchange.status < 300,
        request_id=failure.request_id and _request_id(exchange.headers, request, secrets),
    )


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
        return _failure(_WEB_PAGE, status, exchange, redact(f"a web page: {title!r}", request))
    if body is None:
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
        rule = _REJECTED if 400 <= status < 500 else _SERVER_ERROR
    shown = words.shown
    if rule.code == "redirect":
        shown = f"the server answered {status} with a redirect to {_place(headers)}"
    failure = _failure(rule, status, headers, shown or f"HTTP {status}")
    return _with_wait(failure, words)


def _keyless(failure: Failure, exchange: Exchange) -> Failure:
    """If no key was sent, the hint says so, and not that a key was rejected."""
    asks_for_one = failure.code == "unauthorized" or failure.status == 401
    return replace(failure, hint=_NO_KEY) if asks_for_one and not exchange.keyed else failure


def _with_wait(failure: Failure, words: Words) -> Failure:
    """With the wait that the words ask for, if no header does."""
    if failure.retry_after is not None or failure.kind not in {THROTTLE, UNAVAILABLE}:
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
    given = headers.get("x-request-id") or headers.get("x-amzn-requestid")
    return redact(hide(given, secrets), request)[:200] if given else None


def _classify_answer(answer: Answer, exchange: Exchange) -> Failure:
    """An answer that came to its end, and cannot be used."""
    if answer.broken_off is not None:
        rule, said = _BROKEN_OFF, f"the server broke its answer off: {answer.broken_off}"
    elif answer.completions:
        rule, said = _BAD_UTF8, "the answer is not UTF-8"
    else:
        rule, said = _EMPTY, "the answer came to its end and has no text in it"
    return _failure(rule, exchange.status or 200, exchange, said)


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
    status: int,
    exchange: Exchange,
    request: Request,
    error: BaseException | None,
    secrets: list[str],
) -> Failure:
    """A stream that brought no answer: an error among its events, nonsense, or a cut."""
    event = _event(error)
    if error is None:
        return _failure(_TRUNCATED, status, exchange, "the stream ended before the answer did")
    if event is None and isinstance(error, UNREADABLE):
        shown = f"an event of the stream could not be read ({type(error).__name__})"
        return _failure(_UNUSABLE, status, exchange, shown)
    told = json.dumps({"error": str(error) if event is None else event}, default=str).encode()
    return _disguised(status, exchange, told, request, secrets) or _failure(
        _STREAM_ERROR,
        status,
        exchange,
        f"an error inside a stream: {_error_words(told, request, secrets).shown or 'no words'}",
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
        _UNUSABLE, status, exchange, reason
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
    asked = _ASKED_WAIT.search(text)
    if asked is None:
        return None
    parts = _A_TIME.findall(asked[1])
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
