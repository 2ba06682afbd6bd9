"""Whether the file at OUTPUT is this run's, so that nobody else's is ever replaced.

Rules
- Each export notes size and time stamp of the file it is about to put in place, and of the one it
  replaces; so the note is right before and after the rename, and after a kill between the two.
- `export` beside a run in progress may not write its journal: it leaves the note in a file.
- A file that is only the beginning of what the run wrote (a copy that broke off) is written anew.
- One export at a time: a short one that began earlier must not replace a whole one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from distilabel_endpoints._store.atomic import writing
from distilabel_endpoints._store.journal import Journal
from distilabel_endpoints._store.lock import hold
from distilabel_endpoints._store.place import beside, journal_path
from distilabel_endpoints._store.store import Store
from distilabel_endpoints.errors import LockedError, OutputExistsError

__all__ = [
    "Written",
    "exporting",
    "foreign",
    "is_beginning",
    "refuse_foreign",
    "refuse_foreign_errors",
]

Mark = list[int]
"""Size in bytes and time of the last change in nanoseconds."""
_NOTE: Final = "written"
_CHUNK: Final = 1 << 20
_PATIENCE: Final = 60.0
_PAUSE: Final = 0.1


class Written:
    """What exports of a run left at `output`."""

    def __init__(self, output: Path, store: Store) -> None:
        self._output = output
        self._marks: list[Mark] = [*(store.note(_NOTE) or []), *_left(output)]

    @property
    def stands(self) -> bool:
        """Whether there is nothing at the output, or what an export of this run wrote."""
        there = _mark(self._output)
        return there is None or there[0] == 0 or there in self._marks

    def note_in(self, journal: Journal, complete: Path) -> None:
        """Before the rename of `complete`: from now on both files are this run's."""
        journal.write_note(_NOTE, self.marks_with(complete))
        journal.flush()

    def note_beside(self, complete: Path) -> None:
        """The same, for who may not write the journal."""
        with writing(_beside(self._output)) as file:
            file.write(json.dumps(self.marks_with(complete)).encode())

    def clear(self) -> None:
        """What was left beside the journal has been taken over into it."""
        with suppress(OSError):
            _beside(self._output).unlink(missing_ok=True)

    def marks_with(self, complete: Path) -> list[Mark]:
        """Of both files, so that a kill before or after the rename of `complete` costs nothing."""
        marks = (_mark(self._output), _mark(complete))
        return [mark for mark in marks if mark is not None]


@contextmanager
def exporting(output: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """Be the only one who writes `output`.

    Raises:
        LockedError: another export of it is in progress, also after `patience` seconds.
    """
    with ExitStack() as stack:
        _take(stack, output, time.monotonic() + patience)
        yield


def _take(stack: ExitStack, output: Path, until: float) -> None:
    while True:
        try:
            stack.enter_context(hold(beside(output, ".export")))
        except LockedError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)
        else:
            return


def is_beginning(output: Path, complete: Path) -> bool:
    """Whether the bytes of `output` are those that `complete` begins with."""
    with output.open("rb") as short, complete.open("rb") as long:
        while piece := short.read(_CHUNK):
            if piece != long.read(len(piece)):
                return False
    return True


def refuse_foreign(output: Path) -> None:
    """What can be known of the file at `output` before a run begins, without writing anything.

    Raises:
        OutputExistsError: this run did not write it.
    """
    if not output.exists() or not output.stat().st_size:
        return
    if not journal_path(output).exists():
        raise foreign(output)


def refuse_foreign_errors(error_file: str | None, about: Mapping[str, Any] | None) -> None:
    """What `refuse_foreign` is for the output, for the file of a batch's failed lines.

    Args:
        error_file: where they go, if anywhere.
        about: what the journal notes of the run, once it has begun.

    Raises:
        OutputExistsError: this run did not write it.
    """
    if error_file is None or (about and about["columns"].get("error_file") == error_file):
        return
    path = Path(error_file)
    if path.exists() and path.stat().st_size:
        raise OutputExistsError(
            f"{path} is already there, and this run did not write it, so it is not replaced. Move "
            "it away, or give another --error-file (error_file in Python)."
        )


def foreign(output: Path, store: Path | None = None) -> OutputExistsError:
    """The error for a file that is not this run's.

    Args:
        output: the file.
        store: what is there once a run that writes it has begun; default: the journal.
    """
    store = store or journal_path(output)
    reason = "was changed since this run wrote it"
    if not store.exists():
        reason = f"is already there, and no run wrote it ({store.name} is missing)"
    return OutputExistsError(
        f"{output} {reason}, so it is not replaced. Move it away and run the same command again "
        "(what is answered is not sent again), choose another output, or replace it with --fresh "
        "(fresh=True in Python), which starts over."
    )


def _beside(output: Path) -> Path:
    return beside(journal_path(output), ".exported")


def _left(output: Path) -> list[Mark]:
    try:
        marks: list[Mark] = json.loads(_beside(output).read_bytes())
    except (OSError, ValueError):
        return []
    return marks


def _mark(path: Path) -> Mark | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]
