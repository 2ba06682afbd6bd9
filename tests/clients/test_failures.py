"""What a failed exchange means: every status, every server's own words, every fault below HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import OverloadedError
from openai import APIError

from distilabel_endpoints._clients.failures import classify, classify_status, retry_after
from distilabel_endpoints._clients.rules import RULES
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import MESSAGE_LIMIT, Failure, FailureKind, Request

THROTTLE, UNAVAILABLE = FailureKind.THROTTLE, FailureKind.UNAVAILABLE
TRANSIENT, BAD_RESPONSE = FailureKind.TRANSIENT, FailureKind.BAD_RESPONSE
ROW, RUN = FailureKind.ROW, FailureKind.RUN
ASKED = Request(ordinal=0, messages=[{"role": "user", "content": "What is the capital of Peru?"}])

NGINX = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body>"
)
APACHE_SAYS = (
    "The server is temporarily unable to service your request due to maintenance downtime "
    "or capacity problems. Please try again later."
)
APACHE = (
    "<!DOCTYPE HTML><html><head><title>503 Service Unavailable</title><style>p{top:0}</style>"
    f"</head><body><p>{APACHE_SAYS}</p><script>if (a<b) go()</script>"
).encode()


def exchange(status: int, body: bytes | None, **headers: str) -> Exchange:
    told = httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    response = None if body is None else httpx2.Response(status, headers=told, content=body)
    return Exchange(status=status, headers=told, response=response)


def classified(status: int, body: Any, **headers: str) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(exchange(status, raw, **headers), ASKED)


def openai_error(message: str, code: Any = None, kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.promise("R4")
@pytest.mark.parametrize(
    ("status", "kind", "code", "hinted"),
    [
        (300, RUN, "redirect", True), (301, RUN, "redirect", True), (302, RUN, "redirect", True),
        (303, RUN, "redirect", True), (307, RUN, "redirect", True), (308, RUN, "redirect", True),
        (400, ROW, "bad_request", False),
        (401, RUN, "unauthorized", True),
        (402, RUN, "no_credit", True),
        (403, RUN, "forbidden", True),
        (404, RUN, "not_found", True), (405, RUN, "not_found", True), (410, RUN, "not_found", True),
        (407, RUN, "proxy_auth", True),
        (408, TRANSIENT, "request_timeout", False), (499, TRANSIENT, "request_timeout", False),
        (409, TRANSIENT, "conflict", False), (425, TRANSIENT, "conflict", False),
        (413, ROW, "too_large", True),
        (418, ROW, "rejected", False), (431, ROW, "rejected", False),
        (422, ROW, "invalid_row", False),
        (424, TRANSIENT, "generation_failed", False),
        (429, THROTTLE, "rate_limited", False), (529, THROTTLE, "rate_limited", False),
        (500, TRANSIENT, "server_error", False), (505, TRANSIENT, "server_error", False),
        (501, RUN, "unsupported", True),
        (502, TRANSIENT, "bad_gateway", False), (520, TRANSIENT, "bad_gateway", False),
        (503, UNAVAILABLE, "starting", False),
        (504, TRANSIENT, "gateway_timeout", True), (524, TRANSIENT, "gateway_timeout", True),
        (204, BAD_RESPONSE, "unusable", False), (304, TRANSIENT, "server_error", False),
    ],
)  # fmt: skip
def test_a_bare_status(status: int, kind: FailureKind, code: str, hinted: bool) -> None:
    """Without a body the status alone decides; what a person can fix has a hint."""
    failure = classified(status, b"")
    assert (failure.kind, failure.code, failure.status) == (kind, code, status)
    assert (failure.hint is not None) is hinted
    assert str(status) in failure.message or failure.message == "an empty body"


TOO_LONG = "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens"
CONTEXT = "context_length_exceeded"
SAID: dict[str, tuple[int, Any, FailureKind, str]] = {
    "paused": (400, {"error": "Bad Request: Invalid state"}, UNAVAILABLE, "paused"),
    "paused-two-fields": (
        400, {"error": "Bad Request", "message": "Invalid state"}, UNAVAILABLE, "paused"),
    "paused-words": (400, {"message": "The endpoint is paused, resume it"}, UNAVAILABLE, "paused"),
    "scaled-to-zero": (400, {"error": "Endpoint is scaled to zero"}, UNAVAILABLE, "paused"),
    "not-paused": (400, openai_error("the grammar has an invalid state"), ROW, "bad_request"),
    "openai-context": (400, openai_error("too long", CONTEXT), ROW, CONTEXT),
    "vllm-context": (400, openai_error("This model's maximum context length is 9."), ROW, CONTEXT),
    "sglang-context": (
        400, {"object": "error", "message": "over the model's context length"}, ROW, CONTEXT),
    "llamacpp-context": (
        400, {"error": {"code": 400, "message": "exceeds the context size"}}, ROW, CONTEXT),
    "tgi-context": (422, {"error": f"Input validation error: {TOO_LONG}"}, ROW, CONTEXT),
    "tgi-input": (422, {"error": "`inputs` must have less than 9 tokens. Given: 10"}, ROW, CONTEXT),
    "tgi-template": (
        422, {"error": "Template error: x", "error_type": "template_error"}, ROW, "invalid_row"),
    "router-model": (400, openai_error("The model 'm' is ...", "model_not_supported"), RUN,
                     "not_found"),
    "vllm-model": (404, openai_error("The model `m` does not exist.", 404), RUN, "not_found"),
    "tgi-oom": (424, {"error": "CUDA out of memory"}, TRANSIENT, "generation_failed"),
    "tgi-overloaded": (
        429, {"error": "Model is overloaded", "error_type": "overloaded"}, THROTTLE,
        "rate_limited"),
    "openai-quota": (429, openai_error("No quota", "insufficient_quota"), RUN, "no_credit"),
    "429-string": (429, b'"slow down"', THROTTLE, "rate_limited"),
    "429-list": (429, b'["slow down", {"x": 1}]', THROTTLE, "rate_limited"),
    "llamacpp-loading": (503, {"error": {"message": "Loading model"}}, UNAVAILABLE, "starting"),
    "llamacpp-slots": (503, {"error": {"message": "no slot available"}}, THROTTLE, "overloaded"),
    "hub-loading": (503, {"error": "Model m is currently loading"}, UNAVAILABLE, "starting"),
    "hub-busy": (503, {"error": "Model too busy, no response"}, THROTTLE, "overloaded"),
    "overloaded": (503, openai_error("Server overloaded", 503), THROTTLE, "overloaded"),
    "at-capacity": (503, {"error": "We are at capacity"}, THROTTLE, "overloaded"),
    "apache": (503, APACHE, UNAVAILABLE, "starting"),
    "invalid-utf8": (503, b"\xff\xfe overload \x80", THROTTLE, "overloaded"),
    "nginx": (502, NGINX, TRANSIENT, "bad_gateway"),
    "413-html": (413, b"<html><body>413 Too Large</body></html>", ROW, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "code"), SAID.values(), ids=SAID)
def test_what_a_server_says_with_its_status(
    status: int, body: Any, kind: FailureKind, code: str
) -> None:
    """Every server's own wording of the failures whose meaning the body decides."""
    failure = classified(status, body)
    assert (failure.kind, failure.code, failure.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (openai_error("Wrong", "bad"), "Wrong: invalid_request_error: bad"),
        ({"error": "E", "error_type": "validation"}, "E: validation"),
        ({"error": ["a", "b"]}, "a: b"),
        ({"errors": [{"message": "m1"}, {"message": "m2"}]}, "m1: m2"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"loc": ["body"], "msg": "Field required", "type": "missing", "input": "X"}]},
         "Field required: missing"),
        ({"title": "Denied", "detail": "why", "status": 500}, "Denied: why"),
        ({"error": {"message": "same"}, "message": "same"}, "same"),
        ("plain", "plain"),
        ({"other": 1}, "HTTP 500"),
        (b"{}", "HTTP 500"), (b"[]", "HTTP 500"), (b"7", "HTTP 500"),
        (b"upstream\n  failed\x1b[31m\x07 \xe2\x80\xaeright", "upstream failed [31m right"),
        (NGINX, "502 Bad Gateway 502 Bad Gateway"),
        (APACHE, f"503 Service Unavailable {APACHE_SAYS}"),
        (b'\xef\xbb\xbf{"error":"marked"}', "marked"),
        (b'{"error":"half \\ud83d\\ude00 and \\ud800"}', "half 😀 and �"),
        ({"error": {"message": "&lt;b&gt; is \"odd\""}}, '<b> is "odd"'),
    ],
)  # fmt: skip
def test_the_message_is_the_servers_own_words(body: Any, message: str) -> None:
    """Words and no structure, in one printable line, from whatever shape the body has."""
    assert classified(500, body).message == message


IN_A_200: dict[str, tuple[Any, FailureKind, str, int]] = {
    "empty": (b"", BAD_RESPONSE, "unusable", 200),
    "truncated": (b'{"choices"', BAD_RESPONSE, "unusable", 200),
    "invalid-utf8": (b'{"a":"\xff"}', BAD_RESPONSE, "unusable", 200),
    "no-choices": ({"choices": []}, BAD_RESPONSE, "unusable", 200),
    "null-choices": ({"choices": None}, BAD_RESPONSE, "unusable", 200),
    "empty-error": ({"error": ""}, BAD_RESPONSE, "unusable", 200),
    "unknown-error": ({"error": "strange"}, BAD_RESPONSE, "unusable", 200),
    "no-number": ({"error": {"code": "²²²", "message": "m"}}, BAD_RESPONSE, "unusable", 200),
    "429": ({"error": {"code": 429, "message": "m"}}, THROTTLE, "rate_limited", 429),
    "503": ({"error": {"status": "503", "message": "busy"}}, THROTTLE, "overloaded", 503),
    "401": ({"error": {"code": 401, "message": "m"}}, RUN, "unauthorized", 401),
    "sglang": ({"object": "error", "message": "m", "code": 400}, ROW, "bad_request", 400),
    "rate-limit": ({"error": "Rate limit reached"}, THROTTLE, "rate_limited", 200),
    "overloaded": ({"error": "m", "error_type": "overloaded"}, THROTTLE, "rate_limited", 200),
    "quota": (openai_error("no", "insufficient_quota"), RUN, "no_credit", 200),
    "key": (openai_error("no", "invalid_api_key"), RUN, "unauthorized", 200),
    "loading": ({"error": "Model m is currently loading"}, UNAVAILABLE, "starting", 200),
    "context": ({"error": "over the maximum context length"}, ROW, CONTEXT, 200),
    "validation": ({"error": "Input validation error: x"}, ROW, "bad_request", 200),
    "portal": (b"<html><title>Sign in\n to Wifi</title>", BAD_RESPONSE, "web_page", 200),
    "xhtml": (b"\n<?xml?><!-- x --><!DOCTYPE html><p>", BAD_RESPONSE, "web_page", 200),
}


@pytest.mark.parametrize(("body", "kind", "code", "status"), IN_A_200.values(), ids=IN_A_200)
def test_a_200_without_an_answer(body: Any, kind: FailureKind, code: str, status: int) -> None:
    """An error in disguise means what it would have meant with its own status."""
    failure = classified(200, body)
    assert (failure.kind, failure.code, failure.status) == (kind, code, status)


def test_a_web_page_is_named_by_its_title() -> None:
    """A login page is told from a broken answer, by its tag or by its content type."""
    page = classified(200, b"<html><head><title>Sign in\n to Wi&amp;fi</title>")
    assert page.message == "a web page: 'Sign in to Wi&fi'"
    assert page.hint is not None
    typed = classified(200, b"<div>please log in", content_type="text/html; charset=utf-8")
    assert (typed.code, typed.message) == ("web_page", "a web page: 'untitled'")
    assert classified(200, {"choices": []}, content_type="text/html").code == "unusable"


def api_error(body: Any) -> APIError:
    """What openai raises for an error among the events."""
    return APIError("as a sentence", httpx2.Request("POST", "http://x"), body=body)


IN_A_STREAM: dict[str, tuple[Exception | None, FailureKind, str, str]] = {
    "cut": (None, TRANSIENT, "truncated", "ended before"),
    "hub": (OverloadedError("Model is overloaded"), THROTTLE, "rate_limited", "Model is"),
    "vllm": (api_error({"message": "m", "code": 400}), ROW, "bad_request", "m"),
    "openai": (api_error("Rate limit hit"), THROTTLE, "rate_limited", "Rate limit hit"),
    "unknown": (OverloadedError("EngineCore died"), TRANSIENT, "stream_error", "EngineCore"),
    "no-json": (ValueError("doc: What is the capital"), BAD_RESPONSE, "unusable", "(ValueError)"),
}


@pytest.mark.parametrize(("error", "kind", "code", "said"), IN_A_STREAM.values(), ids=IN_A_STREAM)
def test_a_stream_without_an_answer(
    error: Exception | None, kind: FailureKind, code: str, said: str
) -> None:
    """A cut stream is tried again; an error among its events means what it says."""
    failure = classify(exchange(200, None, content_type="text/event-stream"), ASKED, error)
    assert (failure.kind, failure.code) == (kind, code)
    assert said in failure.message


def test_a_web_page_instead_of_a_stream_is_told_by_its_type() -> None:
    """A captive portal answers a streamed request too."""
    assert classify(exchange(200, None, content_type="text/html"), ASKED).code == "web_page"


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (WireFault.REFUSED, UNAVAILABLE, "refused"),
        (WireFault.DNS, UNAVAILABLE, "dns"),
        (WireFault.CONNECT_TIMEOUT, UNAVAILABLE, "connect_timeout"),
        (WireFault.TLS, RUN, "tls"),
        (WireFault.RESET, TRANSIENT, "reset"),
        (WireFault.TRUNCATED, TRANSIENT, "truncated"),
        (WireFault.TOO_LARGE, BAD_RESPONSE, "too_large"),
        (WireFault.ENCODING, BAD_RESPONSE, "encoding"),
        (WireFault.PROTOCOL, BAD_RESPONSE, "protocol"),
        (WireFault.ORIGIN, RUN, "redirect"),
    ],
)
def test_a_fault_below_http(fault: WireFault, kind: FailureKind, code: str) -> None:
    """Every fault has a meaning, and says where it happened."""
    failure = classify(Exchange(fault=fault, detail="host:1234"), ASKED)
    assert (failure.kind, failure.code, failure.status) == (kind, code, None)
    assert "host:1234" in failure.message


def test_every_fault_is_in_the_table_above() -> None:
    """A new fault cannot be forgotten."""
    for fault in WireFault:
        assert classify(Exchange(fault=fault), ASKED).message


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_a_status_counts_even_where_its_body_broke_off(status: int) -> None:
    """Once the server has said 429, a reset after that is not a row's fault."""
    broken = Exchange(status=status, fault=WireFault.TRUNCATED, detail="the body ended early")
    assert classify(broken, ASKED).kind is classified(status, b"").kind


def test_a_200_whose_body_broke_off_is_tried_again() -> None:
    """The fault decides where the status promised an answer."""
    broken = Exchange(status=200, fault=WireFault.RESET, detail="closed")
    assert classify(broken, ASKED).kind is TRANSIENT


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("v"), ROW), (TypeError("t"), ROW), (KeyError("k"), TRANSIENT), (None, TRANSIENT)],
)
def test_a_client_library_that_refuses(error: Exception | None, kind: FailureKind) -> None:
    """What a library says of a value it always will; anything else may pass."""
    failure = classify(Exchange(), ASKED, error)
    assert (failure.kind, failure.code) == (kind, "client")
    assert type(error).__name__ in failure.message


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/path?token=abcdefgh", "https://other.example"),
        ("http://user:pass@other.example:81/x", "http://other.example:81"),
        ("//other.example/x", "the same scheme://other.example"),
        ("/login?next=secret", "another path on the same host"),
        ("http://[::1", "an unreadable place"),
        ("", "nowhere"),
    ],
)
def test_a_redirect_names_the_host_alone(location: str, shown: str) -> None:
    """Neither credentials nor a query of the new place are shown."""
    failure = classified(307, b"", location=location)
    assert failure.message == f"the server answered 307 with a redirect to {shown}"


def test_ids_and_the_word_on_retries_are_read() -> None:
    """The response's own id is kept, bounded and clean; `x-should-retry: false` is heard."""
    failure = classified(500, b"", x_request_id="hf_abcdefgh" + "x" * 900, x_should_retry=" False ")
    assert not failure.retryable
    assert failure.request_id == "[secret]"
    other = classified(500, b"", x_amzn_requestid="r" * 900, x_should_retry="true")
    assert other.retryable
    assert other.request_id == "r" * 200


NOW = "Wed, 21 Oct 2026 07:28:00 GMT"
LATER = "Wed, 21 Oct 2026 07:28:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "300"}, 300.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "1792000000"}, None),
        ({"retry-after": LATER, "date": NOW}, 30.0),
        ({"retry-after": NOW, "date": NOW}, 0.0),
        ({"retry-after": NOW, "date": LATER}, None),
        ({"retry-after": LATER}, None),
        ({"retry-after": LATER, "date": "yesterday"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 -0000", "date": NOW}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 09:28:30 +0200", "date": NOW}, 30.0),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "date": NOW}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 +99999999999999999999", "date": NOW}, None),
        ({"retry-after-ms": "700"}, 0.7),
        ({"retry-after-ms": "700", "retry-after": "9"}, 0.7),
        ({"retry-after-ms": "nonsense", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
    ],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates against the server's own clock; nonsense is not a wait."""
    assert retry_after(headers) == seconds
    assert classify_status(429, headers, b"").retry_after == seconds


def test_the_rules_are_reachable() -> None:
    """No rule stands behind one that takes all its statuses."""
    taken: set[int] = set()
    for rule in RULES:
        assert not rule.statuses or rule.statuses - taken, rule
        if not rule.text:
            taken |= rule.statuses


@pytest.mark.promise("S13")
@pytest.mark.parametrize("depth", [9, 300, 700, 950, 100_000])
@pytest.mark.parametrize("ends", [(b'{"error":', b"}"), (b"[", b"]"), (b'{"error":[', b"]}")])
def test_a_deep_body_is_read_as_far_as_it_is_sane(depth: int, ends: tuple[bytes, bytes]) -> None:
    """No nesting overflows the stack, whichever part of reading meets it."""
    body = ends[0] * depth + b'"deep"' + ends[1] * depth
    failure = classified(429, body)
    assert failure.kind is THROTTLE
    assert depth > 300 or failure.message == "HTTP 429"
    assert classified(200, body).kind is BAD_RESPONSE


def test_of_many_issues_the_first_are_told() -> None:
    """A server that finds fault with everything does not fill the message."""
    issues = [{"msg": f"issue {number}", "input": "x"} for number in range(9)]
    said = "issue 0: issue 1: issue 2: issue 3: issue 4"
    assert classified(422, {"detail": issues}).message == said


def test_a_long_message_is_cut() -> None:
    """A body without end makes a message with one."""
    failure = classified(500, {"error": "word " * 100_000})
    assert len(failure.message) == MESSAGE_LIMIT
    assert len(classified(400, b"x" * 3_000_000).message) == MESSAGE_LIMIT


@pytest.mark.parametrize(
    ("failure", "name"),
    [
        (classify_status(401, {}, b""), "AuthenticationError"),
        (classify_status(402, {}, b""), "CreditError"),
        (classify_status(429, {}, b'"insufficient_quota"'), "CreditError"),
        (classify_status(403, {}, b""), "AccessError"),
        (classify_status(405, {}, b""), "ModelNotFoundError"),
        (classify_status(400, {}, b'{"code":"model_not_supported"}'), "ModelNotFoundError"),
        (classify_status(308, {}, b""), "TargetError"),
        (classify(Exchange(fault=WireFault.TLS), ASKED), "TargetError"),
        (classify(Exchange(fault=WireFault.ORIGIN), ASKED), "TargetError"),
        (classified(200, b"<html>"), "TargetError"),
        (classify(Exchange(fault=WireFault.REFUSED), ASKED), "UnavailableError"),
        (classify(Exchange(fault=WireFault.DNS), ASKED), "UnavailableError"),
        (classify_status(503, {}, b""), "UnavailableError"),
        (classified(200, openai_error("no", "invalid_api_key")), "AuthenticationError"),
        (classify_status(501, {}, b""), "RunError"),
    ],
)  # fmt: skip
def test_a_failure_that_ends_the_run_has_its_own_error(failure: Failure, name: str) -> None:
    """What a caller catches follows from what was classified."""
    assert type(run_error(failure)).__name__ == name
