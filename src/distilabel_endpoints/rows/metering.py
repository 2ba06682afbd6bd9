"""What a template's rendering may use, and what an operation on its values will use.

The limits are far above what a prompt needs and low enough that nothing on the way takes more
than a moment. Sizes are characters; each item of a list, and each key and value, counts as 64.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "ESTIMATES",
    "ITEM_SIZE",
    "MAX_SIZE",
    "METHOD_ESTIMATES",
    "LimitError",
    "Meter",
    "argument_size",
    "bits_size",
    "extent",
    "product_size",
]

MAX_STEPS = 100_000
"""Loop passes, calls, filters and operators of one rendering; large values count for more."""
MAX_SECONDS = 1.0
"""CPU seconds of one rendering, of its own thread."""
MAX_SIZE = 16 * 1024 * 1024
"""The size of the prompt, and of every value on the way."""
ITEM_SIZE = 64


class LimitError(Exception):
    """The rendering needs more than it may."""


class Meter(threading.local):
    """What the rendering of this thread has used."""

    steps = 0
    deadline = 0.0

    def start(self) -> None:
        self.steps = 0
        self.deadline = time.thread_time() + MAX_SECONDS

    def charge(self, size: int = 0) -> None:
        if size > MAX_SIZE:
            raise LimitError(f"a value is larger than {MAX_SIZE:,} characters")
        self.steps += 1 + size // 1024
        if self.steps > MAX_STEPS:
            raise LimitError(f"more than {MAX_STEPS:,} steps")
        if time.thread_time() > self.deadline:
            raise LimitError(f"more than {MAX_SECONDS:g} s")


def extent(value: Any) -> int:
    """The size of a value with all it holds; stops counting once that is too large."""
    total = 0
    pending = [value]
    while pending and total <= MAX_SIZE:
        value = pending.pop()
        total += ITEM_SIZE
        if isinstance(value, str | bytes):
            total += len(value)
        elif isinstance(value, int):
            total += value.bit_length() >> 3
        elif isinstance(value, range):
            total += ITEM_SIZE * len(value)
        elif isinstance(value, Mapping | list | tuple | set | frozenset):
            if total + ITEM_SIZE * len(value) > MAX_SIZE:
                return MAX_SIZE + 1
            pending += value
            if isinstance(value, Mapping):
                pending += value.values()
    return total


def argument_size(value: Any) -> int:
    """The size of an argument; a large number counts in full, for it may be a size itself."""
    if isinstance(value, int):
        return min(abs(value) >> 3, MAX_SIZE + 1) if abs(value) > 1_000_000 else 1
    return extent(value)


def product_size(left: Any, right: Any) -> int:
    """The size of `left * right`. Whole numbers past 65,536 bits are too large."""
    if isinstance(left, int) and isinstance(right, int):
        return bits_size(left.bit_length() + right.bit_length())
    for many, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(many, str | bytes | list | tuple):
            return extent(many) * max(0, times)
    return 0


def bits_size(bits: int) -> int:
    """The size of a whole number: more than its memory, for arithmetic on it is slow."""
    return bits * (MAX_SIZE // 65_536)


def _replaced(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> int:
    """The size of `text.replace(old, new)`."""
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        return len(text) + text.count(old) * len(new)
    return 0


def _split(text: str, separator: Any = None, *_: Any, **__: Any) -> int:
    """The size of `text.split(separator)`, and of its words or lines."""
    at = (separator,) if isinstance(separator, str) and separator else " \n\t\r\f\v-([{<"
    return len(text) + 2 * ITEM_SIZE * sum(text.count(mark) for mark in at)


def _worded(text: Any) -> int:
    return _split(text) if isinstance(text, str) else 0


def _listed(items: Any, *_: Any, **__: Any) -> int:
    # Text becomes a list of its characters.
    return len(items) * ITEM_SIZE if hasattr(items, "__len__") else 0


def _joined(items: Any, separator: Any = "", *_: Any, d: Any = "", **__: Any) -> int:
    width = max(len(text) if isinstance(text, str) else 0 for text in (separator, d))
    if not hasattr(items, "__len__"):
        return 0
    return extent(items) + len(items) * (width + ITEM_SIZE)


def _indented(text: Any, width: Any = 4, *_: Any, **__: Any) -> int:
    each = len(width) if isinstance(width, str) else abs(int(width))
    return len(text) + text.count("\n") * (each + ITEM_SIZE) if isinstance(text, str) else 0


def _summed(_: Any, __: Any = None, start: Any = 0) -> int:
    # Adding lists to a list copies all of it each time.
    return 0 if isinstance(start, int | float) else MAX_SIZE + 1


def _pretty(value: Any, indent: Any = None) -> int:
    return extent(value) * (1 + (abs(int(indent)) if indent is not None else 0))


ESTIMATES: Mapping[str, Callable[..., int]] = {
    "groupby": _listed,
    "indent": _indented,
    "join": _joined,
    "list": _listed,
    "replace": _replaced,
    "sort": _listed,
    "sum": _summed,
    "title": _worded,
    "tojson": _pretty,
}

METHOD_ESTIMATES: Mapping[str, Callable[..., int]] = {
    "replace": _replaced,
    "rsplit": _split,
    "split": _split,
    "splitlines": _split,
}
