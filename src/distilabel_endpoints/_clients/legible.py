"""A body as valid UTF-8, whatever pieces it comes in.

Some servers cut a character in two, or send one in another encoding. Client libraries then raise,
or replace in silence, each in its own way; here it is replaced once, and known.
"""

from __future__ import annotations

import codecs

__all__ = ["Legible"]


class Legible:
    """Feed it a body's pieces; what comes out is UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.repaired = False
        """Whether U+FFFD stands where the body was no UTF-8."""

    def feed(self, piece: bytes, *, last: bool = False) -> bytes:
        """What can be handed on after this piece; half a character is kept for the next."""
        try:
            return self._decoder.decode(piece, last).encode()
        except UnicodeDecodeError:
            self.repaired = True
            self._decoder.errors = "replace"
            return self._decoder.decode(piece, last).encode()
