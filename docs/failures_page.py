"""Writes `docs/failures.md` from the table that classifies: `python docs/failures_page.py`.

The words about a class are here, its numbers and every rule come from the code. A test fails when
the page is out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from distilabel_endpoints._clients.rules import FAULTS, OTHER_RULES, RULES, Rule
from distilabel_endpoints._engine.retry_settings import RetrySettings
from distilabel_endpoints.errors import run_error
from distilabel_endpoints.records import SURELY_THE_ROWS, Failure, FailureKind

PAGE: Final = Path(__file__).with_name("failures.md")
_BOUNDS: Final = RetrySettings()
_ATTEMPTS: Final = {
    FailureKind.TRANSIENT: f"yes, {_BOUNDS.transient_attempts} at most",
    FailureKind.BAD_RESPONSE: f"yes, {_BOUNDS.bad_response_attempts} at most",
    FailureKind.ROW: "the only one",
    FailureKind.CONTENT: "it was answered",
}
_REACTION: Final = {
    FailureKind.THROTTLE: (
        (
            "the limit goes down, requests are spaced out; a pause that the server asks for is "
            f"kept, up to `max_pause` ({_BOUNDS.longest_pause:.0f} s)"
        ),
        "fails a row only that is refused while others are answered, see below",
    ),
    FailureKind.UNAVAILABLE: (
        "one request at a time asks whether the endpoint is back, 1 to 15 s apart",
        f"exit code 3 after `wait_ready` ({_BOUNDS.wait_ready:.0f} s); the run can be resumed",
    ),
    FailureKind.TRANSIENT: (
        (
            f"tried again after a random wait of up to {_BOUNDS.first_delay:g} s times 2, 4, 8 "
            f"..., {_BOUNDS.longest_delay:.0f} s at most"
        ),
        "the row fails",
    ),
    FailureKind.BAD_RESPONSE: ("as `transient`", "the row fails"),
    FailureKind.ROW: ("none", "the row fails; the run continues"),
    FailureKind.RUN: (
        "held back until others show whose failure it is, see below",
        "exit code 3, and no row is recorded as failed; or the row fails, and the run continues",
    ),
    FailureKind.LOCAL: ("nothing new is sent", "exit code 4; what was committed stays"),
    FailureKind.CONTENT: ("none", "the row fails, and keeps the text that was not taken"),
}
_CONTENT: Final = (
    ("`finish_reason` is `content_filter`", "content_filter", "the text is kept in the failure"),
    ('`finish_reason` is `length`, with `on_length="fail"`', "length", "the text is kept"),
    (
        '`finish_reason` is `length`, with `on_length="grow:2x"`',
        None,
        (
            "asked for once more with `max_new_tokens` times 2 (or any other factor over 1); cut "
            "off again, the longer text is kept, and if that try fails, the first one"
        ),
    ),
    (
        "`finish_reason` is `length`, and there is no text: all went into thinking",
        "budget_spent",
        'the thinking is kept; `on_length="grow:2x"` asks once more, with more tokens',
    ),
    ("`finish_reason` is `repetition`", "repetition", "the text is kept"),
    ("an answer that does not fit `structured_output`", "off_schema", "the text is kept"),
)


_ROWS_OWN: Final = ", ".join(f"`{code}`" for code in sorted(SURELY_THE_ROWS))
_DEPENDS: Final = """
- **Everybody's failure.** {bounds.systemic_rows} rows in a row that are refused alike (class `row`
  or `run`, the same words but for numbers and quotes), with no answer between, are not to blame:
  the run stops, and none of them is recorded as failed. Until then a refusal is held back; the next
  answer settles that it was the row's own. What is about one prompt beyond doubt ({own}) is the
  row's, however many come first.
- **No single row ends a run** while others are answered. A refusal of the class `run` (403, 404,
  405, 501, a redirect, the same inside a 200 or a stream) is held back. When a request that was
  sent later is answered, the row is asked for again. Refused again, it has failed, with the code of
  the refusal. When nothing else is under way, it is asked for once more, {bounds.confirm_after:.0f}
  s later, and fails if others were answered before: in this process or, in a resumed run, in an
  earlier one. If nothing ever was answered, it ends the run.
- **The account's failure.** 401, 402 and 407 end the run after {bounds.account_rows} rows alike, or
  after one if this process was answered nothing: also the last row of a resumed run, as a key may
  have expired and a credit may be spent since. A row whose refusal repeats while others are
  answered (a 401 three times), or that is refused twice when nothing else is left, has failed
  itself. So has the last row of a resumed run if the server says that some credit is left, and that
  it is too little for this request (`too_expensive`).
- **One row's failure.** A row that fails {bounds.poison_attempts} times while
  {bounds.poison_successes} others are answered is set aside with the code `poison`.
- **Outages are not amplified.** {bounds.retry_burst:.0f} retries, and as many as {share} of the
  answers, come by themselves. Others wait: each answer lets two go, and with no answer one goes as
  a probe, 1 to 15 s apart. Meanwhile no row pays an attempt; after `wait_ready`
  ({bounds.wait_ready:.0f} s) of nothing but failures the run stops with exit code 3. The last rows
  of a run, when no others can show whether it is they who fail, are not spared: up to
  {bounds.retry_burst:.0f} fail after their attempts, more of them after that time. When the retries
  are used up, the waits of these rows are 30 to 60 s; a probe that fails meanwhile costs nothing,
  and one that is answered ends the waits of all.
- **An error that can never pass.** {bounds.systemic_rows} rows that get a 500 in the same words,
  or the same thing that is not an answer (`unusable`, `encoding`, `protocol`), retries included,
  for {bounds.hopeless_after:.0f} s before the first answer, end the run. Words that say nothing
  ("Internal Server Error") are an outage, and waited for.
- **A gateway alone.** 502, 504, 520 to 523, 525 to 527 and 530 within 25 s, without an answer in
  the last 30 s, are `unavailable`: nothing is behind the gateway.
- **A gateway's ceiling.** A 504 or 524 after 25 s or more is tried again as a stream.
- **A 503 while others are answered** (in the last 2 s, or 1.5 times as long as an answer takes) is
  a refusal of the class `throttle`, whatever it says: a full queue, nginx's `limit_req`.
- **A row that alone is refused.** A row that is throttled {bounds.throttle_stops} times has failed
  if, each time, requests that were sent later were answered, at least four for each other refusal
  ({few} times are enough if the server names a wait of 5 s or more, and refuses again after it).
  When a 429 has lasted for `wait_ready` in a run that was answered before, and fewer than
  {bounds.systemic_rows} rows are left, those have failed; the next resume asks for them again.
- **A 404 after an answer**, for several rows or with no answer since, is `unavailable`: the
  endpoint is being replaced.
- **Rows left over.** When a 404 or 503 has lasted for `wait_ready`, the run stops. If fewer than
  {bounds.systemic_rows} rows are left, those fail instead that met it first while others were
  answered, or that a resumed run began with; the next resume asks for them again.
- **A 401** is asked about once more, {bounds.confirm_after:.0f} s later; meanwhile nothing else is
  sent. **Three web pages** in a row, or a host that does not resolve three times before the first
  answer, stop the run.
- **An endpoint that is paused** in the middle of a run is waited for, and resumed only with
  `wake=True` (`--wake`), as that costs its owner money.
- **Text that is not UTF-8** is asked for once more. What then comes is kept with U+FFFD, and
  marked: `utf8_replaced`, and a warning in the column `error`.
- **`x-should-retry: false`** with a 429 is tried again later, and stops the run after
  {bounds.throttle_stops} such rows; with anything else it is the last attempt.
""".lstrip()
_WHEN: Final = {
    "content_filter": "it speaks of content, and not only of an organisation's or network's policy",
    "max_tokens_too_large": "`max_new_tokens` alone reaches the limit that the text names",
    "too_expensive": "it names how much is left, and that is more than nothing",
    "no_credit": "every limit that it names is 0",
    "too_large": "it says so, or the number requested is above the limit",
}


def page() -> str:
    """All of the page."""
    return "\n".join([*_head(), *_classes(), *_context(), *_rules()])


def _head() -> Iterator[str]:
    yield "# What can go wrong, and what happens then"
    yield ""
    yield "<!-- written by docs/failures_page.py; change the code, then run that -->"
    yield ""
    yield "Only the engine retries; the client libraries' own retries are off. A failure is read"
    yield "from the wire, so both mean the same by it. It has a class, which decides, and a code,"
    yield 'which says what it was: `output["errors"]`, the column `error` and `distilabel-endpoints'
    yield "status` show both, with the server's own words and how to fix it."
    yield ""


def _classes() -> Iterator[str]:
    yield "## Classes"
    yield ""
    yield "| class | costs the row an attempt | what the engine does | how it ends |"
    yield "|---|---|---|---|"
    for kind in FailureKind:
        does, ends = _REACTION[kind]
        yield f"| `{kind}` | {_ATTEMPTS.get(kind, 'no')} | {does} | {ends} |"
    yield ""
    yield "Exit codes: 0 all rows are answered, 1 wrong usage, 2 finished with failed rows, 3 the"
    yield "endpoint stopped the run, 4 the disk did, 5 another process writes the same output, 130"
    yield "and 143 a signal. After 2 to 5 and a signal the same command resumes where it stopped."
    yield ""


def _context() -> Iterator[str]:
    yield "## What depends on the others"
    yield ""
    share = f"{_BOUNDS.retry_share:.0%}".replace("%", " %")
    few = _BOUNDS.throttle_stops // 4
    yield _DEPENDS.format(bounds=_BOUNDS, share=share, own=_ROWS_OWN, few=few).rstrip()
    yield ""


def _rules() -> Iterator[str]:
    yield "## Rules"
    yield ""
    yield "The first that fits decides. *Text* is what the server says, without the prompt. An"
    yield "error inside a 200 or a stream has the status that it names; one that names none is"
    yield "judged by the text alone, by all rules that have one. Capitals, and what joins words"
    yield "(`rate limit`, `rate_limit`, `RateLimit`), make no difference; `...` is any short text."
    yield ""
    yield "| what is seen | class | code | raised as, if it stops a run | how to fix it |"
    yield "|---|---|---|---|---|"
    for rule in RULES:
        yield _row(_seen(rule), rule)
    for seen, rule in OTHER_RULES:
        yield _row(seen, rule)
    for fault, (kind, hint) in FAULTS.items():
        code = "redirect" if fault == "origin" else str(fault)
        yield _row(f"below HTTP: {str(fault).replace('_', ' ')}", Rule(code, kind, hint=hint))
    for seen, code, fix in _CONTENT:
        shown = f"`content` | `{code}`" if code else "- | -"
        yield f"| {seen} | {shown} | - | {fix} |"
    yield ""


def _seen(rule: Rule) -> str:
    """Statuses and words, and the words that an error without a status is known by."""
    seen = ", ".join(map(str, sorted(rule.statuses))) or "any error"
    if rule.text:
        seen += f" with *text* like {_like(rule.text)}"
    if rule.when is not None:
        seen += f", if {_WHEN[rule.code]}"
    if rule.without_status:
        seen += f"; an error without a status with *text* like {_like(rule.without_status)}"
    return seen


def _like(phrases: Iterable[str]) -> str:
    return ", ".join(f"`{phrase.replace('#', '5').removeprefix('^')}`" for phrase in phrases)


def _row(seen: str, rule: Rule) -> str:
    stops = rule.kind in {FailureKind.RUN, FailureKind.UNAVAILABLE} or rule.code == "web_page"
    raised = f"`{_exception(rule)}`" if stops else "-"
    return f"| {seen} | `{rule.kind}` | `{rule.code}` | {raised} | {rule.hint or '-'} |"


def _exception(rule: Rule) -> str:
    status = min(rule.statuses, default=None)
    failure = Failure(kind=rule.kind, code=rule.code, status=status, message="")
    return type(run_error(failure)).__name__


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
