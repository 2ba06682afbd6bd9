"""Where an output is written: whole or not at all, owner-only, never through a link.

The bytes go to `OUTPUT.part` in the same folder, are flushed to the disk, renamed to their name,
and the folder is flushed too. A crash leaves the old file, or none. The name comes from the caller
alone; nothing in a row ever becomes part of a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from distilabel_endpoints.errors import ConfigurationError, DistilabelError, StorageError

__all__ = ["BeforeRename", "check_target", "writing"]


def check_target(path: Path) -> None:
    """Refuse an output that cannot be written.

    Raises:
        ConfigurationError: Its folder does not exist, or it is a folder, a link or a device.
    """
    parent = path.parent
    if not parent.is_dir():
        raise ConfigurationError(f"no such folder: {parent}; make it, or give another output")
    if path.is_symlink():
        raise ConfigurationError(f"{path} is a symbolic link; give the file that it points to")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{path} is not a file; give another output")


BeforeRename = Callable[[Path], None]
"""Is given the complete, durable file under its temporary name. If it raises, none appears."""


@contextmanager
def writing(path: Path, *, before_rename: BeforeRename | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when the block ends well.

    Raises:
        ConfigurationError: As `check_target`.
        StorageError: The disk is full, gone or failing; the file has not appeared.
    """
    check_target(path)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield from _renamed(path, folder, before_rename)
        finally:
            os.close(folder)
    except OSError as error:
        # `StorageError` is an `OSError`, too: one that `before_rename` raised is complete already.
        if isinstance(error, DistilabelError):
            raise
        reason = f"cannot write: {error.strerror or error}"
        raise StorageError(error.errno or 0, reason, str(path)) from error


def _renamed(path: Path, folder: int, before_rename: BeforeRename | None) -> Iterator[BinaryIO]:
    # Every step goes through the folder's descriptor, so a folder that is swapped for another
    # in the meantime is not written to.
    name, part = path.name, f"{path.name}.part"
    with suppress(FileNotFoundError):
        os.unlink(part, dir_fd=folder)
    # EXCL and NOFOLLOW: a link that somebody puts at the temporary name is refused, not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(part, flags, 0o600, dir_fd=folder), "wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            # Before the rename: else a power cut can leave the final name on an empty file.
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename(path.with_name(part))
        os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise
    # The rename itself is durable only when the folder is.
    os.fsync(folder)
