"""Open a file for reading, inflated by its suffix, and report where it is damaged.

gzip, bzip2 and xz come from the standard library; Zstandard too on Python 3.14 and newer, else
from pyarrow.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from distilabel_endpoints.errors import DistilabelError, InputError, StorageError
from distilabel_endpoints.rows.arrow import pyarrow

__all__ = ["COMPRESSIONS", "compressing", "open_input", "reading"]

COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")

_BUFFER = 1 << 20


@contextmanager
def reading(path: Path, alias: str | None = None) -> Iterator[None]:
    """Turn what reading `path`, which messages may call `alias`, raises into our errors.

    Raises:
        InputError: The file is damaged, or not what its name says.
        StorageError: The disk failed, or the file cannot be opened.
    """
    try:
        yield
    except DistilabelError as error:
        if type(error) is not InputError:
            raise
        raise InputError(f"{alias or path}: {error}") from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # pyarrow's word for a damaged file
            raise InputError(f"{path} is damaged: {error}") from error
        raise StorageError(error.errno, f"cannot read: {error.strerror}", str(path)) from error


@contextmanager
def open_input(path: Path, compression: str) -> Iterator[BinaryIO]:
    """The file's bytes, buffered, inflated as `compression` (a suffix, or nothing) says."""
    with path.open("rb", buffering=_BUFFER) as file:
        if not compression:
            yield file
            return
        raw = _READERS[compression](file)
        with io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER) as buffered:
            yield buffered


def _zstd_reader(file: BinaryIO) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(file)
    return pyarrow("a .zst file").CompressedInputStream(file, "zstd")


_READERS: Final[Mapping[str, Callable[[BinaryIO], Any]]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd_reader,
}


def compressing(file: BinaryIO, compression: str) -> Any:
    """A writable that deflates into `file`; the same bytes for the same content."""
    if compression == ".gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    if compression in {".bz2", ".xz"}:
        return bz2.BZ2File(file, "wb") if compression == ".bz2" else lzma.LZMAFile(file, "wb")
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(file, "wb")
    # pyarrow closes what it writes to, and this file has still to be flushed to the disk.
    twin = os.fdopen(os.dup(file.fileno()), "wb")
    return pyarrow("a .zst file").CompressedOutputStream(twin, "zstd")
