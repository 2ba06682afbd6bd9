"""How a defect of ours is reported: one sentence for people, and the details in a file.

Rules
- The report has versions, types and source lines, and no values: locals and most messages may
  quote a prompt or a key.
- It lies beside the journal, readable by its owner only; if that cannot be, in the folder for
  temporary files.
- What the run has committed stays, so the same command resumes.
"""

from __future__ import annotations

import os
import platform
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from distilabel_endpoints.errors import DistilabelError

__all__ = ["expected_error", "report_unexpected"]

_SUFFIX: Final = ".error.txt"
_ABOUT_CODE: Final = (AttributeError, ImportError, NameError, NotImplementedError, TypeError)
"""Their messages name code; others may quote what was processed."""
_PACKAGE: Final = Path(__file__).parent
# Exceptions can be each other's cause in a circle.
_DEEPEST: Final = 20


def expected_error(error: BaseException) -> DistilabelError | None:
    """The first error of ours in a group that holds nothing else; None if it is something else."""
    if isinstance(error, DistilabelError):
        return error
    if isinstance(error, BaseExceptionGroup):
        known = [expected_error(inner) for inner in error.exceptions]
        return None if None in known else known[0]
    return None


def report_unexpected(error: BaseException, output: Path | None) -> str:
    """Write the report of `error` beside `output`; what to tell the user."""
    path = _write("".join(_lines(error)), output)
    details = f" Details, without prompts or keys: {path}." if path is not None else ""
    return (
        f"Unexpected {_name(_first(error))} {_place(_first(error))}: a defect of "
        "distilabel-endpoints. Finished rows are kept; run the same command again to resume."
        f"{details}"
    )


def _first(error: BaseException) -> BaseException:
    """The innermost of a group of groups, whose own type says nothing."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _name(error: BaseException) -> str:
    return type(error).__name__


def _place(error: BaseException) -> str:
    """The deepest line of ours that it passed through."""
    ours = [
        (Path(frame.filename).relative_to(_PACKAGE), frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    return f"at {ours[-1][0]}:{ours[-1][1]}" if ours else "outside the package"


def _lines(error: BaseException) -> Iterator[str]:
    yield f"distilabel-endpoints {_version()}, Python {platform.python_version()}, "
    yield f"{platform.platform()}\n\n"
    yield from _traced(error, _DEEPEST)


def _version() -> str:
    try:
        return version("distilabel-endpoints")
    except PackageNotFoundError:
        return "from a checkout"


def _traced(error: BaseException, depth: int) -> Iterator[str]:
    """The error after what led to it, without a value of any variable."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth:
        yield from _traced(cause, depth - 1)
        yield "\nwhich led to:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    message = str(error) if isinstance(error, _ABOUT_CODE) else "(message left out)"
    yield f"{_name(error)}: {message}\n"
    if isinstance(error, BaseExceptionGroup) and depth:
        for number, inner in enumerate(error.exceptions, 1):
            yield f"\nof which {number}:\n\n"
            yield from _traced(inner, depth - 1)


def _write(report: str, output: Path | None) -> Path | None:
    if output is not None:
        from distilabel_endpoints._store.atomic import writing

        path = output.with_name(output.name + _SUFFIX)
        with suppress(DistilabelError, OSError), writing(path) as file:
            file.write(report.encode(errors="replace"))
            return path
    with suppress(OSError):
        descriptor, name = tempfile.mkstemp(_SUFFIX, "distilabel-endpoints-")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(report)
        return Path(name)
    return None
