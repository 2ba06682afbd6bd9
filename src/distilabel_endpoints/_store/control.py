"""The control file of a running run: `OUTPUT.control`, written by `tune`, read by the run.

Rules
- A file, so that it works over network file systems, over ssh, and for whatever machine sends.
- Whole or not at all, by a rename; its owner's alone. One that others could write is refused.
- It holds what may change while a run is in progress, and nothing that changes an answer.
- It is for the run that is in progress: that of an earlier run is removed as soon as the lock is
  taken. What is requested from then on counts, also while nothing is sent yet.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.place import beside
from distilabel_endpoints.errors import StorageError

__all__ = ["Tuning", "accepting_tuning", "control_path", "read_control", "write_control"]

_FORMAT: Final = 2
# What `tune` writes has a few hundred bytes; more is not from it, and is not read to its end.
_MOST_BYTES: Final = 1 << 16
_MOST: Final = 1 << 20
_MOST_LIMITS: Final = 3


def control_path(output: Path) -> Path:
    """The control file of the run that writes `output`."""
    return beside(output, ".control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How a run is asked to continue."""

    max_concurrency: int | None = None
    """Requests in flight at most; `None`: as at the start of the run."""
    paused: bool = False
    """Whether nothing is to be sent for now."""
    budget: tuple[str, ...] = ()
    """What the run may spend, as users write it; empty: as at the start of the run."""
    by: str = ""
    """Who asked: user, host and process."""
    at: str = ""
    """When, in UTC, ISO 8601."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """What `write_control` wrote. Raises `ValueError`, `TypeError` or `KeyError` for others."""
        most = document["max_concurrency"]
        if document["format"] != _FORMAT or not isinstance(document["paused"], bool):
            raise ValueError("of another version")
        if most is not None and (type(most) is not int or not 1 <= most <= _MOST):
            raise ValueError("not a number of requests")
        budget = document["budget"]
        if not isinstance(budget, list) or not all(isinstance(text, str) for text in budget):
            raise ValueError("not a budget")
        return cls(
            max_concurrency=most,
            paused=document["paused"],
            budget=tuple(budget[:_MOST_LIMITS]),
            by=str(document["by"])[:200],
            at=str(document["at"])[:40],
        )


def write_control(output: Path, requested: Tuning) -> None:
    """Write the control file of `output`, whole or not at all.

    Raises:
        StorageError: the disk did not take it.
    """
    with writing(control_path(output)) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(requested)}).encode())


def read_control(output: Path) -> Tuning | None:
    """What is requested now; `None` for nothing.

    Raises:
        StorageError: the file is not what `tune` writes, or could have been written by others.
    """
    path = control_path(output)
    try:
        # Opened anew each time: that is when a network file system looks whether there is news.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}. It is ignored.") from error
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or mode & 0o077:
            raise StorageError(
                f"{path} is ignored: it must be a file of this run's user that nobody else can "
                "read or write (mode 600). Remove it, and use `tune`."
            )
        return Tuning.of(json.loads(os.read(descriptor, _MOST_BYTES)))
    except StorageError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        raise StorageError(f"{path} is not what `tune` writes. It is ignored.") from None
    finally:
        os.close(descriptor)


@contextmanager
def accepting_tuning(output: Path) -> Iterator[None]:
    """Requested changes count from here to the end of the block. The output's lock is held."""
    _drop(output)
    try:
        yield
    finally:
        _drop(output)


def _drop(output: Path) -> None:
    with suppress(OSError):
        control_path(output).unlink(missing_ok=True)
