"""Who uses an endpoint on this machine, and what must be restored. Local files, kernel locks.

Rules
- Each run holds the lock of its own file for as long as it uses the endpoint; the kernel lets
  go of it when the process dies, however it dies.
- `turn` is held while an endpoint is looked at and started or stopped, so that nobody begins to use
  what another is about to stop.
- The run that wakes an endpoint notes what must be restored; whoever uses it last restores it.
- Another machine's runs are not seen. What they change is, by who changed the endpoint and when.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from distilabel_endpoints.errors import LockedError, StorageError
from distilabel_endpoints.lifecycle.decisions import Doubt, Duty
from distilabel_endpoints.lifecycle.sight import Mark, Person

__all__ = ["Lease", "duty_from", "duty_values", "state_folder"]

_PATIENCE: Final = 120.0
"""Seconds to wait for another process's turn."""
_POLL: Final = 0.1


def state_folder() -> Path:
    """Where this user's programs keep their state; in the folder for temporary files otherwise."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    candidates = [
        Path(home) / "distilabel-endpoints",
        Path(tempfile.gettempdir()) / f"distilabel-endpoints-{os.getuid()}",
    ]
    for folder in candidates:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
                return folder
    raise StorageError(
        f"Neither {candidates[0]} nor {candidates[1]} can be written, so two runs could not know "
        "of each other. Set XDG_STATE_HOME to a folder of yours."
    )


class Lease:
    """The use of one endpoint by one process.

    Args:
        folder: the endpoint's own, shared by all who use it here.
        own: the name of the file that stands for this use; None: this process only looks.
    """

    def __init__(self, folder: Path, own: str | None = None) -> None:
        self.folder = folder
        self.own = own
        self._file: FileIO | None = None

    @classmethod
    def of(cls, control_url: str, namespace: str, name: str) -> Lease:
        """The use of this endpoint by this process; `enter` begins it."""
        key = hashlib.sha256(f"{control_url}\n{namespace}\n{name}".encode()).hexdigest()[:24]
        folder = state_folder() / "endpoints" / key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(folder, f"{os.getpid()}-{uuid4().hex[:8]}.use")

    def enter(self) -> None:
        """From here on others see that the endpoint is used. Call it in a `turn`."""
        assert self.own is not None
        path = self.folder / self.own
        self._file = FileIO(path, "x+", opener=_private)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def leave(self) -> None:
        """The endpoint is not used any more."""
        file, self._file = self._file, None
        if file is not None and self.own is not None:
            (self.folder / self.own).unlink(missing_ok=True)
            file.close()

    def forget(self) -> None:
        """In a forked child: let go of the file, so that the parent's death is seen."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def others(self) -> list[int]:
        """The processes that use the endpoint beside this one."""
        files = [path for path in self.folder.glob("*.use") if path.name != self.own]
        return sorted(pid for path in files if (pid := _user(path)) is not None)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only one who starts or stops the endpoint, for the length of a block.

        Raises:
            LockedError: another process has been at it for two minutes.
        """
        with FileIO(self.folder / "turn", "a+", opener=_private) as file:
            deadline = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockedError(
                            "Another process is starting or stopping this endpoint and has not "
                            f"finished in {_PATIENCE:.0f} s. Run the same command again later."
                        ) from None
                # The kernel has no lock with a time limit.
                time.sleep(_POLL)
            yield

    def note_duty(self, duty: Duty) -> None:
        """Note what must be restored, whole or not at all."""
        part = self.folder / f"duty-{uuid4().hex[:8]}.part"
        part.write_text(json.dumps(duty_values(duty)), encoding="utf-8")
        part.replace(self.folder / "duty")

    def duty(self) -> Duty | None:
        """What somebody must restore here."""
        try:
            return duty_from(json.loads((self.folder / "duty").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def clear(self) -> None:
        """Nothing must be restored any more."""
        (self.folder / "duty").unlink(missing_ok=True)


def duty_values(duty: Duty) -> dict[str, Any]:
    """A duty as JSON values."""
    return asdict(duty)


def duty_from(values: dict[str, Any]) -> Duty:
    """The duty of such values."""
    mark = values["mark"]
    return Duty(
        state=values["state"],
        mark=Mark(Person(**mark["by"]), mark["at"]),
        owner=Person(**values["owner"]),
        doubt=Doubt(values["doubt"]),
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _user(path: Path) -> int | None:
    """The process that holds this file's lock; a file that nobody holds is taken away."""
    try:
        with FileIO(path, "r+", opener=_private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(path.name.partition("-")[0])
            # Its process was killed, so it could not do this itself.
            path.unlink(missing_ok=True)
    except OSError:
        pass  # it went meanwhile
    return None
