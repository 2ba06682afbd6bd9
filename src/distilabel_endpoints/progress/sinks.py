"""The displays that need nothing but a stream: plain lines, one updating line, events, silence.

Rules
- Time is read from the snapshots (`elapsed`), so a sink has no clock, no thread and no timer.
- Everything a person sees passes `safe_text` here, whatever was done to it before.
- `update` and `finish` are called from one thread; `message` may be called from any.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import ClassVar, Protocol, Self

from distilabel_endpoints.progress.block import eta_text, in_flight_text, retries_text, state_text
from distilabel_endpoints.progress.events import (
    Event,
    event_line,
    finished_event,
    message_event,
    progress_event,
)
from distilabel_endpoints.progress.formatting import (
    Line,
    clip,
    count,
    plain,
    rate,
    safe_text,
    share,
)
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.report import report
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, RunSummary

__all__ = [
    "JsonProgress",
    "LineProgress",
    "PlainProgress",
    "Progress",
    "QuietProgress",
    "Relay",
    "Sink",
    "summary_text",
]

REPORT_WIDTH = 80
LINE_WIDTH = 79


class Progress(Protocol):
    """Where a run is watched from. Made by `open_progress`; use it as a context manager.

    A write may block for as long as the terminal is held (Ctrl-S) or the pipe is full: call from a
    thread that no request waits for. No method raises because the stream is gone.
    """

    @property
    def interval(self) -> float:
        """Seconds between updates worth sending; more do no harm."""
        ...

    def update(self, snapshot: RunSnapshot) -> None:
        """Show how the run stands, if it is time to."""
        ...

    def message(self, text: str) -> None:
        """Show a remark, kept in view above what is updated."""
        ...

    def finish(self, summary: RunSummary) -> None:
        """Show how the run ended. Nothing is shown after it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Sink(ABC):
    """What the displays have in common: an outlet, and an end."""

    interval: ClassVar[float] = 1.0

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._closed = False

    @abstractmethod
    def update(self, snapshot: RunSnapshot) -> None:
        """See `Progress`."""

    def message(self, text: str) -> None:
        """See `Progress`."""
        self._outlet.write(f"{safe_text(text, newlines=True)}\n")

    def finish(self, summary: RunSummary) -> None:
        """See `Progress`."""
        self.close()
        self._outlet.write(summary_text(report(summary, REPORT_WIDTH)))

    def close(self) -> None:
        """Leave the stream at the start of a line. May be called again."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Relay:
    """A display that passes on to another one whatever a subclass does not change."""

    def __init__(self, display: Progress) -> None:
        self._display = display

    @property
    def interval(self) -> float:
        """See `Progress`."""
        return self._display.interval

    def update(self, snapshot: RunSnapshot) -> None:
        """See `Progress`."""
        self._display.update(snapshot)

    def message(self, text: str) -> None:
        """See `Progress`."""
        self._display.message(text)

    def finish(self, summary: RunSummary) -> None:
        """See `Progress`."""
        self._display.finish(summary)

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.__exit__(exc_type, exc, traceback)


def summary_text(lines: Iterable[Line]) -> str:
    """The lines as they go to a stream without colour."""
    return "".join(f"{safe_text(plain(spans))}\n" for spans in lines)


class QuietProgress(Sink):
    """Silent, but for the summary of a run that needs something done."""

    def update(self, snapshot: RunSnapshot) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def finish(self, summary: RunSummary) -> None:
        """The summary, unless all is well."""
        if summary.exit_code:
            super().finish(summary)


class PlainProgress(Sink):
    """Lines for a log: one per change of phase or of what is waited for, and one now and then.

    "Now and then" is every 10 seconds, more rarely as the run grows older, and once a minute from
    the first hour on. A state that comes and goes is reported at most every 2 seconds.
    """

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self._phase: RunPhase | None = None
        self._waiting: str | None = None
        self._written_at = 0.0

    def update(self, snapshot: RunSnapshot) -> None:
        """A line, if it is time for one."""
        waiting = snapshot.waiting.text if snapshot.waiting else None
        since = snapshot.elapsed - self._written_at
        now_and_then = min(max(10.0, snapshot.elapsed / 60), 60.0)
        due = since >= (2.0 if waiting != self._waiting else now_and_then)
        if snapshot.phase is self._phase and not due:
            return
        self._phase, self._waiting, self._written_at = snapshot.phase, waiting, snapshot.elapsed
        self._outlet.write(f"{_clock(snapshot.elapsed)} {safe_text(_log_line(snapshot))}\n")


def _clock(elapsed: float) -> str:
    """`[0:02:10]`"""
    whole = int(elapsed)
    return f"[{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}]"


def _log_line(snapshot: RunSnapshot) -> str:
    """The snapshot in a line, of whatever length."""
    if snapshot.phase is RunPhase.SCANNING:
        return f"{snapshot.phase}: {count(snapshot.rows_read)} rows read"
    state = state_text(snapshot)
    if snapshot.phase is RunPhase.WAITING and snapshot.limit is None:
        return f"{snapshot.phase}: {state}"
    parts = [_done(snapshot), f"{count(snapshot.failed)} failed"]
    parts += [f"{count(snapshot.skipped)} skipped"] if snapshot.skipped else []
    parts += _pace(snapshot)
    eta = eta_text(snapshot)
    parts += [eta] if eta else []
    return f"{snapshot.phase}: {', '.join(parts)}" + (f" ({state})" if state else "")


def _done(snapshot: RunSnapshot) -> str:
    if snapshot.total is None:
        return f"{count(snapshot.done)} of {count(snapshot.rows_read)} rows read"
    part = share(snapshot.done, snapshot.total)
    return f"{count(snapshot.done)}/{count(snapshot.total)} rows ({part})"


def _pace(snapshot: RunSnapshot) -> list[str]:
    retries = retries_text(snapshot)
    return [
        f"{rate(snapshot.recent.rows)} rows/s",
        f"{rate(snapshot.recent.output_tokens)} tokens/s",
        in_flight_text(snapshot),
        *([retries] if retries else []),
    ]


class LineProgress(Sink):
    """One line that is written over, for streams on which a carriage return works and little else.

    That is a notebook's output, of a cell or of a `!command`: it keeps no cursor to move up.
    """

    interval: ClassVar[float] = 0.5

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self._shown = 0
        self._next = 0.0

    def update(self, snapshot: RunSnapshot) -> None:
        """Write the line anew, at most twice a second."""
        if self._closed or snapshot.elapsed < self._next:
            return
        self._next = snapshot.elapsed + self.interval * 0.9
        width = min(LINE_WIDTH, shutil.get_terminal_size().columns - 1)
        self._show(clip(safe_text(_log_line(snapshot)), width))

    def message(self, text: str) -> None:
        """A separate line; the updating one follows with the next update."""
        self._clear()
        super().message(text)

    def close(self) -> None:
        """Take the line away."""
        super().close()
        self._clear()

    def _clear(self) -> None:
        if self._shown:
            self._show("")
            self._outlet.write("\r")

    def _show(self, text: str) -> None:
        # Blanks instead of an erase sequence, which notebooks do not know.
        self._outlet.write(f"\r{text}{' ' * (self._shown - len(text))}")
        self._shown = len(text)


class JsonProgress(Sink):
    """Events for machines, see `events`: one a second at most, and one per change of state."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self._state: tuple[RunPhase, str | None] | None = None
        self._next = 0.0

    def update(self, snapshot: RunSnapshot) -> None:
        """A `progress` event, if it is time for one."""
        state = snapshot.phase, snapshot.waiting.text if snapshot.waiting else None
        if state == self._state and snapshot.elapsed < self._next:
            return
        self._state = state
        self._next = snapshot.elapsed + self.interval * 0.9
        self._emit(progress_event(snapshot))

    def message(self, text: str) -> None:
        """A `message` event."""
        self._emit(message_event(text))

    def finish(self, summary: RunSummary) -> None:
        """The `finished` event."""
        self._emit(finished_event(summary))

    def _emit(self, event: Event) -> None:
        self._outlet.write(event_line(event))
