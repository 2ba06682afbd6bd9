"""Undoes a response's `Content-Encoding`.

None is asked for; some servers and gateways compress all the same. gzip comes in one member or in
several, deflate with or without its wrapper.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

__all__ = ["decoder_of"]

_NONE: Final = frozenset({"", "identity", "none", "utf-8", "utf8"})
"""Codings that are none, and what servers write there by mistake."""
_KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP: Final = 0x1F
"""The first byte of gzip's wrapper."""


def decoder_of(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """What undoes a piece of a body, up to a number of bytes; `None` if there is nothing to undo.

    Raises:
        ValueError: a coding that is not known.
    """
    codings = {name.strip() for name in encoding.lower().split(",")} - _NONE
    if not codings:
        return None
    if len(codings) > 1 or not codings <= _KNOWN:
        raise ValueError(f"{encoding!r}, which was not asked for")
    return _Inflate().feed


class _Inflate:
    def __init__(self) -> None:
        self._inflate: Any = None

    def feed(self, piece: bytes, most: int) -> bytes:
        """What is in this piece, up to a number of bytes.

        Raises:
            zlib.error: it is neither.
        """
        decoded = b""
        while piece and len(decoded) < most:
            if self._inflate is None or (self._inflate.eof and piece[0] == _GZIP):
                # 32 + 15: gzip or zlib wrapper, told apart by the header; -15: no wrapper.
                is_wrapped = piece[0] == _GZIP or piece[0] & 0x0F == zlib.DEFLATED
                self._inflate = zlib.decompressobj(47 if is_wrapped else -15)
            if self._inflate.eof:
                break  # what else comes is padding
            decoded += self._inflate.decompress(piece, most - len(decoded))
            piece = self._inflate.unused_data
        return decoded
