"""The failure matrix as a table: what the server does, and everything that follows from it.

One entry per row of the matrix and variant. `ROWS` names the rows, so that a test can say which
of them has neither a case here nor a test elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

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
    Limits,
    Refuse,
    Reset,
    Respond,
    Revoke,
    Rewrite,
    Throttle,
    Token,
    Truncate,
    edits,
)
from distilabel_endpoints.testing.endpoint_settings import SettingsChanges

__all__ = ["CASES", "ELSEWHERE", "ROWS", "Case"]

Between = tuple[float, float]
TOKEN = "hf_stage"
PAGE = Respond(200, "<html><title>Log in</title></html>", content_type="text/html")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one failure comes to, for `rows` conversations, through either client."""

    row: str
    """Of the matrix."""
    server: SettingsChanges
    rows: int = 3
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the LLM."""
    ends: Literal["ok", "failed", "stopped"] = "ok"
    """All rows answered; all failed; or the run ended with none filed as failed."""
    said: str = ""
    """Kind and code of every row's failure, or of the one that stopped the run."""
    error: str = ""
    """The exception's name, where the run stops."""
    sees: tuple[str, ...] = ()
    """What is in the message."""
    notes: tuple[str, ...] = ()
    """What the column `error` has beside an answer."""
    texts: tuple[str, ...] = ()
    """What is in every answer."""
    finish: str = ""
    """The finish reason of every answer."""
    keeps_text: bool = False
    """Whether a failed row has the text that was not taken."""
    truncated: int = 0
    """What the summary counts as cut off."""
    attempts: int | None = None
    """Of every failed row, as its message counts them."""
    requests: Between
    seconds: Between = (0, 0.01)
    """Virtual, from the endpoint's start to the end of the last request."""
    done: int = 0
    """Rows that were answered before the run stopped."""


def always(action: Action, **more: Any) -> SettingsChanges:
    """Every generation meets `action`."""
    return {"faults": (Fault(action),), **more}  # type: ignore[typeddict-item]


def thrice(action: Action, **more: Any) -> SettingsChanges:
    """Each row meets `action` three times, then it is answered."""
    return {"faults": (Fault(action, per_request=True, times=3),), **more}  # type: ignore[typeddict-item]


def recovers(row: str, action: Action, seconds: Between, **more: Any) -> Case:
    """Three failures of each row cost it three attempts, and nothing else."""
    return Case(row=row, server=thrice(action), requests=(12, 12), seconds=seconds, **more)


JITTERED: Final = (0.05, 14.0)
"""Three waits with full jitter: up to 1, 2 and 4 s, and what the ramp adds."""
TRICKLE: Final = (0.5, 20.0)
STREAMED: Final = {"stream": True}

CASES: Final[dict[str, Case]] = {
    # --- refused: this row's fault, or everybody's
    "400": Case(
        row="400",
        server=always(Respond(400, {"error": "bad thing"})),
        ends="failed",
        said="row bad_request",
        sees=("row 400: bad thing",),
        attempts=1,
        requests=(3, 3),
    ),
    "400 too long": Case(
        row="400",
        server=always(Respond(400, {"error": "maximum context length is 8192 tokens"})),
        ends="failed",
        said="row context_length_exceeded",
        sees=("8192", "Shorten the conversation"),
        attempts=1,
        requests=(3, 3),
    ),
    "400 of every row": Case(
        row="400",
        server=always(Respond(400, {"error": "bad thing"})),
        rows=40,
        ends="stopped",
        said="run systemic",
        error="RunError",
        sees=("20 rows in a row were refused alike: bad thing",),
        requests=(20, 32),
    ),
    "401": Case(
        row="401",
        server=always(Respond(401)),
        ends="stopped",
        said="run unauthorized",
        error="AuthenticationError",
        sees=("401", "No key was sent", "api_key", "HF_TOKEN"),
        requests=(4, 6),
        seconds=(2, 2.5),
    ),
    "401 with a token": Case(
        row="401",
        server=always(Respond(401)),
        fields={"api_key": TOKEN},
        ends="stopped",
        said="run unauthorized",
        error="AuthenticationError",
        sees=("401", "The token was rejected", "HF_TOKEN"),
        requests=(4, 6),
        seconds=(2, 2.5),
    ),
    "401 for a moment": Case(
        row="401",
        server={"faults": (Fault(Respond(401), times=3),)},
        requests=(6, 6),
        seconds=(2, 2.5),
    ),
    "402": Case(
        row="402",
        server=always(Respond(402)),
        ends="stopped",
        said="run no_credit",
        error="CreditError",
        sees=("402", "no credit left"),
        requests=(1, 3),
    ),
    "403": Case(
        row="403",
        server=always(Respond(403)),
        ends="stopped",
        said="run forbidden",
        error="AccessError",
        sees=("403", "permission to make calls to inference"),
        requests=(1, 3),
    ),
    "404": Case(
        row="404",
        server=always(Respond(404)),
        ends="stopped",
        said="run not_found",
        error="ModelNotFoundError",
        sees=("404", "Check the URL's path and the name of the model"),
        requests=(1, 3),
    ),
    "404 in the middle": Case(
        row="404",
        server={"latency": Latency(1.0), "faults": (Fault(Respond(404), after=2.5, until=302.5),)},
        rows=30,
        fields={"max_concurrency": 3},
        requests=(40, 110),
        seconds=(303, 350),
    ),
    "404 from then on": Case(
        row="404",
        server={"latency": Latency(1.0), "faults": (Fault(Respond(404), after=2.5),)},
        rows=30,
        fields={"max_concurrency": 3},
        ends="stopped",
        said="unavailable unavailable",
        error="UnavailableError",
        sees=("404", "not available for 9"),
        requests=(60, 120),
        seconds=(900, 950),
        done=9,
    ),
    "408": recovers("408, 409", Respond(408), JITTERED),
    "409": recovers("408, 409", Respond(409), JITTERED),
    "408 for ever": Case(
        row="408, 409",
        server=always(Respond(408)),
        ends="failed",
        said="transient request_timeout",
        attempts=5,
        requests=(15, 15),
        seconds=TRICKLE,
    ),
    "413": Case(
        row="413",
        server=always(Respond(413)),
        ends="failed",
        said="row too_large",
        sees=("larger than the server takes",),
        attempts=1,
        requests=(3, 3),
    ),
    "422": Case(
        row="422",
        server=always(Respond(422, {"error": "Template error: no system role"})),
        ends="failed",
        said="row invalid_row",
        sees=("Template error: no system role",),
        attempts=1,
        requests=(3, 3),
    ),
    "424": recovers("424", Respond(424), JITTERED),
    # --- throttled: nobody's fault
    "429": recovers("429 bare", Respond(429), (1, 6)),
    "429 for two seconds": recovers("429 Retry-After: 2", Throttle(2), (6, 20)),
    "429 for five minutes": Case(
        row="429 Retry-After: 300",
        server={"faults": (Fault(Throttle(300), times=3),)},
        requests=(6, 6),
        seconds=(300, 331),
    ),
    "429 for an hour": Case(
        row="429 Retry-After: 300",
        server=always(Throttle(3600)),
        ends="stopped",
        said="throttle rate_limited",
        error="RunError",
        sees=("The server asks for a pause of 3600 s",),
        requests=(1, 3),
    ),
    "429 for longer than is waited": Case(
        row="429 Retry-After: 300",
        server=always(Throttle(120)),
        fields={"max_pause": 60.0},
        ends="stopped",
        said="throttle rate_limited",
        error="RunError",
        sees=("The server asks for a pause of 120 s",),
        requests=(1, 3),
    ),
    "429 until a date": Case(
        row="429 HTTP-date",
        server={"faults": (Fault(Throttle(7, form="date", skew=86_400), times=3),)},
        requests=(6, 6),
        seconds=(7, 8),
    ),
    "429 until a date that is none": Case(
        row="429 HTTP-date",
        server={"faults": (Fault(Throttle(form="unreadable"), times=3),)},
        requests=(6, 6),
        seconds=(0.01, 3),
    ),
    "429 in milliseconds": Case(
        row="429 retry-after-ms",
        server={"faults": (Fault(Throttle(0.7, form="milliseconds"), times=3),)},
        requests=(6, 6),
        seconds=(0.7, 1),
    ),
    "429 list": recovers("429 odd body", Respond(429, ["slow down"]), (1, 6)),
    "429 string": recovers("429 odd body", Respond(429, '"slow down"'), (1, 6)),
    "429 not to be retried": Case(
        row="429 x-should-retry:false",
        server=always(Throttle(should_retry=False)),
        rows=30,
        ends="stopped",
        said="throttle rate_limited",
        error="RunError",
        sees=("429",),
        requests=(20, 32),
        seconds=(0, 120),
    ),
    "529": recovers("529", Respond(529), (1, 6)),
    # --- servers in trouble
    "500": recovers("500", Respond(500), JITTERED),
    "500 for ever": Case(
        row="500",
        server=always(Respond(500)),
        ends="failed",
        said="transient server_error",
        sees=("500", "after 5 attempts"),
        attempts=5,
        requests=(15, 15),
        seconds=TRICKLE,
    ),
    "502": recovers(
        "502 html", Respond(502, "<h1>Bad gateway</h1>", content_type="text/html"), (0.1, 6)
    ),
    "503 for six minutes": Case(
        row="503",
        server={"faults": (Fault(Respond(503), until=360),)},
        rows=100,
        requests=(100, 165),
        seconds=(360, 380),
    ),
    "503 for ever": Case(
        row="503",
        server=always(Respond(503)),
        ends="stopped",
        said="unavailable unavailable",
        error="UnavailableError",
        sees=("503", "not available for 9"),
        requests=(40, 90),
        seconds=(900, 940),
    ),
    "503 overloaded": recovers("503", Respond(503, {"error": "Model is overloaded"}), (1, 6)),
    "503 without words": recovers("503 invalid UTF-8", Respond(503, b"\xff\xfe no"), (0.1, 6)),
    "504": recovers("504", Respond(504), (0.1, 6)),
    "504 at a gateway's ceiling": Case(
        row="504",
        server={
            "latency": Latency(per_token=2.0),
            "lengths": Lengths(40, spread="constant"),
            "limits": Limits(gateway_timeout=60),
        },
        fields={"stream": False},
        requests=(6, 6),
        seconds=(140, 150),
    ),
    "500 of every row": Case(
        row="500",
        server=always(Respond(500), latency=Latency(1.0)),
        rows=200,
        ends="stopped",
        said="unavailable unavailable",
        error="UnavailableError",
        sees=("500", "nothing but failures for 9"),
        requests=(100, 250),
        seconds=(900, 930),
    ),
    "500 for five minutes": Case(
        row="500",
        server={"latency": Latency(1.0), "faults": (Fault(Respond(500), after=9.5, until=310),)},
        rows=400,
        fields={"max_concurrency": 8},
        requests=(500, 640),
        seconds=(330, 450),
    ),
    # --- nothing there
    "refused for 20 s": Case(
        row="connect refused",
        server={"faults": (Fault(Refuse(20), times=1),)},
        requests=(4, 5),
        seconds=(20, 30),
    ),
    "refused for ever": Case(
        row="connect refused",
        server=always(Refuse()),
        ends="stopped",
        said="unavailable unavailable",
        error="UnavailableError",
        sees=("127.0.0.1:8000", "Nothing listens there"),
        requests=(1, 3),
    ),
    # --- broken on the way
    "reset": recovers("reset, truncated", Reset(), JITTERED),
    "reset in the body": recovers("reset, truncated", Reset("body"), JITTERED),
    "truncated": recovers("reset, truncated", Truncate(), JITTERED),
    "a stream that is empty": Case(
        row="200 content null",
        server=always(Rewrite(edits.null_content)),
        fields=STREAMED,
        ends="failed",
        said="bad_response empty",
        sees=("came to its end and has no text",),
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "null content": Case(
        row="200 content null",
        server=always(Rewrite(edits.null_content)),
        ends="failed",
        said="bad_response empty",
        sees=("came to its end and has no text",),
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "no UTF-8 once": Case(
        row="200 invalid UTF-8",
        server={"faults": (Fault(Garble(edits.bad_utf8), per_request=True, times=1),)},
        requests=(6, 6),
        seconds=(0.001, 3),
    ),
    "no UTF-8": Case(
        row="200 invalid UTF-8",
        server=always(Garble(edits.bad_utf8)),
        notes=("warning: utf8_replaced",),
        texts=("\N{REPLACEMENT CHARACTER}",),
        requests=(6, 6),
        seconds=(0.001, 3),
    ),
    "no UTF-8 in a stream": Case(
        row="200 invalid UTF-8",
        server=always(Garble(edits.bad_utf8)),
        fields=STREAMED,
        notes=("warning: utf8_replaced",),
        texts=("\N{REPLACEMENT CHARACTER}",),
        requests=(6, 6),
        seconds=(0.001, 3),
    ),
    "a stream that is cut": Case(
        row="reset, truncated",
        server=always(BreakStream("cut")),
        fields=STREAMED,
        ends="failed",
        said="transient truncated",
        sees=("the stream ended before the answer did",),
        attempts=5,
        requests=(15, 15),
        seconds=TRICKLE,
    ),
    "hang": Case(
        row="hang",
        server=always(Hang()),
        ends="failed",
        said="transient timeout",
        sees=("no complete answer within 600 s", "max_concurrency"),
        attempts=5,
        requests=(15, 15),
        seconds=(3000, 3020),
    ),
    "hang of a stream": Case(
        row="hang",
        server=thrice(Hang()),
        fields=STREAMED,
        requests=(12, 12),
        seconds=(900, 920),
    ),
    "a byte every ten seconds": Case(
        row="slow-loris",
        server=always(Drip(10.0)),
        ends="failed",
        said="transient timeout",
        attempts=5,
        requests=(15, 15),
        seconds=(3000, 3020),
    ),
    "a streamed byte every ten seconds": Case(
        row="slow-loris",
        server=always(Drip(10.0)),
        fields=STREAMED,
        ends="failed",
        said="transient first_token_timeout",
        attempts=5,
        requests=(15, 15),
        seconds=(1500, 1520),
    ),
    "a flood": Case(
        row="infinite stream",
        server=always(Flood()),
        ends="failed",
        said="bad_response too_large",
        sees=("over 16777216 bytes",),
        attempts=3,
        requests=(9, 9),
        seconds=TRICKLE,
    ),
    "a bomb": Case(
        row="gzip bomb",
        server=always(Flood(gzip=True)),
        rows=1,
        ends="failed",
        said="bad_response too_large",
        attempts=3,
        requests=(3, 3),
        seconds=(0, 4),
    ),
    # --- 200, and unusable
    "truncated JSON": Case(
        row="200 truncated JSON",
        server=always(Garble(edits.truncated_json)),
        ends="failed",
        said="bad_response unusable",
        sees=("not JSON",),
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "a 429 in a 200": recovers("200 error body", Rewrite(edits.error_body(429)), (1, 6)),
    "a 400 in a 200": Case(
        row="200 error body",
        server=always(Rewrite(edits.error_body(400, "wrong"))),
        ends="failed",
        said="row bad_request",
        attempts=1,
        requests=(3, 3),
    ),
    "no choices": Case(
        row="200 choices []/null",
        server=always(Rewrite(edits.no_choices)),
        ends="failed",
        said="bad_response unusable",
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "null choices": Case(
        row="200 choices []/null",
        server=always(Rewrite(edits.null_choices)),
        ends="failed",
        said="bad_response unusable",
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "an empty body": Case(
        row="200 empty/html",
        server=always(Respond(200, "")),
        ends="failed",
        said="bad_response unusable",
        sees=("an empty body",),
        attempts=3,
        requests=(9, 9),
        seconds=(0.01, 5),
    ),
    "a web page": Case(
        row="200 empty/html",
        server=always(PAGE),
        ends="stopped",
        said="bad_response web_page",
        error="TargetError",
        sees=("a web page: 'Log in'", "not an API"),
        requests=(3, 6),
        seconds=(2, 2.5),
    ),
    "a web page now and then": Case(
        row="200 empty/html",
        server={"faults": (Fault(PAGE, times=2),)},
        requests=(5, 5),
        seconds=(2, 3),
    ),
    "cut off at its longest": Case(
        row="finish=length",
        server=always(Rewrite(edits.finished("length"))),
        finish="length",
        truncated=3,
        requests=(3, 3),
    ),
    "cut off, and not wanted so": Case(
        row="finish=length",
        server=always(Rewrite(edits.finished("length"))),
        fields={"on_length": "fail"},
        ends="failed",
        said="content length",
        sees=("cut off at max_new_tokens", "on_length='keep'"),
        attempts=1,
        keeps_text=True,
        requests=(3, 3),
    ),
    "cut off, and asked for again": Case(
        row="finish=length",
        server={"lengths": Lengths(200, spread="constant")},
        fields={"on_length": "grow:2x"},
        finish="stop",
        requests=(6, 6),
    ),
    "cut off again": Case(
        row="finish=length",
        server=always(Rewrite(edits.finished("length"))),
        fields={"on_length": "grow:2x"},
        finish="length",
        truncated=3,
        requests=(6, 6),
    ),
    "filtered": Case(
        row="finish=content_filter",
        server=always(Rewrite(edits.finished("content_filter"))),
        ends="failed",
        said="content content_filter",
        sees=("content filter",),
        attempts=1,
        keeps_text=True,
        requests=(3, 3),
    ),
    # --- moved
    "307": Case(
        row="307/308 other host",
        server=always(Respond(307, headers=(("Location", "http://elsewhere.example/v1"),))),
        ends="stopped",
        said="run redirect",
        error="TargetError",
        sees=("http://elsewhere.example", "give the new one as base_url"),
        requests=(1, 3),
    ),
    "301": Case(
        row="301/302",
        server=always(Respond(301, headers=(("Location", "/v2/chat/completions"),))),
        ends="stopped",
        said="run redirect",
        error="TargetError",
        sees=("another path on the same host",),
        requests=(1, 3),
    ),
    # --- in the middle of a run
    "paused by somebody": Case(
        row="endpoint paused mid-run",
        server={
            "latency": Latency(1.0),
            "faults": (
                Fault(
                    Respond(400, {"error": "Bad Request: Invalid state: endpoint is paused"}),
                    after=2.5,
                ),
            ),
        },
        rows=30,
        fields={"max_concurrency": 3},
        ends="stopped",
        said="unavailable unavailable",
        error="UnavailableError",
        sees=("is paused", "not available for 9"),
        requests=(60, 120),
        seconds=(900, 950),
        done=9,
    ),
    "token revoked": Case(
        row="token revoked mid-run",
        server={
            "latency": Latency(1.0),
            "tokens": (Token(TOKEN),),
            "faults": (Fault(Revoke(), after=2.5, times=1),),
        },
        rows=30,
        fields={"max_concurrency": 3, "api_key": TOKEN},
        ends="stopped",
        said="run unauthorized",
        error="AuthenticationError",
        sees=("401", "HF_TOKEN"),
        requests=(12, 16),
        seconds=(4, 8),
        done=9,
    ),
}

ROWS: Final = (
    "400", "401", "402", "403", "404", "408, 409", "413", "422", "424", "429 bare",
    "429 Retry-After: 2", "429 Retry-After: 300", "429 HTTP-date", "429 retry-after-ms",
    "429 odd body", "429 x-should-retry:false", "500", "502 html", "503", "503 invalid UTF-8",
    "504", "529", "connect refused", "DNS failure", "TLS failure", "reset, truncated", "hang",
    "slow-loris", "infinite stream", "200 truncated JSON", "200 invalid UTF-8", "200 error body",
    "200 choices []/null", "200 content null", "200 empty/html", "finish=length",
    "finish=content_filter", "307/308 other host", "301/302", "gzip bomb", "clock jump",
    "endpoint paused mid-run", "token revoked mid-run", "disk full", "output dir deleted",
    "kill -9", "two processes, one output", "SIGINT, SIGTERM", "row cannot be read",
    "NUL, lone surrogates", "50 MB row", "duplicate ids", "corrupted journal",
    "changed parameters on resume", "changed input on resume",
)  # fmt: skip
"""Every row of the matrix."""

ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "DNS failure": (
        "engine/test_retry.py::test_a_host_that_does_not_resolve_is_a_typo",
        "engine/test_retry.py::test_a_host_that_has_resolved_before_is_waited_for",
        "targets/test_connecting.py::test_a_name_that_is_not_looked_up_in_time",
    ),
    "TLS failure": ("targets/test_connecting.py::test_a_private_authority_is_trusted_when_given",),
    "clock jump": ("limits/test_limiter.py::test_a_suspend_restarts_the_epoch_without_a_cut",),
    "disk full": (
        "acceptance/test_storage.py::test_a_full_disk",
        "acceptance/test_storage.py::test_no_room_for_the_output",
    ),
    "output dir deleted": ("acceptance/test_storage.py::test_an_output_folder_that_is_deleted",),
    "kill -9": (
        "acceptance/test_interruptions.py::test_a_dozen_kills",
        "store/test_journal_crash.py::test_killed_at_random",
    ),
    "two processes, one output": (
        "acceptance/test_interruptions.py::test_a_second_process_leaves_at_once",
        "store/test_journal_lock.py::test_second_process_is_told_who",
    ),
    "SIGINT, SIGTERM": (
        "acceptance/test_interruptions.py::test_one_interrupt_drains",
        "acceptance/test_interruptions.py::test_two_interrupts_cancel",
        "acceptance/test_interruptions.py::test_sigterm_is_an_interrupt_too",
    ),
    "row cannot be read": (
        "acceptance/test_generate.py::test_bad_rows",
        "rows/test_rows_lines.py::test_bad_rows_say_why",
    ),
    "NUL, lone surrogates": ("rows/test_rows_lines.py::test_bad_rows_say_why",),
    "50 MB row": (
        "rows/test_rows_lines.py::test_too_large_rows_are_skipped",
        "rows/test_rows_lines.py::test_large_line_is_never_held",
    ),
    "duplicate ids": ("runs/test_generate_dataset.py::test_repeated_ids_are_counted_and_kept",),
    "corrupted journal": (
        "acceptance/test_storage.py::test_flipped_bytes_in_the_journal",
        "store/test_journal_damage.py::test_one_flipped_byte",
    ),
    "changed parameters on resume": (
        "acceptance/test_generate.py::test_other_settings_are_refused",
    ),
    "changed input on resume": ("acceptance/test_generate.py::test_appended_rows_are_picked_up",),
}
"""Rows that other tests prove: no answer of a server is in them, or not one alone."""
