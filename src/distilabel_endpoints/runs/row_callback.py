"""`on_row`: a function of the caller's that sees every row as it finishes.

Rules
- It is called in the run's thread, one row at a time, in the order of finishing.
- A row's result is kept whatever the function does: a resumed run calls it for later rows only.
- When it raises, nothing new is sent, what is in flight is kept, and the run ends resumably.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from distilabel_endpoints._engine.in_flight import Drain
from distilabel_endpoints.errors import UserCodeError
from distilabel_endpoints.llms.outputs import Output, output_of
from distilabel_endpoints.records import Result
from distilabel_endpoints.runs.session import Session

__all__ = ["OnRow", "row_callback"]

OnRow = Callable[[Output], object]
"""Gets a row's `Output`, whose `index` is the row's place in the input, from 0."""

_GRACE: Final = 600.0
"""Seconds for what is in flight: an attempt's usual time limit."""


def row_callback(
    on_row: OnRow | None, session: Session, drain: Drain
) -> Callable[[Result], None] | None:
    """What to call with each result; `None` without a function of the caller's.

    Args:
        on_row: the function.
        session: learns of the error that ends the run.
        drain: ends the sending.
    """
    if on_row is None:
        return None

    def call(result: Result) -> None:
        # It has raised once: what is in flight is kept, and not shown to it.
        if isinstance(session.error, UserCodeError):
            return
        try:
            on_row({**output_of(result), "index": result.ordinal})
        except Exception as error:  # noqa: BLE001 - whatever the caller's code raises
            reason = f"{type(error).__name__}: {error}"
            session.error = UserCodeError("on_row", result.ordinal, reason)
            # As `raise ... from` would do it, but the run raises it only when what is in flight has
            # ended.
            session.error.__cause__ = error
            drain.begin(_GRACE)

    return call
