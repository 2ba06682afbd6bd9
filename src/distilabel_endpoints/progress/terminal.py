"""The live block on a terminal, drawn by rich. Importing this module does not import rich.

The block is redrawn by `update` alone: no thread, no timer, and nothing at all when no figure has
changed. The cursor stays visible, for a process that is killed cannot bring it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, ClassVar, Final, cast

from distilabel_endpoints.progress.block import block
from distilabel_endpoints.progress.formatting import Line, Style, safe_text
from distilabel_endpoints.progress.outlet import Outlet
from distilabel_endpoints.progress.report import report
from distilabel_endpoints.progress.sinks import Sink
from distilabel_endpoints.run_state import RunPhase, RunSnapshot, RunSummary

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["TerminalProgress"]

_COLOURS: Final[Mapping[Style, str]] = {
    Style.PLAIN: "",
    Style.DIM: "dim",
    Style.STRONG: "bold",
    Style.LABEL: "cyan",
    Style.GOOD: "green",
    Style.NOTICE: "yellow",
    Style.BAD: "red",
}


class TerminalProgress(Sink):
    """Two to four lines that stay at the foot of what the terminal shows.

    Honours `NO_COLOR`. What other code writes to `sys.stderr` meanwhile appears above the block.
    """

    interval: ClassVar[float] = 0.25

    def __init__(self, outlet: Outlet) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(outlet)
        self._console = Console(file=cast("IO[str]", outlet), force_jupyter=False, highlight=False)
        # Only stderr is ours to share; what goes to stdout is somebody's data.
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._shown: list[Line] = []
        self._phase: RunPhase | None = None
        self._next = 0.0

    def update(self, snapshot: RunSnapshot) -> None:
        """Redraw the block, at most four times a second."""
        if self._closed or (snapshot.phase is self._phase and snapshot.elapsed < self._next):
            return
        self._phase = snapshot.phase
        self._next = snapshot.elapsed + self.interval * 0.9
        lines = block(snapshot, self._console.width)
        if lines == self._shown:
            return
        self._shown = lines
        if not self._live.is_started:
            self._live.start()
            self._console.show_cursor()
        self._live.update(_rich_text(lines), refresh=True)

    def message(self, text: str) -> None:
        """A line or more above the block."""
        self._console.print(_plain_text(safe_text(text, newlines=True)), soft_wrap=True)

    def finish(self, summary: RunSummary) -> None:
        """The summary in place of the block."""
        self.close()
        lines = report(summary, self._console.width)
        # Soft wrap: a path or command that is too long is broken by the terminal, not by us, so
        # that it is copied in one piece.
        self._console.print(_rich_text(lines), soft_wrap=True)

    def close(self) -> None:
        """Take the block away."""
        super().close()
        self._live.stop()


def _plain_text(text: str) -> Text:
    from rich.text import Text

    return Text(text)


def _rich_text(lines: Iterable[Line]) -> Text:
    """The lines as rich prints them. A `Text` takes no markup, so brackets stay brackets."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    for number, spans in enumerate(lines):
        if number:
            text.append("\n")
        for span in spans:
            text.append(safe_text(span.text), _COLOURS[span.style] or None)
    return text
