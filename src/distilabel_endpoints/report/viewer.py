"""A run's rows, one at a time, in a terminal: prompt, answers, failure.

The keys are read by the caller's function, so a terminal, a pipe and a test drive it alike.
Everything shown passes `safe_text`.
"""

from __future__ import annotations

import shutil
import sys
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from distilabel_endpoints.errors import ConfigurationError
from distilabel_endpoints.progress import safe_text
from distilabel_endpoints.quality.flaws import Flaw, answers_of, flaws_of
from distilabel_endpoints.report.stored import Index, Prompt, StoredRow, StoredRows, open_stored

__all__ = ["FILTERS", "Filter", "Viewer", "row_lines", "show_rows", "view"]

FILTERS: Final = ("all", "failed", "ok", *(str(f) for f in Flaw if f not in ("echo", "identical")))
_CHUNK: Final = 256
_MOST_WIDTH: Final = 100
_MOST_CHARACTERS: Final = 20_000
_HELP: Final = (
    "n next, p previous, g N go to row N, f NAME filter "
    f"({', '.join(FILTERS)}), /TEXT search, / again, q quit"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are paged through."""

    name: str = "all"
    text: str = ""
    """What an answer, a failure or a refused answer must hold; case does not matter."""

    def needs_rows(self) -> bool:
        """Whether the index alone cannot tell."""
        return bool(self.text) or self.name not in {"all", "failed", "ok"}

    def takes(self, row: StoredRow) -> bool:
        """Whether a row is one of them."""
        result = row.result
        if self.name in {"failed", "ok"} and result.status != self.name:
            return False
        answers = answers_of(result)
        if self.name in list(Flaw) and not any(self.name in flaws_of(a) for a in answers):
            return False
        texts = [answer.text or "" for answer in answers]
        texts += [failure.message for failure in result.failures if failure is not None]
        return not self.text or any(self.text in text.casefold() for text in texts)


class Viewer:
    """Where a reader is in a run.

    Args:
        rows: the run's.
        first: the filter to begin with.
    """

    def __init__(self, rows: StoredRows, first: Filter) -> None:
        self._rows = rows
        self._index: Index = rows.index()
        self.filter = first
        self.place: int | None = None
        """Of the row that is shown, in the index."""

    def __len__(self) -> int:
        return len(self._index.ordinals)

    def step(self, *, forward: bool = True) -> bool:
        """Go to the next row of the filter; stay if there is none."""
        for places in self._chunks(forward=forward):
            for place in self._taken(places):
                self.place = place
                return True
        return False

    def go_to(self, number: int) -> bool:
        """Go to row `number`, counted from 1, or the next one that has ended."""
        place = bisect_left(self._index.ordinals, number - 1)
        if place >= len(self):
            return False
        self.place = place
        return True

    def begin_at(self, number: int) -> None:
        """Let the next step find row `number`, or the first one after it."""
        place = bisect_left(self._index.ordinals, number - 1)
        self.place = place - 1 if place else None

    def row(self) -> tuple[StoredRow, Prompt] | None:
        """The row that is shown."""
        if self.place is None:
            return None
        ordinal = self._index.ordinals[self.place]
        row = self._rows.fetch([ordinal]).get(ordinal)
        return None if row is None else (row, self._rows.prompts([row])[ordinal])

    def _chunks(self, *, forward: bool) -> Iterator[list[int]]:
        """Places from here on, some at a time."""
        if forward:
            start = 0 if self.place is None else self.place + 1
            for at in range(start, len(self), _CHUNK):
                yield list(range(at, min(at + _CHUNK, len(self))))
        else:
            start = len(self) if self.place is None else self.place
            for at in range(start, 0, -_CHUNK):
                yield list(range(at - 1, max(at - _CHUNK, 0) - 1, -1))

    def _taken(self, places: list[int]) -> Iterator[int]:
        failed, ordinals, name = self._index.failed, self._index.ordinals, self.filter.name
        if name in {"ok", "failed"}:
            places = [place for place in places if bool(failed[place]) == (name == "failed")]
        if not self.filter.needs_rows():
            yield from places
            return
        stored = self._rows.fetch([ordinals[place] for place in places])
        for place in places:
            row = stored.get(ordinals[place])
            if row is not None and self.filter.takes(row):
                yield place


def view(
    output: Path,
    *,
    only: str = "all",
    start: int = 1,
    read: Callable[[], str | None] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Page through the rows of the run that writes `output`.

    Args:
        output: the run's output.
        only: the name of a filter.
        start: the first row shown, counted from 1.
        read: gives the next command; None at the end. Default: lines of standard input.
        stream: where rows are shown.

    Raises:
        ConfigurationError: there is no such run, or no such filter.
        StorageError: it cannot be read.
    """
    if only not in FILTERS:
        raise ConfigurationError(f"there is no filter {only!r}; choose one of {', '.join(FILTERS)}")
    out = stream or sys.stdout
    with open_stored(output) as rows:
        viewer = Viewer(rows, Filter(only))
        if not len(viewer):
            out.write("No row has ended yet.\n")
            return
        viewer.begin_at(start)
        _say(viewer, out, moved=viewer.step())
        for command in iter(read or _line, None):
            if not _run_command(viewer, command.strip(), out):
                return


def _line() -> str | None:
    if sys.stdin.isatty():
        sys.stdout.write("> ")
        sys.stdout.flush()
    line = sys.stdin.readline()
    return line or None


def _run_command(viewer: Viewer, command: str, out: TextIO) -> bool:
    """Do what a command says; False for the end."""
    name, _, rest = command.partition(" ")
    match name:
        case "q":
            return False
        case "" | "n":
            _say(viewer, out, moved=viewer.step())
        case "p":
            _say(viewer, out, moved=viewer.step(forward=False))
        case "g" if rest.strip().isdecimal():
            _say(viewer, out, moved=viewer.go_to(int(rest)))
        case "f" if rest.strip() in FILTERS:
            viewer.filter, viewer.place = Filter(rest.strip(), viewer.filter.text), None
            _say(viewer, out, moved=viewer.step())
        case _ if command.startswith("/"):
            text = command[1:].casefold() or viewer.filter.text
            viewer.filter = Filter(viewer.filter.name, text)
            _say(viewer, out, moved=viewer.step())
        case _:
            out.write(f"{_HELP}\n")
    return True


def _say(viewer: Viewer, out: TextIO, *, moved: bool) -> None:
    if not moved:
        out.write("There are no more rows of this kind in that direction.\n")
        return
    pair = viewer.row()
    if pair is None:
        out.write("This row is being sent again.\n")
        return
    out.write("\n".join(row_lines(*pair)) + "\n")
    out.flush()


def show_rows(output: Path, ordinals: Collection[int], stream: TextIO) -> None:
    """Show these rows of the run that writes `output`, one after the other."""
    with open_stored(output) as rows:
        stored = rows.fetch(ordinals)
        prompts = rows.prompts(list(stored.values()))
        for ordinal, row in sorted(stored.items()):
            stream.writelines(f"{line}\n" for line in row_lines(row, prompts[ordinal]))


def row_lines(row: StoredRow, prompt: Prompt) -> Iterator[str]:
    """A row as text for a terminal."""
    width = min(shutil.get_terminal_size().columns, _MOST_WIDTH)
    result = row.result
    answers = answers_of(result)
    flaws = dict.fromkeys(str(flaw) for answer in answers for flaw in sorted(flaws_of(answer)))
    state = ", ".join([result.status, *flaws])
    yield f"--- row {row.ordinal + 1:,} ({state}) ".ljust(width, "-")
    for role, text in prompt.messages:
        yield from _block(role, text)
    if prompt.missing is not None:
        yield safe_text(prompt.missing)
    for answer in answers:
        if answer.reasoning:
            yield from _block("thinking", answer.reasoning)
        reason = f", ended by {answer.finish_reason}" if answer.finish_reason else ""
        yield from _block(f"answer{reason}", answer.text or "(no text)")
    for failure in dict.fromkeys(f.describe() for f in result.failures if f is not None):
        yield from _block("failure", failure)
    read = sum(usage.input_tokens or 0 for usage in result.usages)
    made = sum(usage.output_tokens or 0 for usage in result.usages)
    yield f"({read:,} tokens in, {made:,} out)"


def _block(label: str, text: str) -> Iterator[str]:
    yield f"[{safe_text(label)}]"
    yield safe_text(text[:_MOST_CHARACTERS], newlines=True)
    if len(text) > _MOST_CHARACTERS:
        yield f"... {len(text) - _MOST_CHARACTERS:,} more characters"
