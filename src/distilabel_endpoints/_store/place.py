"""Where a journal lies, and what must be true of that place before anything is written there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distilabel_endpoints.errors import StorageError

__all__ = [
    "Identity",
    "beside",
    "check_space",
    "create_private",
    "identity",
    "journal_path",
    "storage_errors",
    "sync",
]

Identity = tuple[int, int]
"""Device and inode: the same file, whatever its name."""


def journal_path(output: Path) -> Path:
    """The journal of the run that writes `output`."""
    return beside(output, ".journal")


def beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix` added to its whole name."""
    return path.with_name(path.name + suffix)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into a `StorageError`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}.") from error


def check_space(output: Path, expected_bytes: int) -> None:
    """Raise `StorageError` unless the directory of `output` exists and has the room."""
    with storage_errors(output.parent):
        free = shutil.disk_usage(output.parent).free
    if free < expected_bytes:
        raise StorageError(
            f"{output.parent} has {free / 1e6:,.0f} MB free and this run is expected to write "
            f"{expected_bytes / 1e6:,.0f} MB. Free some space, or write to another disk."
        )


def identity(path: Path) -> Identity | None:
    """Which file is at `path` itself, or `None` if there is none.

    Raises:
        StorageError: there is something else than an ordinary file, a link to one included.
    """
    with storage_errors(path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not an ordinary file"
        raise StorageError(f"{path} is {kind}. Move it away, or write to another output.")
    return status.st_dev, status.st_ino


def create_private(path: Path) -> None:
    """An empty file only its owner may read, from its first byte on. One in its place goes."""
    with storage_errors(path):
        path.unlink(missing_ok=True)
        # The mode is part of the open: before a later chmod, others could read the file.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        os.close(descriptor)


def sync(path: Path) -> None:
    """Make a file's content, or a directory's names, durable."""
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
