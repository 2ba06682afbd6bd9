"""A run in the output of a notebook's cell: the figures in place, and the report at the end.

What IPython cannot show (no front end, an old one) is swallowed: no display harms a run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from html import escape
from typing import Any, ClassVar, Final

from distilabel_endpoints.progress.block import block
from distilabel_endpoints.progress.formatting import Line, Style, safe_text
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.report import report
from distilabel_endpoints.progress.sinks import Sink, summary_text
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, RunSummary

__all__ = ["NotebookProgress", "report_html"]

_WIDTH: Final = 92
_STYLES: Final = {
    Style.PLAIN: "",
    Style.DIM: "opacity:0.65",
    Style.STRONG: "font-weight:bold",
    Style.LABEL: "color:#0b7285",
    Style.GOOD: "color:#2b8a3e",
    Style.NOTICE: "color:#b35c00",
    Style.BAD: "color:#c92a2a",
}


class NotebookProgress(Sink):
    """A few lines that are replaced in the cell's output, as the live block on a terminal."""

    interval: ClassVar[float] = 0.5
    newest: ClassVar[tuple[RunSummary, int | None] | None] = None
    """What the newest report is of, and the number of the cell that shows it."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__(outlet)
        self._handle: Any = None
        self._phase: RunPhase | None = None
        self._next = 0.0

    def update(self, snapshot: RunSnapshot) -> None:
        """Replace the figures, at most twice a second or when the phase changes."""
        if self._closed or (snapshot.phase is self._phase and snapshot.elapsed < self._next):
            return
        self._phase = snapshot.phase
        self._next = snapshot.elapsed + self.interval * 0.9
        self._show(block(snapshot, _WIDTH))

    def finish(self, summary: RunSummary) -> None:
        """The report in the place of the figures, however the run ended."""
        self._show(report(summary, _WIDTH))
        NotebookProgress.newest = summary, _cell_number()
        self.close()

    def _show(self, lines: list[Line]) -> None:
        content = {"text/html": _as_html(lines), "text/plain": summary_text(lines)}
        with suppress(Exception):
            if self._handle is None:
                display = sys.modules["IPython"].display.display
                self._handle = display(content, raw=True, display_id=True)
            else:
                self._handle.update(content, raw=True)


def report_html(summary: RunSummary) -> str:
    """How a run ended, as a cell shows it; empty if the cell shows it already."""
    shown, cell = NotebookProgress.newest or (None, None)
    if shown is summary and cell is not None and cell == _cell_number():
        return ""
    return _as_html(report(summary, _WIDTH))


def _cell_number() -> int | None:
    """By which IPython counts the cells that it runs; `None` outside of it."""
    with suppress(Exception):
        return int(sys.modules["IPython"].get_ipython().execution_count)
    return None


def _as_html(lines: Iterable[Line]) -> str:
    """The lines in their styles, escaped."""
    text = "\n".join(
        "".join(
            f'<span style="{_STYLES[span.style]}">{escape(safe_text(span.text))}</span>'
            for span in spans
        )
        for spans in lines
    )
    return f'<pre style="font-family:monospace;line-height:1.35;margin:0">{text}</pre>'
