"""A terminal that remembers what was written to it, and knows what it shows."""

from __future__ import annotations

import io
import re


class FakeTerminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What is to be seen, from the first line to the last that is not blank."""
        return screen_of(self.getvalue())


_TOKEN = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+")


def screen_of(written: str) -> list[str]:
    """The screen after `written`, for the few sequences that we use."""
    lines, row, column = [""], 0, 0
    for found in _TOKEN.finditer(written):
        match found[2], found[0]:
            case "A", _:
                row = max(0, row - int(found[1] or 1))
            case "K", _:
                lines[row] = ""
            case str(), _:
                pass
            case None, "\r":
                column = 0
            case None, "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            case None, text:
                kept = lines[row].ljust(column)
                lines[row] = kept[:column] + text + kept[column + len(text) :]
                column += len(text)
    shown = [line.rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return shown
