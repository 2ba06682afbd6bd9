"""What the library logs and warns of while a command runs, in the command's own display.

A wait for an endpoint becomes part of the run's state, so that its seconds are live and it is gone
when it is over; everything else is a remark. For the command line only: in other programs logging
and warnings are the program's own.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from distilabel_endpoints.progress.sinks import Progress, Relay
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, Waiting

__all__ = ["showing_notices"]


class _Noticing(Relay):
    """A display that also shows what is logged."""

    def __init__(self, display: Progress) -> None:
        super().__init__(display)
        self._shows_state = False
        self._waiting: str | None = None
        self._since = 0.0

    def show(self, record: logging.LogRecord) -> None:
        """Take what is waited for into the state; show anything else."""
        text = getattr(record, "waiting_for", None)
        if text is None or not self._shows_state:
            self.message(record.getMessage())
            return
        if self._waiting is None:
            self._since = time.monotonic()
        self._waiting = text

    def update(self, snapshot: RunSnapshot) -> None:
        """See `Progress`. Once there is a limit, the endpoint was found."""
        if snapshot.phase is not RunPhase.SCANNING or snapshot.limit is not None:
            self._waiting = None
        if self._waiting is not None:
            waiting = Waiting(self._waiting, time.monotonic() - self._since)
            snapshot = replace(snapshot, phase=RunPhase.WAITING, waiting=waiting)
        super().update(snapshot)

    def __enter__(self) -> Self:
        super().__enter__()
        self._shows_state = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shows_state = False
        super().__exit__(exc_type, exc, traceback)


class _LogHandler(logging.Handler):
    def __init__(self, show: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(logging.WARNING)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record)


@contextmanager
def showing_notices(progress: Progress) -> Iterator[Progress]:
    """`progress`, which for the length of the block also shows what is logged and warned of."""
    noticing = _Noticing(progress)
    handler = _LogHandler(noticing.show)
    logger, shown = logging.getLogger("distilabel_endpoints"), warnings.showwarning

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        progress.message(f"Warning: {message}")

    logger.addHandler(handler)
    warnings.showwarning = show
    try:
        yield noticing
    finally:
        warnings.showwarning = shown
        logger.removeHandler(handler)
