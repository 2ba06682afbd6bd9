"""Which display a run gets."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TextIO, assert_never

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.sinks import (
    JsonProgress,
    LineProgress,
    PlainProgress,
    Progress,
    QuietProgress,
)

__all__ = ["ProgressMode", "in_kernel", "open_progress"]


class ProgressMode(StrEnum):
    """How a run is shown."""

    AUTO = "auto"
    """`rich` on a terminal, `notebook` in a notebook, `plain` anywhere else."""
    RICH = "rich"
    """A live block; needs a terminal that can move its cursor."""
    NOTEBOOK = "notebook"
    """The same block in the output of a notebook's cell."""
    LINE = "line"
    """One line that is written over."""
    PLAIN = "plain"
    """A line now and then."""
    JSON = "json"
    """One JSON object per event, on standard output unless a stream is given."""
    QUIET = "quiet"
    """Nothing, but for the summary of a run that did not end well."""


def open_progress(
    mode: ProgressMode | str = ProgressMode.AUTO, *, stream: TextIO | None = None
) -> Progress:
    """The display for `mode`, on `stream` (default: stderr; stdout for `json`).

    Raises:
        ConfigurationError: There is no such mode.
    """
    try:
        chosen = ProgressMode(mode)
    except ValueError:
        names = ", ".join(ProgressMode)
        raise ConfigurationError(f"progress is one of {names}, not {mode!r}") from None
    if stream is None:
        stream = sys.stdout if chosen is ProgressMode.JSON else sys.stderr
    outlet = Outlet(stream)
    return _display(_automatic(outlet) if chosen is ProgressMode.AUTO else chosen, outlet)


def _display(mode: ProgressMode, outlet: Outlet) -> Progress:
    match mode:
        case ProgressMode.RICH:
            from distilabel_endpoints.progress.terminal import TerminalProgress

            return TerminalProgress(outlet)
        case ProgressMode.NOTEBOOK:
            from distilabel_endpoints.progress.notebook import NotebookProgress

            return NotebookProgress(outlet)
        case ProgressMode.LINE:
            return LineProgress(outlet)
        case ProgressMode.PLAIN | ProgressMode.AUTO:
            return PlainProgress(outlet)
        case ProgressMode.JSON:
            return JsonProgress(outlet)
        case ProgressMode.QUIET:
            return QuietProgress(outlet)
        case _:
            assert_never(mode)


def _automatic(outlet: Outlet) -> ProgressMode:
    if in_kernel():
        return ProgressMode.NOTEBOOK
    if not outlet.isatty() or os.environ.get("TERM", "").lower() in {"", "dumb", "unknown"}:
        return ProgressMode.PLAIN
    # A notebook's `!command` has its own terminal, whose output no cursor can move up in.
    return ProgressMode.LINE if "JPY_PARENT_PID" in os.environ else ProgressMode.RICH


def in_kernel() -> bool:
    """Whether this is a notebook's kernel; its streams say nothing dependable about terminals."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"
