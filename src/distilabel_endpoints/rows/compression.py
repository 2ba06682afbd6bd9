"""Open a file for reading, inflated by its suffix, and say what is wrong where it is damaged.

gzip comes from the standard library; Zstandard from the standard library on Python 3.14 and
newer, else from pyarrow.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from distilabel_endpoints.errors import DistilabelError, InputError, StorageError
from distilabel_endpoints.rows.arrow import pyarrow

__all__ = ["COMPRESSIONS", "compressing", "open_input", "reading"]

COMPRESSIONS = (".gz", ".zst")

_BUFFER = 1 << 20


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what reading `path` raises into our errors.

    Raises:
        InputError: The file is damaged, or not what its name says.
        StorageError: The disk failed, or the file cannot be opened.
    """
    try:
        yield
    except DistilabelError as error:
        if type(error) is not InputError:
            raise
        raise InputError(f"{path}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # pyarrow's word for a damaged file
            raise InputError(f"{path} is damaged: {error}") from error
        raise StorageError(error.errno, f"cannot read: {error.strerror}", str(path)) from error


@contextmanager
def open_input(path: Path, compression: str) -> Iterator[BinaryIO]:
    """The file's bytes, buffered, inflated where `compression` is `.gz` or `.zst`."""
    with path.open("rb", buffering=_BUFFER) as file:
        if not compression:
            yield file
            return
        raw = gzip.GzipFile(fileobj=file) if compression == ".gz" else _zstd_reader(file)
        with io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER) as buffered:
            yield buffered


def _zstd_reader(file: BinaryIO) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(file)
    return pyarrow("a .zst file").CompressedInputStream(file, "zstd")


def compressing(file: BinaryIO, compression: str) -> Any:
    """A writable that deflates into `file`; the same bytes for the same content."""
    if compression == ".gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdFile(file, "wb")
    # pyarrow closes what it writes to, and this file has still to be flushed to the disk.
    twin = os.fdopen(os.dup(file.fileno()), "wb")
    return pyarrow("a .zst file").CompressedOutputStream(twin, "zstd")
