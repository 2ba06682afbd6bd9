"""What servers, gateways and providers mean by a status and by their words: one table.

Rules
- The first rule that fits wins. A rule looks at the status, at phrases, or at both.
- The phrases are the servers' own; `tests/clients/test_failures_words.py` has each in its place.
- A refusal that is taken for everybody's (`RUN`) is judged by what happens to others before it ends
  anything, so a phrase there may be generous. What is surely the row's, or surely missing money, is
  not judged again: these phrases are narrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import Final

from distilabel_endpoints._clients.transport import WireFault
from distilabel_endpoints.records import FailureKind, Request

__all__ = [
    "BAD_UTF8",
    "BROKEN_OFF",
    "EMPTY",
    "FAULTS",
    "OTHER_RULES",
    "REJECTED",
    "RULES",
    "SERVER_ERROR",
    "STREAM_ERROR",
    "TRUNCATED",
    "UNUSABLE",
    "WEB_PAGE",
    "Rule",
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


_NUMBER: Final = r"(\d{1,3}(?:,\d{3}){1,3}|\d{1,9})\b"
_MOST_TOKENS: Final = re.compile(
    r"(?:maximum context length (?:is|of)|context (?:length|size|window)(?: is| of)?|must be <="
    r"|less than or equal to|at most|range of max_tokens (?:is|should be) \[\d{1,9},|\blimit:?"
    r"|限制范围\[\d{1,9},|supported range is from \d{1,9} \(inclusive\) to|model limit of)"
    rf"[\s`'\"(]{{0,4}}{_NUMBER}|> {_NUMBER}, which is the maximum",
    re.IGNORECASE,
)
_LIMIT_AND_REQUESTED: Final = re.compile(
    rf"\blimit:? {_NUMBER}.{{0,60}}\brequested:? {_NUMBER}", re.IGNORECASE
)
_A_LIMIT: Final = re.compile(r"\blimit:? (\d{1,12})\b(?!\.\d)", re.IGNORECASE)
_LEFT: Final = re.compile(
    r"(?:only afford|limit exceeded: [\d,]{1,12} >|remain quota|剩余额度)[\s:：]{0,3}[^\s\w.-]?"
    r"([\d,.]{1,20})",
    re.IGNORECASE,
)


def _count(number: str) -> int:
    return int(number.replace(",", ""))


def _asks_for_too_much(text: str, request: Request | None) -> bool:
    """`max_new_tokens` alone is as much as the server allows in all: no prompt is to blame."""
    wanted = request.max_new_tokens if request is not None and not request.grown else None
    most = _MOST_TOKENS.search(text)
    return wanted is not None and most is not None and wanted >= _count(most[1] or most[2])


def _is_content(text: str, _: Request | None) -> bool:
    """Policies are also those of an organisation or a network: about who asks, not what."""
    return _any_of(_OF_CONTENT).search(text) is not None


def _is_some_left(text: str, _: Request | None) -> bool:
    """A cheaper request can still be paid."""
    left = _LEFT.search(text)
    return left is not None and re.search("[1-9]", left[1]) is not None


def _is_limit_zero(text: str, _: Request | None) -> bool:
    """A limit of nothing is not a rate: the account's plan does not have the model."""
    limits = _A_LIMIT.findall(text)
    return bool(limits) and not any(map(int, limits))


def _never_fits(text: str, _: Request | None) -> bool:
    """This one request is larger than what a whole minute allows."""
    numbers = _LIMIT_AND_REQUESTED.search(text)
    if numbers is None:
        return "request too large" in text.lower()
    return _count(numbers[2]) > _count(numbers[1])


# What servers and gateways say, in their own words; see `docs/failures.md`.
_OUTPUT_TOKENS: Final = (
    "max tokens", "max new tokens", "max completion tokens", "max output tokens",
    "in the completion", "for the completion", "output tokens", "request too large",
    "maximum tokens you requested",
)  # fmt: skip
_TOO_LONG: Final = (
    "context length", "maximum context", "context size", "context window", "context limit",
    "prompt is too long", "input is too long", "conversation is too long", "request is too long",
    "prompt too long", "input too long", "string above max length", "maximum prompt length",
    "maximum model length", "max seq len", "max model len", "model token limit",
    "exceeds max length", "exceeds maximum length", "range of input length",
    "must be <= ... tokens", "must have less than ... tokens", "token count ... exceed",
    "tokens in the prompt ... exceed",
    "exceeds the maximum number of tokens", "tokens to keep from the initial prompt",
    "input length ... exceeds", "max input characters", "session len", "^token limit", "超长",
    "token count ... supports up to", "maximum input length", "input length limit",
    "model max length", "max input len", "too many tokens: size limit",
)  # fmt: skip
_FILTERED: Final = (
    "content filter", "content management policy", "content policy", "ResponsibleAI policy",
    "content exists risk", "data inspection failed", "inappropriate content", "sensitive content",
    "sensitive information", "new sensitive", "敏感内容", "不安全", "input ... flagged",
    "prompt ... flagged", "content ... flagged", "message ... flagged", "text ... flagged",
    "conversation ... flagged", "output ... flagged", "needs moderation",
    "requires moderation", "moderation blocked", "blocked by moderation", "considered high risk",
    "usage policy", "usage policies", "usage guidelines", "violated guardrail",
    "guardrail check", "guardrail intervened", "blocked by guardrail", "blocked by ... guardrail",
    "prohibited content", "safety system", "prompt injection", "jailbreak", "content blocked",
    "prompt blocked", "response blocked", "content for safety reasons", "censorship blocked",
    "content you provided ... blocked", "blocked by ... moderation", "审核不通过",
)  # fmt: skip
_A_POLICY: Final = (
    "violates ... policy", "violated ... policy", "violate ... policy", "violation of ... policy",
    "violates ... policies", "violated ... policies", "violate ... policies",
    "violation of ... policies",
)  # fmt: skip
_OF_CONTENT: Final = (
    "content", "prompt", "input", "output", "message", "text", "conversation", "response",
    "guardrail", "safety", "moderat", "acceptable use", "use policy", "use policies", "harmful",
    "our polic",
)  # fmt: skip
_NO_CREDIT: Final = (
    "insufficient quota", "insufficient user quota", "insufficient balance", "insufficient credit",
    "insufficient fund", "balance is insufficient", "balance insufficient", "balance is too low",
    "positive balance", "not enough balance", "not enough credit", "out of credit",
    "run out of fund", "have any credits", "no credit left", "no credits left",
    "all available credits", "included credits", "credits are depleted", "credits expired",
    "can only afford", "credit limit", "spend limit", "spending limit", "spending cap",
    "key limit exceeded", "API usage limits", "billing hard limit", "billing not active",
    "billing to be enabled", "payment required", "payment method", "arrear", "overdue",
    "account is in good standing", "recharge", "余额不足", "额度不足", "额度已用尽", "欠费",
    "exceeded_current_quota", "token quota reached", "token quota is not enough",
    "free tier of the model has been exhausted", "set inference limit",
    "budget has been exceeded", "budget exceeded", "exceeded budget", "over budget",
    "crossed budget", "exceeded token budget", "daily free allocation", "budget exhausted",
    "monthly quota", "monthly usage quota", "monthly usage limit", "weekly usage limit",
    "calls / month", "usage limit exceeded",
)  # fmt: skip
# OpenRouter's, and those of gateways that charge a request before it is sent.
_ITS_PRICE: Final = (
    "can only afford #", "prompt tokens limit exceeded", "need quota", "需要预扣费额度",
)  # fmt: skip
_A_RATE: Final = (
    "retry in #", "retry after #", "try again in #", "try again after #", "per minute", "per min",
    "per hour", "per day", "per second", "requests per", "tokens per", "free tier", "RPM", "TPM",
    "RPD", "TPD", "rate limited", "rate limit reached", "rate limit exceeded",
    # Alibaba's, which calls its limits a minute a quota
    "allocated quota exceeded", "error code token limit",
)  # fmt: skip
_NOT_TAKEN: Final = (
    "no endpoints found that support", "provide the mmproj", "image input is not supported",
    "images are not supported", "image ... not supported", "audio ... not supported",
    "video ... not supported", "vision ... not supported", "tool ... not supported",
    "multimodal ... not supported", "not support ... image", "not support ... audio",
    "not support ... video", "not support ... vision", "not support ... tool",
    "not support ... multimodal", "not a multimodal model", "only supported by certain models",
)  # fmt: skip
_NO_MODEL: Final = (
    "model_not_found", "model_not_supported", "supported by any provider", "invalid model name",
    "invalid model", "not a valid model", "model ... does not exist", "model ... not found",
    "no models are currently loaded", "no models loaded", "unknown model",
    "model identifier is invalid", "on demand throughput", "has been decommissioned",
    "model_not_available", "work with the specified model", "模型不存在",
    "unexpected endpoint or method", "model not exist", "no such model", "please specify a model",
    "server is pinned to",
)  # fmt: skip
_BAD_KEY: Final = (
    "invalid API key", "incorrect API key", "wrong API key", "API key not valid",
    "API key is invalid", "API key expired", "expired key", "no API key", "invalid authorization",
    "missing authorization", "missing API key", "not authenticated", "expired token",
    "token expired", "token has expired", "signature expired", "invalid access token",
    "access token invalid", "security token included in the request", "API key not found",
    "API key invalid", "failed to authenticate API key",
)  # fmt: skip
_NO_KEYS: Final = ("no connected db", "no_db_connection")
_RESTRICTED: Final = (
    "organization has been restricted", "organization has been disabled",
    "location is not supported", "requires terms acceptance",
)  # fmt: skip
_PRIVACY: Final = ("data policy", "guardrail restrictions")
_PLAIN_HTTP: Final = (
    "plain HTTP request was sent to HTTPS", "HTTP request to an HTTPS server",
    "speaking plain HTTP",
)  # fmt: skip
_LOST: Final = (
    "model has crashed", "model is unloaded", "model unloaded", "model reloaded", "channel error",
)  # fmt: skip
_TOO_MANY_BYTES: Final = (
    "message larger than max", "body too large", "payload too large", "entity too large",
)  # fmt: skip
_A_RATE_BY_ANOTHER_STATUS: Final = (
    "quota will be replenished", "too many requests", "throttling exception",
    "rate limit exceeded", "rate limit quota violation", "spike arrest violation",
)  # fmt: skip
# Apache's usual 503 speaks of capacity problems too, and means that nothing is there.
_FULL: Final = (
    "overload", "too many", "at capacity", "at maximum capacity", "no capacity",
    "no available capacity", "out of capacity", "over capacity", "capacity exceeded",
    "capacity temporarily", "insufficient capacity", "busy", "queue is full", "maximum queue size",
    "backpressure", "high demand", "high traffic", "concurrency limit", "no slot", "backlog limit",
    "waiting timeout", "running timeout", "by a higher priority", "limiting requests",
    "reset reason: overflow", "slow down", "request limit reached", "频繁", "速率限制",
)  # fmt: skip
_LOADING: Final = (
    "is loading", "still loading", "currently loading", "loading model", "is starting",
    "starting up", "warming up",
)  # fmt: skip
_FIREWALL: Final = (
    "cloudflare", "firewall", "you have been blocked", "incapsula", "akamai", "incident id",
    "request blocked", "just a moment", "enable javascript", "error code: 10##",
)  # fmt: skip
_UNFINISHED: Final = (
    "json_validate_failed", "tool_use_failed", "failed to generate JSON",
    "failed to call a function",
)  # fmt: skip

_PAY: Final = "The account that pays has no credit left, or a budget is spent. Raise it and resume."
_CHEAPER: Final = (
    "The credit that is left does not pay for this request. Raise it or lower max_new_tokens, and "
    "resume."
)
_NAME: Final = "Check the URL's path and the name of the model."
_FILTER: Final = "A content filter of the server refuses this conversation."
_STREAM: Final = (
    "A gateway stops waiting before the answer is there. Stream the answers (stream=True, "
    "--stream) or raise the gateway's time-out."
)
_LOGIN: Final = "The proxy on the way wants a login; see HTTPS_PROXY."
_SHORTEN: Final = "Shorten the conversation or lower max_new_tokens."
_TOO_LARGE: Final = "The request is larger than the server takes."

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
        "The endpoint is paused; resume it, and the run continues. With wake=True the run does it.",
    ),
    Rule(
        "content_filter",
        ROW,
        _on(400, 403, 422, 424, 446, 451),
        _FILTERED,
        _FILTER,
    ),
    Rule("content_filter", ROW, _on(400, 403, 422, 446, 451), _A_POLICY, _FILTER, when=_is_content),
    Rule(
        "no_credit",
        RUN,
        _on(429),
        ("limit 0", "limit: 0"),
        "The account's plan has a limit of 0 for this model. Choose another plan or model.",
        when=_is_limit_zero,
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
    # Before those of money: OpenAI's rate limits also speak of "a payment method".
    Rule("rate_limited", THROTTLE, _on(429), _A_RATE),
    Rule("rate_limited", THROTTLE, _on(400, 403, 500), _A_RATE_BY_ANOTHER_STATUS),
    Rule("too_expensive", RUN, _on(402, 403), _ITS_PRICE, _CHEAPER, when=_is_some_left),
    Rule("no_credit", RUN, _on(400, 401, 402, 403, 412, 429), _NO_CREDIT, _PAY),
    # What llama.cpp says when its slots, which share one memory, have filled it together; a prompt
    # that is too long by itself is a 400.
    Rule("overloaded", THROTTLE, _on(500), ("^context size has been exceeded",)),
    Rule("too_large", ROW, _on(400, 413, 429, 500), _TOO_MANY_BYTES, _TOO_LARGE),
    Rule("context_length_exceeded", ROW, _on(400, 413, 422, 500), _TOO_LONG, _SHORTEN),
    Rule(
        "generation_failed",
        TRANSIENT,
        _on(400),
        _UNFINISHED,
        "What the model wrote was not what the request asks for; another try may fit.",
    ),
    Rule(
        "server_error", TRANSIENT, _on(400), _LOST, "The server has lost its model; see its logs."
    ),
    Rule("starting", UNAVAILABLE, _on(400), ("degraded function cannot be invoked",)),
    Rule("not_found", RUN, _on(400), _NO_MODEL, "Check the name of the model."),
    Rule(
        "wrong_scheme",
        RUN,
        _on(400),
        _PLAIN_HTTP,
        "The server speaks TLS there; give the URL with https://.",
    ),
    Rule(
        "forbidden",
        RUN,
        _on(403, 404),
        _PRIVACY,
        "The account's privacy settings rule out every provider of this model; change them there.",
    ),
    Rule(
        "unauthorized",
        RUN,
        _on(400),
        _NO_KEYS,
        "A LiteLLM proxy without a database takes its master key only; give that one.",
    ),
    Rule(
        "unauthorized",
        RUN,
        _on(400, 403, 500),
        _BAD_KEY,
        "The key was rejected. Give a valid one.",
    ),
    Rule(
        "forbidden",
        RUN,
        _on(400),
        _RESTRICTED,
        "The provider does not serve this model to this account, or not in this country.",
    ),
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
        "A firewall in front of the server refused the request; its owner can allow it.",
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
    Rule("proxy_auth", RUN, _on(407), hint=_LOGIN),
    Rule("request_timeout", TRANSIENT, _on(408, 460, 499)),
    Rule("conflict", TRANSIENT, _on(409, 425)),
    Rule("too_large", ROW, _on(413), hint=_TOO_LARGE),
    Rule("invalid_row", ROW, _on(422)),
    Rule("generation_failed", TRANSIENT, _on(424)),
    Rule("no_capacity", TRANSIENT, _on(498)),
    Rule("no_credit", RUN, _on(429), ("exceeded your current quota", "plan and billing"), _PAY),
    Rule(
        "rate_limited",
        THROTTLE,
        _on(420, 429, 529),
        without_status=("rate limit", *_FULL),
    ),
    Rule("overloaded", THROTTLE, _on(503), _FULL),
    Rule("starting", UNAVAILABLE, _on(500), _LOADING),
    Rule("starting", UNAVAILABLE, _on(503)),
    Rule("gateway_timeout", TRANSIENT, _on(504, 524), hint=_STREAM),
    Rule("bad_gateway", TRANSIENT, _on(502, 520, 521, 522, 523, 525, 526, 527, 530)),
    Rule("unsupported", RUN, _on(501), hint="The server does not have this route."),
)
"""What a status, or an error without one, means; the first that fits."""

REJECTED: Final = Rule("rejected", ROW)
SERVER_ERROR: Final = Rule("server_error", TRANSIENT)
WEB_PAGE: Final = Rule(
    "web_page", BAD_RESPONSE, hint="The URL answers with a web page, not an API."
)
EMPTY: Final = Rule("empty", BAD_RESPONSE)
BROKEN_OFF: Final = Rule("broken_off", TRANSIENT)
BAD_UTF8: Final = Rule("bad_utf8", BAD_RESPONSE)
UNUSABLE: Final = Rule("unusable", BAD_RESPONSE)
TRUNCATED: Final = Rule("truncated", TRANSIENT)
STREAM_ERROR: Final = Rule("stream_error", TRANSIENT)

OTHER_RULES: Final[tuple[tuple[str, Rule], ...]] = (
    ("any other 4xx", REJECTED),
    ("any other status", SERVER_ERROR),
    ("200 with a web page", WEB_PAGE),
    ("200 with an answer that ended and has no text", EMPTY),
    ("200 with an answer that the server broke off, by its finish reason", BROKEN_OFF),
    ("200 with text that is not UTF-8", BAD_UTF8),
    ("200 with anything else that is not an answer", UNUSABLE),
    ("a stream that ends before its answer", TRUNCATED),
    ("any other error inside a stream", STREAM_ERROR),
)
"""What is seen if no rule names it, and what it means."""

_COMPRESSED: Final = (
    "Answers are asked for uncompressed. Turn compression off in the gateway on the way."
)
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
    WireFault.ENCODING: (BAD_RESPONSE, _COMPRESSED),
    WireFault.PROTOCOL: (BAD_RESPONSE, None),
    WireFault.PROXY_AUTH: (RUN, _LOGIN),
    WireFault.PROXY_DENIED: (
        RUN,
        "The proxy does not let requests through to this host; see HTTPS_PROXY and NO_PROXY.",
    ),
    WireFault.PROXY_FAILED: (
        UNAVAILABLE,
        "The proxy is not there, or cannot reach the host; see HTTPS_PROXY and NO_PROXY.",
    ),
    WireFault.ORIGIN: (RUN, "The endpoint sends requests elsewhere; give that URL as base_url."),
}
"""What went wrong below a complete HTTP response: its class, and how to fix it."""
