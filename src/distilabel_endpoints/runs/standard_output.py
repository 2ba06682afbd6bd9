"""`--output -`: what a run has finished goes to standard output, and its journal stays in a file.

Whatever reads the pipe may go away at any moment, and what was paid for must not go with it. So the
run writes the file that it would write without `--output`, in this folder, and copies it out when
it is complete: nothing is printed of a run that was stopped. The same command resumes, and prints a
finished run again without a request. Rows from standard input have no name: their content names
the file, so that other rows are another run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, BinaryIO, Final

from distilabel_endpoints.errors import StorageError
from distilabel_endpoints.rows import default_output

__all__ = ["copy_out", "place_for", "spooled"]

_CHUNK: Final = 1 << 20


def place_for(source: str) -> Path:
    """The file for the answers to a named input: always JSON Lines."""
    named = default_output(source)
    return named.with_name(f"{named.name.partition('.answers.')[0]}.answers.jsonl")


def spooled(stream: BinaryIO) -> tuple[Path, BinaryIO]:
    """The file for the answers to rows of a stream, and these rows, from a file without a name.

    Raises:
        StorageError: there is no room for the rows, or they cannot be read.
    """
    digest = hashlib.blake2b(digest_size=6)
    with ExitStack() as undo:
        try:
            rows = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the command
            undo.callback(_close, rows)
            while piece := stream.read(_CHUNK):
                digest.update(piece)
                rows.write(piece)
            rows.seek(0)
        except OSError as error:
            raise StorageError(
                f"The rows of standard input cannot be kept in {tempfile.gettempdir()}: "
                f"{error.strerror}. Set TMPDIR to a folder with more room, or save them as a file."
            ) from error
        undo.pop_all()
    return Path(f"stdin-{digest.hexdigest()}.answers.jsonl"), rows


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what is still held does not fit either
        file.close()


def copy_out(output: Path) -> None:
    """Print a finished output. A reader that goes away, as `head` does, is not an error.

    Raises:
        StorageError: what standard output leads to, such as a file, does not take it.
    """
    out = sys.stdout.buffer
    try:
        with output.open("rb") as file:
            shutil.copyfileobj(file, out, _CHUNK)
        out.flush()
    except OSError as error:
        # What is still held would be written again at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise StorageError(
                f"{output} could not be printed: {error.strerror}. It is complete: copy it, or run "
                "the same command again."
            ) from error
