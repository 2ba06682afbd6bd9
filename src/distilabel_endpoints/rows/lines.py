"""Cut a byte stream into rows without ever holding a row that is too large.

Two framings: lines (JSON Lines), and the elements of one JSON array. Both give, per row, the line
it starts on (from 1), its byte offset, and its bytes without white space around them, or an
`Oversize` with its size and hash if it is larger than the cap. Nothing is parsed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

from distilabel_endpoints.errors import InputError

__all__ = ["BLANK", "BOM", "CHUNK", "Frame", "Oversize", "Weight", "frame_array", "frame_lines"]

BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"
CHUNK = 256 * 1024
_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Oversize:
    """A row that was skipped unread: how large it is, and its hash."""

    size: int
    content_hash: bytes
    head: bytes = b""
    """How it begins: what names it in the output."""


Frame = tuple[int, int, bytes | Oversize]
"""Line, byte offset, content."""


class Weight:
    """Size and hash of content that goes by in pieces, without the white space at its end."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
        self._size = 0
        self._blank = b""
        self._head = b""

    def add(self, piece: bytes) -> None:
        if len(self._head) < _HEAD:
            self._head += piece[:_HEAD]
        kept = piece.rstrip(BLANK)
        if not kept:
            # A run of blanks longer than a chunk is content for all it matters here.
            self._blank += piece
            if len(self._blank) > CHUNK:
                kept, self._blank = self._blank, b""
        else:
            kept, self._blank = self._blank + kept, piece[len(kept) :]
        self._digest.update(kept)
        self._size += len(kept)

    def oversize(self) -> Oversize:
        return Oversize(self._size, self._digest.digest(), self._head)


def frame_lines(stream: BinaryIO, cap: int) -> Iterator[Frame]:
    """Each line that is not blank. Blank lines count in line numbers."""
    readline = stream.readline
    number = offset = 0
    limit = cap + len(BOM) + 2  # room for CR LF
    while line := readline(limit):
        number += 1
        start, offset = offset, offset + len(line)
        cut = len(line) == limit and not line.endswith(b"\n")
        line = line.removeprefix(BOM)  # also in the middle, if files were put together
        raw = line.strip(BLANK)
        if cut or len(raw) > cap:
            weight = Weight()
            weight.add(line.lstrip(BLANK))
            while cut and (line := readline(CHUNK)):
                cut = not line.endswith(b"\n")
                offset += len(line)
                weight.add(line)
            oversize = weight.oversize()
            if oversize.size:  # else the line was blank, however long
                yield number, start, oversize
        elif raw:
            yield number, start, raw


# A whole string is one match; a quote alone opens a string that ends in a later chunk.
_STRING = rb'"(?:[^"\\]++|\\.)*+"|'
_AT_TOP = re.compile(_STRING + rb'[",{}\[\]]', re.DOTALL)
_NESTED = re.compile(_STRING + rb'["{}\[\]]', re.DOTALL)
_IN_STRING = re.compile(rb'["\\]')
_QUOTE, _COMMA, _BACKSLASH, _CLOSE = b'",\\]'
_OPENING = frozenset(b"{[")


class _Element:
    """The element being gathered: its bytes while they are few, then only its weight."""

    def __init__(self, cap: int, line: int, offset: int) -> None:
        self._cap = cap
        self._parts: list[bytes] = []
        self._held = 0
        self._weight: Weight | None = None
        self.line = line
        self.offset = offset
        self.next_line = line

    def add(self, piece: bytes) -> None:
        self.next_line += piece.count(b"\n")
        if not self._held and self._weight is None:
            kept = piece.lstrip(BLANK)
            self.offset += len(piece) - len(kept)
            self.line += piece[: len(piece) - len(kept)].count(b"\n")
            piece = kept
        if self._weight is not None:
            self._weight.add(piece)
            return
        self._parts.append(piece)
        self._held += len(piece)
        if self._held > self._cap + CHUNK:
            self._overflow()

    def _overflow(self) -> Weight:
        weight = self._weight = Weight()
        for part in self._parts:
            weight.add(part)
        self._parts.clear()
        return weight

    def content(self) -> bytes | Oversize:
        if self._weight is not None:
            return self._weight.oversize()
        raw = b"".join(self._parts).rstrip(BLANK)
        return raw if len(raw) <= self._cap else self._overflow().oversize()


class _ArrayCutter:
    """Finds the commas between the elements of an array, fed chunk by chunk after its `[`."""

    def __init__(self, cap: int, line: int, offset: int) -> None:
        self._cap = cap
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._elements = 0
        self._element = _Element(cap, line, offset)
        self._base = offset
        self.rest: bytes | None = None
        """What followed the closing bracket, once that was seen."""

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        start = position = 0
        while (position := self._next_border(chunk, position)) >= 0:
            self._element.add(chunk[start:position])
            yield from self._cut(last=chunk[position] == _CLOSE)
            start = position = position + 1
            self._element = _Element(self._cap, self._element.next_line, self._base + start)
            if chunk[position - 1] == _CLOSE:
                self.rest = chunk[position:]
                return
        self._element.add(chunk[start:])
        self._base += len(chunk)

    def _cut(self, *, last: bool) -> Iterator[Frame]:
        element = self._element
        content = element.content()
        if content:
            self._elements += 1
            yield element.line, element.offset, content
        elif not last or self._elements:
            raise self.broken("an element is missing between two commas")

    def _next_border(self, chunk: bytes, position: int) -> int:
        """The next comma or bracket that ends an element, or -1 at the end of the chunk."""
        if self._escaped and chunk:
            self._escaped = False
            position += 1
        while True:
            pattern = _IN_STRING if self._in_string else _NESTED if self._depth else _AT_TOP
            match = pattern.search(chunk, position)
            if match is None:
                return -1
            position = match.end()
            byte = chunk[position - 1]
            if byte == _QUOTE:
                self._in_string = match.start() == position - 1 and not self._in_string
            elif byte == _BACKSLASH:
                self._escaped = position == len(chunk)
                position += 1
            elif byte in _OPENING:
                self._depth += 1
            elif self._depth:
                self._depth -= 1
            elif byte in {_COMMA, _CLOSE}:
                return position - 1
            else:
                raise self.broken("a bracket closes that was never opened")

    def broken(self, why: str) -> InputError:
        where = f"line {self._element.line}, byte {self._element.offset}"
        return InputError(f"not a JSON array at {where}: {why}; nothing after it can be read")


def frame_array(stream: BinaryIO, cap: int) -> Iterator[Frame]:
    """Each element of the one JSON array that the stream holds.

    Raises:
        InputError: The array itself is broken; elements that are not JSON are not found here.
    """
    head = b""
    while b"[" not in head and (piece := stream.read(CHUNK)):
        head += piece
    opening = head.find(b"[") + 1
    cutter = _ArrayCutter(cap, 1 + head.count(b"\n", 0, opening), opening)
    yield from cutter.feed(head[opening:])
    while cutter.rest is None and (chunk := stream.read(CHUNK)):
        yield from cutter.feed(chunk)
    if cutter.rest is None:
        raise cutter.broken("the file ends inside the array")
    rest = cutter.rest
    while rest:
        if rest.strip(BLANK):
            raise cutter.broken(
                "text follows the closing bracket. If each line is one conversation, convert them "
                "(jq -c '{messages: .}')"
            )
        rest = stream.read(CHUNK)
