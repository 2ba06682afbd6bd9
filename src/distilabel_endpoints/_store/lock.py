"""One writer per output, wherever it runs.

Rules
- The kernel's lock (flock) on `OUTPUT.journal.lock` is the truth: it dies with the process, and
  Linux carries it over NFS. What the file says only names the holder.
- The file is removed while it is locked; whoever takes the lock checks that the file it locked
  is still the one of that name.
- The descriptor is a file object's from the first, which closes it however it goes: an interrupt
  must not leave this process locked out by itself.
- It is not taken on the journal itself: SQLite's own locks vanish when any descriptor of that
  file is closed, and a repair puts another file in its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

from distilabel_endpoints._store.place import Identity, beside, identity, storage_errors
from distilabel_endpoints.errors import LockedError, StorageError

__all__ = ["Holder", "Lock", "hold", "holder_of", "lock_path"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_MOST_BYTES: Final = 4096
_PRIVATE: Final = partial(os.open, mode=0o600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who writes, as that process described itself."""

    host: str
    pid: int
    since: str
    """UTC, ISO 8601."""
    boot: str
    """Which start of the machine, empty if the system does not say."""

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(host=socket.gethostname(), pid=os.getpid(), since=since, boot=_boot())

    def gone(self) -> bool:
        """Whether it surely no longer runs. False for other machines, which cannot be asked."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot():
            return True
        try:
            # Signal 0 sends nothing: it only shows whether the process is there.
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Lock:
    """The held lock. Made by `hold`."""

    def __init__(self, path: Path, locked: Identity) -> None:
        self._path = path
        self._locked = locked

    def check(self) -> None:
        """Raise `StorageError` if the lock's file was taken away: another may hold it now."""
        if identity(self._path) != self._locked:
            raise StorageError(
                f"{self._path} was removed while this run was writing, so another could have "
                "begun. What was committed is safe; run the same command again."
            )


def lock_path(journal: Path) -> Path:
    """The file whose lock stands for `journal`."""
    return beside(journal, ".lock")


@contextmanager
def hold(journal: Path) -> Iterator[Lock]:
    """Be the only writer of `journal` for the length of a `with` block.

    Raises:
        LockedError: another process is; said at once, with its host, pid and start.
        StorageError: the directory cannot be written, or its file system has no locks.
    """
    path = lock_path(journal)
    file: FileIO | None = None
    try:
        file, locked = _take(path)
        _sign(path, file.fileno())
        yield Lock(path, locked)
    finally:
        if file is not None:
            _release(path, file, locked)


def holder_of(journal: Path) -> Holder | None:
    """Who writes `journal`, as far as that can be known without touching the lock."""
    try:
        holder = _read(lock_path(journal).read_bytes())
    except OSError:
        return None
    return None if holder is None or holder.gone() else holder


def _take(path: Path) -> tuple[FileIO, Identity]:
    while True:
        file = _open(path)
        if file is None:
            continue
        try:
            _flock(path, file.fileno())
            status = os.fstat(file.fileno())
            locked = status.st_dev, status.st_ino
            if identity(path) == locked:
                return file, locked
        except BaseException:
            file.close()
            raise
        # The holder before us removed this file between our open and our lock.
        file.close()


def _release(path: Path, file: FileIO, locked: Identity) -> None:
    try:
        # Unlinked while it is still locked: after the release, another may have locked this very
        # file.
        with suppress(OSError):
            if identity(path) == locked:
                path.unlink()
    finally:
        file.close()


def _open(path: Path) -> FileIO | None:
    """The file, made if it is not there; None if it went meanwhile."""
    identity(path)
    with storage_errors(path):
        try:
            return FileIO(path, "x+", opener=_PRIVATE)
        except FileExistsError:
            pass
        try:
            # A link put there since leads elsewhere, which the comparison after it finds out.
            return FileIO(path, "r+", opener=_PRIVATE)
        except FileNotFoundError:
            return None


def _flock(path: Path, descriptor: int) -> None:
    try:
        # The kernel frees the lock when its process ends, however it ends: nothing goes stale.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(_describe(path, descriptor)) from None
    except OSError as error:
        raise StorageError(
            f"Cannot lock {path}: {error.strerror}. A run needs a file system with file locks; "
            "write to another disk, or have this one mounted with them."
        ) from error


def _describe(path: Path, descriptor: int) -> str:
    output = path.name.removesuffix(".lock").removesuffix(".journal").removesuffix(".export")
    holder = _read(os.pread(descriptor, _MOST_BYTES, 0))
    if holder is None:
        return f"{output} is being written by another process. Wait for it, or stop it."
    who = f"process {holder.pid} on {holder.host}, since {holder.since}"
    if holder.gone():
        return f"{output} is held by a child of {who}. That process is gone; stop its children."
    return f"{output} is being written by {who}. Wait for it, stop it, or choose another output."


def _sign(path: Path, descriptor: int) -> None:
    with storage_errors(path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Holder.here())).encode(), 0)


def _read(content: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
