"""Undoes a response's `Content-Encoding`.

None is asked for; some servers and gateways compress all the same. gzip comes in one member or in
several, deflate with or without its wrapper. Brotli and Zstandard are read if a library for them is
installed, which aiohttp and httpx take, too. None of them inflates a piece beyond a bound.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

__all__ = ["CodingError", "decoder_of"]

Decoder = Callable[[bytes, int], bytes]

_NONE: Final = frozenset({"", "identity", "none", "utf-8", "utf8"})
"""Codings that are none, and what servers write there by mistake."""
_GZIP: Final = 0x1F
"""The first byte of gzip's wrapper."""


class CodingError(Exception):
    """A body that cannot be decoded."""


def decoder_of(encoding: str) -> Decoder | None:
    """What undoes a piece of a body, up to a number of bytes; `None` if there is nothing to undo.

    Raises:
        CodingError: a coding that is not known, or whose library is not installed; or several.
    """
    codings = [name.strip() for name in encoding.lower().split(",")]
    codings = [name for name in codings if name not in _NONE]
    if not codings:
        return None
    # Not one inside another: what a bounded piece of the outer one holds may take the inner one
    # hours, as a million empty members do.
    make = _CODINGS.get(codings[0]) if len(codings) == 1 else None
    if make is None:
        raise CodingError(f"{encoding!r}, which was not asked for")
    return make()


class _Inflate:
    def __init__(self) -> None:
        self._inflate: Any = None

    def __call__(self, piece: bytes, most: int) -> bytes:
        """What is in this piece, up to a number of bytes.

        Raises:
            CodingError: it is neither.
        """
        decoded = b""
        while piece and len(decoded) < most:
            if self._inflate is None or (self._inflate.eof and piece[0] == _GZIP):
                # 32 + 15: gzip or zlib wrapper, told apart by the header; -15: no wrapper.
                is_wrapped = piece[0] == _GZIP or piece[0] & 0x0F == zlib.DEFLATED
                self._inflate = zlib.decompressobj(47 if is_wrapped else -15)
            if self._inflate.eof:
                break  # what else comes is padding
            try:
                decoded += self._inflate.decompress(piece, most - len(decoded))
            except zlib.error as error:
                raise CodingError(str(error)) from None
            piece = self._inflate.unused_data
        return decoded


class _Brotli:
    def __init__(self) -> None:
        brotli = _installed("br", "brotli>=1.2", "brotli", "brotlicffi")
        self._error = brotli.error
        self._brotli = brotli.Decompressor()
        if not hasattr(self._brotli, "can_accept_more_data"):
            raise _missing("br", "brotli>=1.2")  # older ones inflate without a bound

    def __call__(self, piece: bytes, most: int) -> bytes:
        """As `_Inflate`."""
        try:
            return bytes(self._brotli.process(piece, output_buffer_limit=most)) if piece else b""
        except self._error as error:
            raise CodingError(str(error)) from None


class _Zstandard:
    def __init__(self) -> None:
        self._zstd = _installed("zstd", "backports.zstd", "compression.zstd", "backports.zstd")
        self._frame = self._zstd.ZstdDecompressor()

    def __call__(self, piece: bytes, most: int) -> bytes:
        """As `_Inflate`. A body may have several frames."""
        decoded = b""
        try:
            while piece and len(decoded) < most:
                if self._frame.eof:
                    self._frame = self._zstd.ZstdDecompressor()
                decoded += self._frame.decompress(piece, max_length=most - len(decoded))
                piece = self._frame.unused_data
        except self._zstd.ZstdError as error:
            raise CodingError(str(error)) from None
        return decoded


def _installed(coding: str, package: str, *modules: str) -> ModuleType:
    for name in modules:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise _missing(coding, package)


def _missing(coding: str, package: str) -> CodingError:
    return CodingError(f"{coding!r}, which was not asked for; install {package} to read it")


_CODINGS: Final[Mapping[str, Callable[[], Decoder]]] = {
    "gzip": _Inflate,
    "x-gzip": _Inflate,
    "deflate": _Inflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}
