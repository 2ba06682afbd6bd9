"""What Ctrl-C, SIGTERM and SIGHUP mean during a run.

Rules
- The first of them stops new requests; those in flight are given time to finish.
- A second signal cancels them. What has finished is committed either way.
- A signal that is ignored stays ignored: `nohup` and a script's background jobs ask for that.
- Only the main thread can take signals; elsewhere (a notebook's worker) the caller's own
  KeyboardInterrupt cancels at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final

from distilabel_endpoints.errors import traceback_lines
from distilabel_endpoints.run_state import RunSummary

__all__ = ["GRACE_SECONDS", "Stopping", "interruption", "watch_signals"]

GRACE_SECONDS: Final = {signal.SIGINT: 30.0, signal.SIGTERM: 15.0, signal.SIGHUP: 15.0}
"""How long requests in flight may take to finish after the first signal."""


class Stopping:
    """Whether a run has been asked to stop, and by what.

    Args:
        drain: called at the first signal, with the seconds of grace; from the main thread.
    """

    def __init__(self, drain: Callable[[float], None]) -> None:
        self._drain = drain
        self.signal: signal.Signals | None = None
        self.grace: float = 0.0

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells say it."""
        return 128 + (self.signal or signal.SIGINT)

    def take(self, number: int, _: FrameType | None) -> None:
        """The signal handler. A second signal interrupts the main thread."""
        if self.signal is not None:
            raise KeyboardInterrupt
        # Set before anything else: a second signal may come in the middle of this one.
        self.signal = signal.Signals(number)
        self.grace = GRACE_SECONDS[self.signal]
        self._drain(self.grace)


@contextmanager
def watch_signals(stopping: Stopping) -> Iterator[None]:
    """Take these signals for the length of the block, unless they are ignored."""
    # `signal.signal` raises anywhere else.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in GRACE_SECONDS}
    # None: not a handler of Python's, so it could not be put back.
    before = {n: old for n, old in before.items() if old not in {signal.SIG_IGN, None}}
    try:
        for number in before:
            signal.signal(number, stopping.take)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interruption(summary: RunSummary) -> KeyboardInterrupt | SystemExit:
    """What a run that a signal ended raises in Python: its `summary` attribute says how it stands.

    A `KeyboardInterrupt` of exactly that type, as Python then dies of SIGINT: a shell's loop over
    scripts ends too. After SIGTERM and SIGHUP a `SystemExit` with the status a shell would show.
    """
    done = "" if summary.pending is None else f" with {summary.pending} rows left to do"
    text = (
        f"Interrupted{done}; what is finished is kept in {summary.journal}. Call it again with the "
        "same arguments to resume (in a notebook: run this cell again)."
    )
    error: KeyboardInterrupt | SystemExit = KeyboardInterrupt(text)
    if summary.exit_code != 128 + signal.SIGINT:
        error = SystemExit(summary.exit_code)
        error.add_note(text)
    vars(error)["summary"] = summary
    # IPython calls it: the run's own frames say nothing to whoever pressed Ctrl-C.
    vars(error)["_render_traceback_"] = partial(traceback_lines, error, text)
    return error
