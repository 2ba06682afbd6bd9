"""The exact words and borders of failures, where their class alone would let a change pass."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import OverloadedError, UnknownError
from pydantic import SecretStr

from distilabel_endpoints._clients.failures import (
    classify,
    classify_status,
    is_usable,
    retry_after,
)
from distilabel_endpoints._clients.rules import FAULTS
from distilabel_endpoints._clients.transport import Exchange, WireFault
from distilabel_endpoints.records import Answer, Completion, Failure, FailureKind, Request

PROMPT = "What is the capital of Peru?"
ASKED = Request(ordinal=0, messages=[{"role": "user", "content": PROMPT}])
PASSWORD = "sesame-open-9"
SAID = Completion(text="Lima", finish_reason="stop")
DAYS_30 = 30 * 86_400
STRANGE: Any = {"message": "strange"}
FAILED: Any = {"message": "m", "http_status_code": 500}


def exchange(
    status: int, body: Any = None, *, secret: str | None = None, **headers: str
) -> Exchange:
    """An exchange whose body was read, or was a stream where it is `None`."""
    told = httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = None if body is None else httpx2.Response(status, headers=told, content=raw)
    secrets = () if secret is None else (SecretStr(secret),)
    return Exchange(status=status, headers=told, response=response, secrets=secrets)


@pytest.mark.parametrize(
    ("completions", "repaired", "lenient", "usable"),
    [
        ((), False, True, False),
        ((), True, False, False),
        ((SAID,), False, False, True),
        ((SAID,), True, False, False),
        ((SAID,), True, True, True),
        ((SAID,), False, True, True),
    ],
)
def test_usable_is_what_says_something_legible(
    completions: tuple[Completion, ...], repaired: bool, lenient: bool, usable: bool
) -> None:
    """An answer without a completion never is, broken UTF-8 only where that does not matter."""
    request = Request(ordinal=0, lenient=lenient)
    assert (
        is_usable(Answer(completions=completions), Exchange(repaired=repaired), request) is usable
    )


@pytest.mark.parametrize(
    ("completions", "code", "message"),
    [
        ((), "empty", "the answer came to its end and has no text in it"),
        ((SAID,), "bad_utf8", "the answer is not UTF-8"),
    ],
)
@pytest.mark.parametrize(("status", "kept"), [(206, 206), (None, 200)])
def test_an_answer_that_cannot_be_used(
    completions: tuple[Completion, ...], code: str, message: str, status: int | None, kept: int
) -> None:
    """It is told by what is wrong with it, with the response's status, id and wait."""
    came = Exchange(status=status, headers={"x-request-id": "r1", "retry-after": "7"})
    assert classify(came, ASKED, answer=Answer(completions=completions)) == Failure(
        kind=FailureKind.BAD_RESPONSE,
        message=message,
        status=kept,
        code=code,
        retry_after=7.0,
        request_id="r1",
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f"no {PASSWORD} here".encode(), "no [secret] here"),
        (f"no \xff {PASSWORD}".encode("latin-1"), "no � [secret]"),
        (b'{"error": "no s\\u0065same-open-9"}', "no [secret]"),
        (b"word " * 409 + PASSWORD.encode(), "word " * 409 + "[s…"),
    ],
    ids=["text", "no-utf8", "escaped", "cut"],
)
def test_what_was_sent_as_a_secret_is_not_shown(body: bytes, message: str) -> None:
    """Not in a body that is not text, not escaped, and not the half of it that a cut leaves."""
    assert classify(exchange(400, body, secret=PASSWORD), ASKED).message == message


def test_a_secret_is_not_shown_where_there_is_no_body() -> None:
    """What is known of a connection or of a stream's error goes the same way."""
    below = Exchange(fault=WireFault.RESET, detail=f"at {PASSWORD}", secrets=(SecretStr(PASSWORD),))
    assert classify(below, ASKED).message == "reset: at [secret]"
    stream = exchange(200, secret=PASSWORD)
    told = classify(stream, ASKED, UnknownError(f"no {PASSWORD}"))
    assert told.message == "an error inside a stream: no [secret]"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"r-{PASSWORD}-7", "r-[secret]-7"),
        (f"r-{PROMPT}", "r-[prompt]"),
        ("r" * 195 + PASSWORD, "r" * 195 + "[secr"),
    ],
    ids=["secret", "prompt", "cut"],
)
def test_the_id_of_a_request_says_nothing_of_what_was_sent(given: str, kept: str) -> None:
    """Some gateways make an id of what they got."""
    came = exchange(500, b"", secret=PASSWORD, x_request_id=given)
    assert classify(came, ASKED).request_id == kept


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b" \n", "an empty body"),
        (b"{", "not JSON (1 bytes, JSONDecodeError)"),
        (b"\xff", "not JSON (1 bytes, UnicodeDecodeError)"),
        (b"[" * 100_000, "not JSON (100000 bytes, RecursionError)"),
        (b'{"choices": []}', "JSON without an answer in it (15 bytes)"),
        ({"error": f"strange: {PROMPT}"}, "an error inside a 200: strange: [prompt]"),
    ],
    ids=["blank", "cut", "no-utf8", "deep", "no-answer", "error"],
)
def test_a_200_without_an_answer_says_what_it_has(body: Any, reason: str) -> None:
    """Its size and its fault, or the error in it; never the body, nor the prompt in the error."""
    failure = classify(exchange(200, body), ASKED)
    assert (failure.code, failure.message) == ("unusable", reason)


def test_a_web_pages_title_does_not_tell_the_prompt() -> None:
    """A search page has what was asked in its title."""
    page = exchange(200, f"<html><title>{PROMPT} - search</title>".encode())
    assert classify(page, ASKED).message == "a web page: '[prompt] - search'"


@pytest.mark.parametrize(
    ("error", "kind", "status", "code", "message"),
    [
        (None, FailureKind.TRANSIENT, 206, "truncated", "the stream ended before the answer did"),
        (ValueError(PROMPT), FailureKind.BAD_RESPONSE, 206, "unusable",
         "an event of the stream could not be read (ValueError)"),
        (UnknownError(f"died on {PROMPT}"), FailureKind.TRANSIENT, 206, "stream_error",
         "an error inside a stream: died on [prompt]"),
        (UnknownError(STRANGE), FailureKind.TRANSIENT, 206, "stream_error",
         "an error inside a stream: strange"),
        (OverloadedError("slow down"), FailureKind.THROTTLE, 206, "rate_limited", "slow down"),
        (UnknownError(FAILED), FailureKind.TRANSIENT, 500,
         "server_error", "m"),
    ],
    ids=["cut", "nonsense", "words", "object", "disguised", "status"],
)  # fmt: skip
def test_a_stream_without_an_answer_says_why(
    error: Exception | None, kind: FailureKind, status: int, code: str, message: str
) -> None:
    """The error's own words and status where it has them, and never the prompt."""
    failure = classify(exchange(206), ASKED, error)
    assert failure == Failure(kind=kind, status=status, code=code, message=message)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (TypeError(f"no {PROMPT}"), FailureKind.ROW, "TypeError: no [prompt]"),
        (RuntimeError(f"at {PROMPT}"), FailureKind.TRANSIENT, "RuntimeError: unexpected"),
    ],
)
def test_a_refusal_is_quoted_and_an_unexpected_error_is_not(
    error: Exception, kind: FailureKind, said: str
) -> None:
    """What a library says of a value helps; the text of any other error may hold anything."""
    message = f"the client library failed before it sent anything: {said}"
    assert classify(Exchange(), ASKED, error) == Failure(kind=kind, code="client", message=message)


@pytest.mark.parametrize("status", [None, 200])
@pytest.mark.parametrize("fault", WireFault)
def test_a_fault_keeps_the_status_and_says_how_to_mend_it(
    fault: WireFault, status: int | None
) -> None:
    """A 200 that broke off is not a host that never answered."""
    failure = classify(Exchange(status=status, fault=fault, detail=PROMPT), ASKED)
    assert (failure.status, failure.hint) == (status, FAULTS[fault][1])
    assert failure.message == f"{fault}: [prompt]"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (199, "server_error"), (200, "unusable"), (299, "unusable"), (300, "redirect"),
        (399, "server_error"), (400, "bad_request"), (411, "rejected"), (497, "rejected"),
        (500, "server_error"), (600, "server_error"),
    ],
)  # fmt: skip
def test_the_borders_of_the_statuses(status: int, code: str) -> None:
    """From 200 to 299 the body counts, and from 400 to 499 the row is to blame."""
    assert classify(exchange(status, {}), ASKED).code == code


def test_headers_are_looked_up_in_lower_case() -> None:
    """So any mapping with such names will do, not one client library's alone."""
    headers = {"x-request-id": "r1", "x-should-retry": "false", "location": "https://o.example/a"}
    moved = classify_status(307, headers, b"")
    assert (moved.request_id, moved.retryable) == ("r1", False)
    assert moved.message.endswith(" to https://o.example")
    assert classify_status(500, {"x-amzn-requestid": "r2"}, b"").request_id == "r2"
    page = Exchange(status=200, headers={"content-type": "text/html"})
    assert classify(page, ASKED).message == "a web page: 'untitled'"


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({}, "nowhere"),
        ({"location": f"https://{'a' * 400}.example"}, f"https://{'a' * 292}"),
    ],
)
def test_a_redirects_place_may_be_missing_and_is_bounded(
    headers: dict[str, str], place: str
) -> None:
    """A redirect without a place says so, and no more than 300 characters are kept of one."""
    said = classify_status(307, headers, b"").message
    assert said == f"the server answered 307 with a redirect to {place}"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": f"{DAYS_30}"}, DAYS_30),
        ({"retry-after": f"{DAYS_30}.5"}, None),
        ({"retry-after-ms": f"{DAYS_30}000"}, DAYS_30),
        ({"retry-after-ms": f"{DAYS_30}001"}, None),
    ],
)
def test_a_wait_of_thirty_days_is_believed(headers: dict[str, str], seconds: float | None) -> None:
    """And nothing beyond: that is a point in time, or nonsense."""
    assert retry_after(headers) == seconds
