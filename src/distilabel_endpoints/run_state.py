"""What a run is doing, and how it ended: the frozen values that observers are given.

Rules
- A run spans resumes. `ok`, `failed`, `skipped` and every name with `run_` count the whole of it;
  `elapsed`, `tokens` and the rates are this process's own.
- Seconds are floats read from a monotonic clock, rates are per second, tokens are as the server
  counted them (0 if it did not).
- Nothing here reads a clock, touches a stream, or holds a prompt, an answer or a secret.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from distilabel_endpoints.quality.alarms import Alarm
from distilabel_endpoints.records import Failure, FailureKind
from distilabel_endpoints.served import Served, ServedBy

__all__ = [
    "FailureGroup",
    "FailureTally",
    "RateWindow",
    "Rates",
    "RunEnding",
    "RunPhase",
    "RunSnapshot",
    "RunSummary",
    "Spent",
    "TokenCount",
    "Waiting",
    "estimate_eta",
]


class RunPhase(StrEnum):
    """What a run is busy with."""

    SCANNING = "scanning"
    """Reading the input, and what is done of it already."""
    WAITING = "waiting"
    """Nothing is sent but a probe: the endpoint is starting, away, or asked for a pause."""
    RUNNING = "running"
    DRAINING = "draining"
    """Nothing new is sent; what is in flight is waited for."""
    EXPORTING = "exporting"
    FINISHED = "finished"


class RunEnding(StrEnum):
    """Why a run came to its end, or this process of it."""

    FINISHED = "finished"
    """Every row ended, `ok`, `failed` or `skipped`."""
    ENDPOINT = "endpoint"
    """No row could be answered any more: a `RunError`."""
    INTERRUPTED = "interrupted"
    """A signal."""
    STORAGE = "storage"
    """This machine's disk: a `StorageError`."""
    INPUT = "input"
    """The input was changed while the run was reading it: an `InputChangedError`."""
    USER_CODE = "user_code"
    """A function of the caller's raised an error: a `UserCodeError`."""
    ALARM = "alarm"
    """Too many answers are flawed: an `AlarmError`."""
    BUDGET = "budget"
    """The budget does not pay for another attempt."""
    PILOT = "pilot"
    """The random rows that the forecast is made from are done; nobody said to continue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has spent, earlier processes and failed attempts included."""

    tokens: int = 0
    """Input and output together, at most."""
    unknown_tokens: int = 0
    """Of these, what was not counted: attempts that broke off cost what was reserved for them."""
    dollars: float | None = None
    """At most; `None` if the price is not known."""
    unknown_dollars: float | None = None
    """Of these, the same."""
    seconds: float = 0.0
    """While a process worked on the run."""
    budget: str | None = None
    """What it may spend, for people; `None`: as it likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Tokens as the server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rows that ended, and tokens that were generated, per second."""

    rows: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why fewer requests are under way than could be, or none."""

    text: str
    """A few words that stay the same while the state does: `endpoint starting`, `throttled`."""
    elapsed: float = 0.0
    """Seconds since this state began."""
    remaining: float | None = None
    """Seconds until it is over, if that is known (`Retry-After`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A run at one instant. Cheap to make several times a second."""

    elapsed: float
    """Seconds since this process began the run."""
    phase: RunPhase
    total: int | None = None
    """Rows of the input; `None` until they are counted, or if they cannot be (a stream)."""
    rows_read: int = 0
    """Rows read from the input so far."""
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """Rows that could not be used and were passed over, as `--on-bad-row skip` says."""
    resumed: int = 0
    """Of these, the rows that had ended before this process began."""
    in_flight: int = 0
    """Requests the endpoint is working on."""
    limit: int | None = None
    """Requests that may be in flight; `None` before the first one is sent."""
    limit_reason: str | None = None
    """Why the limit last changed, in a few words."""
    tokens: TokenCount = TokenCount()
    """What this process's rows cost."""
    run_tokens: TokenCount = TokenCount()
    """What all rows that ended cost, those of earlier processes included."""
    recent: Rates = Rates()
    """Rates over the last half minute or so, see `RateWindow`."""
    mean: Rates = Rates()
    """Rates since this process sent its first request."""
    retries: Mapping[FailureKind, int] = field(default_factory=dict)
    """Attempts of this process that were repeated, by what went wrong."""
    eta: float | None = None
    """Seconds until the last row ends at the present rate; `None` if it is not known."""
    served: Mapping[ServedBy, Served] = field(default_factory=dict)
    """What each endpoint, and each provider behind it, has answered this process."""
    spent: Spent | None = None
    """`None` before it is known."""
    waiting: Waiting | None = None
    drain_left: float | None = None
    """While draining: seconds until what is in flight is cancelled; `None` for never."""

    @property
    def done(self) -> int:
        """Rows that ended, in whatever way."""
        return self.ok + self.failed + self.skipped

    @property
    def pending(self) -> int | None:
        """Rows that have not ended; `None` if `total` is not known."""
        return None if self.total is None else max(0, self.total - self.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failed rows with one reason, and an example of them."""

    kind: FailureKind
    code: str | None = None
    status: int | None = None
    """The HTTP status, if there was one."""
    message: str
    """What the server said about the example row."""
    hint: str | None = None
    """How to fix it."""
    count: int
    """Rows."""
    example_ordinal: int
    """The example's place in the input, from 0."""
    example_source: str | None = None
    """The same for people: `prompts.jsonl:17, byte 2048`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a run stands when this process is done with it."""

    ending: RunEnding
    exit_code: int
    """0 all ok, 1 the input changed or your own code raised an error, 2 failed rows, 3 the endpoint
    stopped us, 4 storage, 6 the budget, 7 an alarm, 8 a pilot that waits for a yes, 130 or 143 a
    signal."""
    reason: str | None = None
    """If something stopped the run: what, and how to fix it."""
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    pending: int | None = 0
    """Rows that have not ended; `None` if the input was not read to its end."""
    resumed: int = 0
    """Of the rows that ended, those that had ended before this process began."""
    failures: tuple[FailureGroup, ...] = ()
    """Most rows first."""
    answers: int = 0
    """Completions in the run: `num_generations` to a row that is ok."""
    truncated: int = 0
    """Answers that were cut off at `max_new_tokens` (`finish_reason` is `length`)."""
    alarms: tuple[Alarm, ...] = ()
    """What this process raised because of its answers, in order."""
    elapsed: float = 0.0
    """Wall seconds of this process."""
    tokens: TokenCount = TokenCount()
    """What this process's rows cost."""
    run_tokens: TokenCount = TokenCount()
    """What all rows that ended cost."""
    spent: Spent | None = None
    """What the run has spent; `None` if it sent nothing, or if it is not kept."""
    forecast: Mapping[str, Any] | None = None
    """What the whole run will need, by its pilot: the fields of `Forecast`, each an interval with
    `low`, `mid` and `high`; `None` without one."""
    mean: Rates = Rates()
    """Since this process sent its first request."""
    damaged_records: int = 0
    """Journal records that could not be trusted; their rows were done again."""
    duplicate_ids: int = 0
    """Rows whose id an earlier row has too; they are kept, in order."""
    output: str | None = None
    """The file that was written; `None` if none was."""
    journal: str | None = None
    """Where the results are kept; `None` if they are not."""
    resume_command: tuple[str, ...] | None = None
    """The arguments of the command that resumes the run; `None` if nothing is left to do."""


class RateWindow:
    """Rates over the recent past, from running totals sampled at any pace.

    The window is `span` seconds, or longer if fewer than `least_rows` rows ended in it, so that
    a slow endpoint's rate is not a row of zeros and spikes; after `longest` seconds even these are
    forgotten. When all comes to a halt, the rates fall towards zero. Memory is bounded.

    Args:
        span: seconds.
        least_rows: rows a window should see end.
        longest: seconds.
    """

    def __init__(self, span: float = 30.0, *, least_rows: int = 10, longest: float = 600.0) -> None:
        self._span = span
        self._least_rows = least_rows
        self._longest = longest
        self._spacing = min(0.5, span / 10)
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, rows: int, output_tokens: int) -> None:
        """Take a sample of the totals at `now`, in seconds of a clock that never goes back."""
        samples = self._samples
        if len(samples) > 1 and samples[-1][0] - samples[-2][0] < self._spacing:
            samples.pop()
        samples.append((now, rows, output_tokens))
        while len(samples) > 1 and self._covers(samples[1], now):
            samples.popleft()

    def rates(self, now: float) -> Rates:
        """The rates at `now`; zero in the first half second, which tells nothing."""
        if not self._samples:
            return Rates()
        start, rows, tokens = self._samples[0]
        _, last_rows, last_tokens = self._samples[-1]
        seconds = now - start
        if seconds < self._spacing:
            return Rates()
        # Rows can be taken back from `failed` when a refusal turns out to be everybody's.
        return Rates(
            rows=max(0, last_rows - rows) / seconds,
            output_tokens=max(0, last_tokens - tokens) / seconds,
        )

    def _covers(self, sample: tuple[float, int, int], now: float) -> bool:
        """Whether a window that starts at `sample` is long enough."""
        age = now - sample[0]
        busy = self._samples[-1][1] - sample[1] >= self._least_rows
        return age >= self._longest or (age >= self._span and busy)


def estimate_eta(pending: int | None, recent: Rates, *, waiting: bool = False) -> float | None:
    """Seconds until `pending` rows have ended at the recent rate.

    `None` while it is not known: the number of rows is unknown, none has ended lately, or the
    endpoint is not there (`waiting`).
    """
    if pending == 0:
        return 0.0
    if pending is None or waiting or recent.rows <= 0:
        return None
    return pending / recent.rows


_NUMBERS: Final = re.compile(r"\d+")
_MOST_GROUPS: Final = 50


class FailureTally:
    """Sorts failed rows by reason. Numbers in a message do not make another reason.

    At most 50 messages are kept apart; further ones are counted with their status and code alone,
    so memory is bounded whatever a server says.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[object, ...], FailureGroup] = {}

    def add(self, failure: Failure, ordinal: int, source: str | None = None, rows: int = 1) -> None:
        """Count `rows` rows, of which the one at `ordinal` is the example if it is the first."""
        coarse = (failure.kind, failure.status, failure.code)
        key: tuple[object, ...] = (*coarse, _NUMBERS.sub("#", failure.message))
        if key not in self._groups and len(self._groups) >= _MOST_GROUPS:
            key = coarse
        known = self._groups.get(key)
        if known is not None:
            self._groups[key] = replace(known, count=known.count + rows)
            return
        self._groups[key] = FailureGroup(
            kind=failure.kind,
            code=failure.code,
            status=failure.status,
            message=failure.message,
            hint=failure.hint,
            count=rows,
            example_ordinal=ordinal,
            example_source=source,
        )

    def groups(self) -> tuple[FailureGroup, ...]:
        """Most rows first; equally many in the order of their examples."""
        order = sorted(self._groups.values(), key=lambda g: (-g.count, g.example_ordinal))
        return tuple(order)
