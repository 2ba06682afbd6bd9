"""Limits what a Jinja template may do: processor time, and no `**`.

Jinja's sandbox keeps a template from reaching what it should not; it does not make it end. The
rendering thread traces the template's own lines and stops it when the time is over. A line that
never ends would escape that; the operator that can make one (`**`) is refused beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["MAX_RENDERED", "RENDER_SECONDS", "OutOfTimeError", "raises_to_a_power", "time_limit"]

RENDER_SECONDS: Final = 1.0
"""Processor time one rendering may take. A usual one takes 50 microseconds."""
MAX_RENDERED: Final = 16_777_216
"""Longest rendered prompt, in characters."""
_STEPS_PER_READING: Final = 128


class OutOfTimeError(Exception):
    """The template did not come to its end in time."""


@contextmanager
def time_limit(seconds: float, clock: Callable[[], float]) -> Iterator[None]:
    """Raise `OutOfTimeError` in a template that is still running after `seconds`.

    The trace function of this thread (a debugger's, say) is set aside meanwhile.

    Args:
        seconds: of `clock`.
        clock: processor time of this thread, in seconds.
    """
    deadline = clock() + seconds
    steps = 0

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps % _STEPS_PER_READING == 0 and clock() > deadline:
            raise OutOfTimeError
        # jinja2 gives this name to the code of every template that comes from a string.
        return trace if frame.f_code.co_filename == "<template>" else None

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)


def raises_to_a_power(template: str) -> bool:
    """Is there a `**` that is not the `**` of keyword arguments?

    Raises:
        jinja2.TemplateSyntaxError: it is not a template.
    """
    import jinja2

    before = ""
    for _, kind, value in jinja2.Environment(autoescape=True).lex(template):
        if kind == "operator" and value == "**" and before not in {"(", ","}:
            return True
        before = before if kind == "whitespace" else value
    return False
