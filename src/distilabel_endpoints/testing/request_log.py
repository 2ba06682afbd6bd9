"""What the endpoint saw: one record per request, counters, and the seconds each was served for.

Records are frozen; one of a request still being answered has no `end`. With the log off only
latencies and counters are kept, in memory that grows by eight bytes a request.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["EndpointStatistics", "Entry", "RequestKind", "RequestLog", "RequestRecord"]

RequestKind = Literal["generate", "about", "hub", "control", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request. Times are seconds on the serving loop's clock."""

    arrival: float
    start: float | None
    """When it got its slot, if it came that far."""
    end: float | None
    """When the last byte of the answer was handed over, or the client left."""
    kind: RequestKind
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""
    body: Any = field(default=None, repr=False)
    """Parsed JSON; the raw bytes if it was not JSON."""
    status: int | None = None
    """`None` while it is answered, and if the answer never came to its end."""
    in_flight: int = 0
    """Generating requests there were at its arrival, itself included if it is one."""
    aborted: bool = False
    """The client left before the end."""
    fault: str | None = None
    """The action that hit it, by name."""
    input_tokens: int = 0
    """Of its prompt, once it is generated for: what a provider bills, whoever gets to see it."""
    output_tokens: int = 0
    """Of its answer, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """A snapshot of the counters. `in_flight` and what follows count generating requests."""

    requests: int
    by_status: Mapping[int, int]
    in_flight: int
    peak_in_flight: int
    running: int
    """How many of them hold a slot."""
    peak_running: int
    aborted: int
    output_tokens: int


class Entry:
    """A request being answered: the record in the making."""

    __slots__ = (
        "aborted",
        "arrival",
        "body",
        "end",
        "fault",
        "headers",
        "in_flight",
        "input_tokens",
        "kind",
        "method",
        "output_tokens",
        "path",
        "query",
        "start",
        "status",
    )

    def __init__(self, kind: RequestKind, method: str, path: str, arrival: float) -> None:
        self.kind: RequestKind = kind
        self.method = method
        self.path = path
        self.arrival = arrival
        self.query = ""
        self.headers: Mapping[str, str] = {}
        self.body: Any = None
        self.start: float | None = None
        self.end: float | None = None
        self.status: int | None = None
        self.in_flight = 0
        self.aborted = False
        self.fault: str | None = None
        self.input_tokens = self.output_tokens = 0

    def record(self) -> RequestRecord:
        """The entry as it stands now."""
        return RequestRecord(**{name: getattr(self, name) for name in self.__slots__})


class RequestLog:
    """Written by the serving loop alone; read from any thread."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._in_flight = self._running = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was seen; requests being answered are still counted."""
        self._entries: list[Entry] = []
        self._by_status: Counter[int] = Counter()
        self._latencies = array("d")
        self._requests = self._aborted = self._output_tokens = 0
        self._peak_in_flight, self._peak_running = self._in_flight, self._running

    def arrive(self, entry: Entry) -> None:
        """A request came in."""
        self._requests += 1
        if entry.kind == "generate":
            self._in_flight += 1
            self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        entry.in_flight = self._in_flight
        if self._keep:
            self._entries.append(entry)

    def leave(self, entry: Entry, now: float) -> None:
        """A request was answered, or its client left."""
        entry.end = now
        if entry.kind == "generate":
            self._in_flight -= 1
        if entry.status is not None:
            self._by_status[entry.status] += 1
        self._aborted += entry.aborted

    def begin(self, entry: Entry, now: float) -> None:
        """A request got its slot."""
        entry.start = now
        self._running += 1
        self._peak_running = max(self._peak_running, self._running)

    def finish(self) -> None:
        """A request gave its slot back."""
        self._running -= 1

    def serve(self, seconds: float) -> None:
        """A request is to be generated for this long, or was, if that was not known before."""
        self._latencies.append(seconds)

    def count_tokens(self, entry: Entry, input_tokens: int, output_tokens: int) -> None:
        """A request is going to be generated for, with that many tokens."""
        entry.input_tokens, entry.output_tokens = input_tokens, output_tokens
        self._output_tokens += output_tokens

    def records(self) -> tuple[RequestRecord, ...]:
        """Every request so far, in order of arrival."""
        return tuple(entry.record() for entry in list(self._entries))

    def latencies(self) -> tuple[float, ...]:
        """Seconds of service, in the order in which requests got their slots."""
        return tuple(self._latencies)

    def statistics(self) -> EndpointStatistics:
        """The counters now."""
        return EndpointStatistics(
            requests=self._requests,
            by_status=dict(self._by_status),
            in_flight=self._in_flight,
            peak_in_flight=self._peak_in_flight,
            running=self._running,
            peak_running=self._peak_running,
            aborted=self._aborted,
            output_tokens=self._output_tokens,
        )
