"""The real clients against the simulated endpoint, in virtual time: what each fault becomes.

The table is what both libraries are made to mean by it, whole and streamed.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import zlib
from itertools import count, product
from typing import Any, get_args

import pytest

from distilabel_endpoints.config import (
    CONNECT_TIMEOUT,
    FIRST_TOKEN_TIMEOUT,
    MAX_RESPONSE_BYTES,
    TOKEN_TIMEOUT,
)
from distilabel_endpoints.records import Answer, Failure, Request
from distilabel_endpoints.testing import (
    Action,
    BreakStream,
    Drip,
    Fault,
    Flood,
    Garble,
    Hang,
    Latency,
    Lengths,
    Refuse,
    Reset,
    Respond,
    Rewrite,
    Throttle,
    Truncate,
    edits,
)
from virtual import Library, connected, run_virtually

LIBRARIES = get_args(Library)
DEEP = b'{"choices":' + b"[" * 100_000
EVENTS = "text/event-stream"
PAGE = "<html><title>Log in</title></html>"
WHOLE = json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}).encode()
HALF, OTHER_HALF = WHOLE[:30], WHOLE[30:]
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
UNWRAPPED = BARE.compress(WHOLE) + BARE.flush()
CUT_OFF = 900.0
"""What stands for the engine's clock in these tests; no clock of a client is as late."""

STATUSES = {
    301: "run redirect",
    308: "run redirect",
    400: "row bad_request",
    401: "run unauthorized",
    402: "run no_credit",
    403: "run forbidden",
    404: "run not_found",
    407: "run proxy_auth",
    408: "transient request_timeout",
    409: "transient conflict",
    413: "row too_large",
    418: "row rejected",
    422: "row invalid_row",
    424: "transient generation_failed",
    429: "throttle rate_limited",
    500: "transient server_error",
    501: "run unsupported",
    502: "transient bad_gateway",
    503: "unavailable starting",
    504: "transient gateway_timeout",
    529: "throttle rate_limited",
}

# (the fault, what a whole answer becomes, what a stream becomes), kind and code.
Row = tuple[Action, str, str]
FAULTS: dict[str, Row] = {
    **{str(status): (Respond(status), said, said) for status, said in STATUSES.items()},
    "307 elsewhere": (
        Respond(307, headers=(("Location", "http://elsewhere.example/v1"),)),
        "run redirect",
        "run redirect",
    ),
    "hang": (Hang(), "cut off", "transient first_token_timeout"),
    "hang after the head": (Hang("head"), "cut off", "transient first_token_timeout"),
    "hang in the body": (Hang("body"), "cut off", "transient first_token_timeout"),
    "reset": (Reset(), "transient reset", "transient reset"),
    "reset after the head": (Reset("head"), "transient truncated", "transient truncated"),
    "reset in the body": (Reset("body"), "transient truncated", "transient truncated"),
    "refuse": (Refuse(), "transient reset", "transient reset"),
    "truncate": (Truncate(), "transient truncated", "transient truncated"),
    "drip": (Drip(1.0), "answer", "transient first_token_timeout"),
    "drip at once": (Drip(0.0), "answer", "answer"),
    "flood": (Flood(), "bad_response too_large", "bad_response too_large"),
    "gzip bomb": (Flood(gzip=True), "bad_response too_large", "bad_response too_large"),
    "no choices": (Rewrite(edits.no_choices), "bad_response unusable", "transient truncated"),
    "null content": (Rewrite(edits.null_content), "bad_response empty", "bad_response empty"),
    "a 429 in a 200": (
        Rewrite(edits.error_body(429)),
        "throttle rate_limited",
        "throttle rate_limited",
    ),
    "a 400 in a 200": (
        Rewrite(edits.error_body(400, "wrong")),
        "row bad_request",
        "row bad_request",
    ),
    "stream without an end mark": (BreakStream("no_done"), "answer", "answer"),
    "error in a stream": (BreakStream("error"), "answer", "transient stream_error"),
    "garbage in a stream": (BreakStream("garbage"), "answer", "bad_response unusable"),
    "stream cut": (BreakStream("cut"), "answer", "transient truncated"),
    "stream reset": (BreakStream("reset"), "answer", "transient truncated"),
    "page": (
        Respond(200, PAGE, content_type="text/html"),
        "bad_response web_page",
        "bad_response web_page",
    ),
    "empty": (Respond(200, ""), "bad_response unusable", "bad_response unusable"),
    "long headers, and many": (
        Respond(200, WHOLE, headers=tuple((f"x-{n}", "v" * 200 * n) for n in range(150))),
        "answer",
        "answer",
    ),
    "10,000 headers": (
        Respond(200, headers=tuple((f"x-{n}", "v") for n in range(10_000))),
        "bad_response protocol",
        "bad_response protocol",
    ),
    "deep": (Respond(200, DEEP), "bad_response unusable", "bad_response unusable"),
    "deep event": (
        Respond(200, b"data: " + DEEP + b"\n\n", content_type=EVENTS),
        "bad_response unusable",
        "bad_response unusable",
    ),
    "gzip in two members": (
        Respond(
            200,
            gzip.compress(HALF) + gzip.compress(OTHER_HALF) + bytes(9),
            headers=(("Content-Encoding", "gzip"),),
        ),
        "answer",
        "answer",
    ),
    "deflate without its wrapper": (
        Respond(200, UNWRAPPED, headers=(("Content-Encoding", "deflate"),)),
        "answer",
        "answer",
    ),
    "a charset for an encoding": (
        Respond(200, WHOLE, headers=(("Content-Encoding", "utf-8, identity"),)),
        "answer",
        "answer",
    ),
    "an encoding not asked for": (
        Respond(200, b"x", headers=(("Content-Encoding", "exi"),)),
        "bad_response encoding",
        "bad_response encoding",
    ),
    "truncated json": (
        Garble(edits.truncated_json),
        "bad_response unusable",
        "transient truncated",
    ),
    "bad utf-8": (Garble(edits.bad_utf8), "bad_response bad_utf8", "bad_response bad_utf8"),
    "nothing but keep-alives": (
        Respond(200, b": still here\n\n" * 9, content_type=EVENTS),
        "bad_response unusable",
        "transient truncated",
    ),
}


def hello(*, stream: bool) -> Request:
    return Request(ordinal=0, messages=[{"role": "user", "content": "Say hello"}], stream=stream)


def said(outcome: Answer | Failure) -> str:
    return "answer" if isinstance(outcome, Answer) else f"{outcome.kind} {outcome.code}"


async def meet(
    library: Library, action: Action | None, *, stream: bool, **changes: Any
) -> tuple[Answer | Failure | None, float]:
    """What one request becomes, and when; afterwards nothing is left open on either side."""
    faults = () if action is None else (Fault(action),)
    async with connected(library, faults=faults, **changes) as line:
        outcome = None
        try:
            async with asyncio.timeout(CUT_OFF):
                outcome = await line.client.complete(hello(stream=stream))
        except TimeoutError:
            pass
        took = asyncio.get_running_loop().time()
        assert line.connector.open_connections == 0
        await asyncio.sleep(1)
        assert line.endpoint.in_flight == 0
        assert len(line.endpoint.generations) == 1
    assert line.connector.closed
    return outcome, took


def faced(library: Library, action: Action | None, *, stream: bool, **changes: Any) -> Any:
    return run_virtually(meet(library, action, stream=stream, **changes))


@pytest.mark.promise("S13")
@pytest.mark.promise("R4")
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_the_same_failure_to_both_clients(name: str) -> None:
    """One request, one outcome, nothing raised, no connection and no slot left behind."""
    action, whole, streamed = FAULTS[name]
    for library, stream in product(LIBRARIES, (False, True)):
        expected = streamed if stream else whole
        outcome, took = faced(library, action, stream=stream)
        assert (said(outcome) if outcome else "cut off") == expected, (library, stream)
        assert took == pytest.approx(CUT_OFF) if outcome is None else took < CUT_OFF
    # Whatever was left open says so now, and a warning is an error.
    gc.collect()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("form", "seconds"),
    [("seconds", 7), ("float", 7), ("date", 7), ("milliseconds", 7), ("unreadable", None)],
)
def test_every_form_of_a_demanded_pause_is_read(
    library: Library, form: Any, seconds: float | None
) -> None:
    """`Retry-After` in each form, though the server's clock is a day off; nonsense is none."""
    action = Throttle(7, form=form, skew=86_400, should_retry=False)
    for stream in (False, True):
        outcome, _ = faced(library, action, stream=stream)
        assert outcome.retry_after == seconds
        assert not outcome.retryable


@pytest.mark.promise("S13")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("stream", [False, True])
def test_no_more_of_a_response_is_read_than_the_cap(library: Library, stream: bool) -> None:
    """A flood is cut off at the cap: what comes after it is never taken off the wire."""

    async def main() -> None:
        flood = Fault(Flood(chunk=65_536, interval=0.001))
        async with connected(library, faults=(flood,)) as line:
            outcome = await line.client.complete(hello(stream=stream))
            assert isinstance(outcome, Failure)
            assert outcome.code == "too_large"
            chunks = asyncio.get_running_loop().time() / 0.001
            assert chunks * 65_536 == pytest.approx(MAX_RESPONSE_BYTES, rel=0.1)

    run_virtually(main())


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_follows_the_last_event_changes_nothing(library: Library) -> None:
    """A stream that refused the request is a refusal, however much comes after it."""
    refusal = b'data: {"error": {"message": "slow down", "code": 429}}\n\n'
    flood = Respond(200, refusal + b"\n" * (MAX_RESPONSE_BYTES + 1), content_type=EVENTS)

    async def main() -> None:
        async with connected(library, faults=(Fault(flood),)) as line:
            outcome = await line.client.complete(hello(stream=True))
            assert isinstance(outcome, Failure)
            assert (outcome.status, outcome.code) == (429, "rate_limited")

    run_virtually(main())


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_host_that_does_not_answer_is_given_up_on(library: Library) -> None:
    """Connecting has a clock of its own, and the request was not sent."""

    async def main() -> None:
        async with connected(library, deaf=True) as line:
            outcome = await line.client.complete(hello(stream=False))
            assert said(outcome) == "unavailable connect_timeout"
            assert asyncio.get_running_loop().time() == pytest.approx(CONNECT_TIMEOUT, abs=1.5)
            assert not line.endpoint.requests

    run_virtually(main())


@pytest.mark.parametrize("library", LIBRARIES)
def test_nothing_listens(library: Library) -> None:
    """A refused connection is an endpoint that is not there."""

    async def main() -> None:
        async with connected(library) as line:
            await line.endpoint.refuse_connections()
            outcome = await line.client.complete(hello(stream=False))
            assert said(outcome) == "unavailable refused"

    run_virtually(main())


EMPTY = b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'
GAP = 20.0
"""Seconds between events."""
SLOW: dict[str, Any] = {
    "lengths": Lengths(40, spread="constant"),
    "latency": Latency(per_token=GAP * 44 / 40),
}


@pytest.mark.parametrize("filler", [b": still here\n\n", EMPTY], ids=["comments", "empty events"])
@pytest.mark.parametrize("tokens", [0, 3])
def test_signs_of_life_are_no_tokens(tokens: int, filler: bytes) -> None:
    """Neither comments nor empty events keep a stream alive: only what is generated does."""
    for library in LIBRARIES:
        events = count()

        def fade(event: bytes, events: Any = events) -> bytes:
            # The first event has the role, and no token yet.
            return event if 0 < next(events) <= tokens else filler

        outcome, took = faced(library, Garble(fade), stream=True, **SLOW)
        if tokens:
            assert said(outcome) == "transient token_timeout"
            assert took == pytest.approx((tokens + 1) * GAP + TOKEN_TIMEOUT, abs=GAP)
        else:
            assert said(outcome) == "transient first_token_timeout"
            assert took == pytest.approx(FIRST_TOKEN_TIMEOUT, abs=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_slow_stream_that_goes_on_is_not_cut(library: Library) -> None:
    """Tokens that come in time keep a stream alive for as long as it takes."""
    outcome, took = faced(library, None, stream=True, **SLOW)
    assert said(outcome) == "answer"
    assert took > 2 * FIRST_TOKEN_TIMEOUT
