"""Compressed answers that were not asked for: read if they can be, else reported."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from distilabel_endpoints._clients.content_coding import CodingError, decoder_of

BODY = b'{"choices": []}' * 5000


def brotli() -> Any:
    return pytest.importorskip("brotli", minversion="1.2")


def zstd() -> Any:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return pytest.importorskip(name)


PACKED: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(BODY),
    "deflate": lambda: zlib.compress(BODY),
    "br": lambda: bytes(brotli().compress(BODY)),
    "zstd": lambda: bytes(zstd().compress(BODY[:100]) + zstd().compress(BODY[100:])),
}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_compressed_body_is_read_in_whatever_pieces(coding: str, size: int) -> None:
    """Every coding, in whatever case its name is written."""
    packed, decode = PACKED[coding](), decoder_of(coding.upper())
    assert decode is not None
    pieces = [decode(packed[at : at + size], 10**6) for at in range(0, len(packed), size)]
    assert b"".join(pieces) == BODY


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_no_more_is_inflated_than_the_bound(coding: str) -> None:
    """A few bytes may hold gigabytes."""
    library: Any = {"gzip": lambda: gzip, "br": brotli, "zstd": zstd}[coding]()
    decode = decoder_of(coding)
    assert decode is not None
    assert 1000 <= len(decode(library.compress(bytes(10**8)), 1000)) <= 70_000


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_body_that_is_not_what_it_says(coding: str) -> None:
    """It is one kind of error, whichever library finds it."""
    if coding != "gzip":
        {"br": brotli, "zstd": zstd}[coding]()
    decode = decoder_of(coding)
    assert decode is not None
    with pytest.raises(CodingError):
        decode(b"\xffThis is none of them.", 1000)


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli>=1.2"), ("zstd", "backports.zstd")])
def test_a_coding_without_its_library_names_what_to_install(
    coding: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it was not asked for: the gateway may be set otherwise instead."""
    for name in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.invalidate_caches()
    with pytest.raises(CodingError, match=f"'{coding}', which was not .* install {package} "):
        decoder_of(coding)


def test_what_no_library_reads_is_named() -> None:
    """A coding that nobody knows, and known ones inside one another."""
    for encoding in ("exi", "gzip, exi", "gzip, gzip", ",".join(["gzip"] * 1600)):
        with pytest.raises(CodingError, match=f"'{encoding}', which was not asked for"):
            decoder_of(encoding)
    assert decoder_of("identity, utf-8") is None
