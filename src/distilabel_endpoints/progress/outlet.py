"""A stream that an observer writes to, and that cannot harm the run.

What the stream's encoding lacks is replaced, cell for cell. Once a write fails (the terminal was
closed, the reader of the pipe has left) everything further is swallowed: results are in the
journal, and nobody is left to inform.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final, TextIO

__all__ = ["Outlet"]

_PLAINER: Final = str.maketrans({"━": "=", "╸": ">", "─": "-", "…": "~"})


class Outlet:
    """As much of a text stream as writing to it takes, rich's console included."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.gone = stream is None
        """Whether nobody reads any more: a write has failed, or Python found the stream closed."""

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal shows what is written."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> int:
        """Write `text`, or what the encoding allows of it, and hand it on at once."""
        if self._stream is not None and not self.gone:
            try:
                self._stream.write(self._encodable(text))
                self._stream.flush()
            except (OSError, ValueError):
                self.gone = True
                _silence(self._stream)
        return len(text)

    def flush(self) -> None:
        """Nothing: every write is handed on at once."""

    def _encodable(self, text: str) -> str:
        if text.isascii() or self.encoding.lower() in {"utf-8", "utf8"}:
            return text
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            plainer = text.translate(_PLAINER)
            return plainer.encode(self.encoding, "replace").decode(self.encoding)
        return text


def _silence(stream: TextIO) -> None:
    """Python flushes its own streams at its exit; failing again would change the exit code."""
    if stream in {sys.__stdout__, sys.__stderr__}:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
