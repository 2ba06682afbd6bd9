"""A bar for one call of `generate`: after two seconds, if a person is watching.

Results are counted in the engine's thread and drawn in another, so that no request waits for a
terminal. The bar is tqdm's, which comes with huggingface_hub.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distilabel_endpoints.progress.displays import in_kernel
from distilabel_endpoints.records import Result

__all__ = ["CallProgress", "showing_call"]

DELAY: Final = 2.0
"""Seconds before a bar appears: shorter calls need none."""
_INTERVAL: Final = 0.3


class CallProgress:
    """How many rows of a call are done, and how many of these failed."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0

    def add(self, result: Result) -> None:
        """Count a row; called by the engine's thread alone."""
        self.done += 1
        self.failed += any(failure is not None for failure in result.failures)


@contextmanager
def showing_call(
    total: int, *, wanted: bool | None, delay: float = DELAY
) -> Iterator[CallProgress]:
    """What to count a call's rows with, shown while the block lasts.

    Args:
        total: rows of the call.
        wanted: whether to show it; None: on a terminal and in a notebook.
        delay: seconds before it appears.
    """
    counts = CallProgress()
    watched = in_kernel() or (sys.stderr is not None and sys.stderr.isatty())
    if total == 0 or not (watched if wanted is None else wanted):
        yield counts
        return
    over = threading.Event()
    name = "distilabel-endpoints-bar"
    thread = threading.Thread(
        target=_draw, args=(counts, total, over, delay), name=name, daemon=True
    )
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def _draw(counts: CallProgress, total: int, over: threading.Event, delay: float) -> None:
    if over.wait(delay):
        return
    bar = _bar(total)
    if bar is None:
        return
    bar.start_t -= delay  # the rate is the call's, not the bar's
    try:
        ends = False
        while not ends:
            ends = over.wait(_INTERVAL)
            bar.n = counts.done
            bar.set_postfix_str(f"{counts.failed:,} failed", refresh=True)
    finally:
        bar.close()


def _bar(total: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets tqdm.auto warns, and draws text
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return None
        return tqdm(total=total, unit="row", dynamic_ncols=True)
