"""What Ctrl-C and SIGTERM mean while a run goes on.

Rules
- The first SIGINT or SIGTERM stops new requests; those in flight are given time to finish.
- The second SIGINT cancels them. What has finished is committed either way.
- Only the main thread can take signals; elsewhere (a notebook's worker) the caller's own
  KeyboardInterrupt cancels at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["GRACE_SECONDS", "Stopping", "watch_signals"]

GRACE_SECONDS: Final = {signal.SIGINT: 30.0, signal.SIGTERM: 15.0}
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
        self.signal = signal.Signals(number)
        self.grace = GRACE_SECONDS[self.signal]
        self._drain(self.grace)


@contextmanager
def watch_signals(stopping: Stopping) -> Iterator[None]:
    """Take SIGINT and SIGTERM for the length of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stopping.take) for number in GRACE_SECONDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
