r"""Reads a pattern into the portable core of regular expressions, or names what is not in it.

The core: literals, `.`, classes with ranges and the ASCII shorthands `\d \w \s` (and their
complements), groups, alternation, and the quantifiers `* + ? {m} {m,} {m,n}`, greedy or lazy.
Anchors at the two ends are dropped, for an answer is always matched whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from distilabel_endpoints.grammar.patterns import (
    Alternatives,
    Chars,
    Node,
    Pattern,
    PatternError,
    Ranges,
    Repeat,
    Sequence,
    matcher,
)

__all__ = ["read_pattern"]

MAX_PATTERN_LENGTH: Final = 4096
MAX_REPEAT: Final = 1000
MAX_GROUP_DEPTH: Final = 50

_LAST: Final = 0x10FFFF
_SHORTHANDS: Final[Mapping[str, Ranges]] = MappingProxyType(
    {
        "d": ((0x30, 0x39),),
        "s": ((0x09, 0x0D), (0x20, 0x20)),
        "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    }
)
_CONTROLS: Final = MappingProxyType({"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"})
_HEX_DIGITS: Final = MappingProxyType({"x": 2, "u": 4})
_GROUPS: Final = MappingProxyType(
    {
        "=": "look-around",
        "!": "look-around",
        "<=": "look-around",
        "<!": "look-around",
        "P=": "a back-reference",
        ">": "an atomic group",
        "#": "a comment",
        "(": "a conditional group",
    }
)
_ESCAPES: Final = MappingProxyType(
    {
        **dict.fromkeys("123456789", "a back-reference"),
        **dict.fromkeys("bB", "a word boundary"),
        **dict.fromkeys("AZz", "an anchor inside the pattern"),
        **dict.fromkeys("pP", "a Unicode property"),
    }
)


def read_pattern(pattern: str) -> Pattern:
    """The pattern in the portable core.

    Raises:
        PatternError: malformed, too large, or outside the core.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternError(f"longer than {MAX_PATTERN_LENGTH:,} characters")
    read = Pattern(_Reader(pattern).read())
    matcher(read.regex(), whole=True)
    return read


class _Reader:
    """Recursive descent over one pattern. `at` is the next character's position."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0

    def read(self) -> Node:
        root = self.alternatives()
        if self.at < len(self.pattern):
            raise self.error("an unmatched )")
        return root

    def error(self, what: str) -> PatternError:
        return PatternError(f"{what} at character {self.at}")

    def peek(self, length: int = 1) -> str:
        return self.pattern[self.at : self.at + length]

    def take(self, expected: str) -> bool:
        found = self.pattern.startswith(expected, self.at)
        self.at += len(expected) if found else 0
        return found

    def alternatives(self) -> Node:
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alternatives(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in {"", "|", ")"}:
            if not self.anchor():
                parts.append(self.repeat(self.atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def anchor(self) -> bool:
        """Step over an anchor where it says nothing new: the whole answer is matched anyway."""
        rest = len(self.pattern) - self.at
        if self.at == 0 and (self.take("^") or self.take(r"\A")):
            return True
        if (rest == 1 and self.take("$")) or (rest == 2 and (self.take(r"\Z") or self.take(r"\z"))):
            return True
        if self.peek() in {"^", "$"}:
            raise self.error("an anchor inside the pattern")
        return False

    def atom(self) -> Node:
        char = self.peek()
        match char:
            case "(":
                return self.group()
            case "[":
                return self.charset()
            case "\\":
                return self.escape()
            case "*" | "+" | "?":
                raise self.error("nothing to repeat")
            case "{":
                raise self.error(r"a { that repeats nothing (a brace itself is \{)")
        self.at += 1
        return Chars(((0x0A, 0x0A),), negated=True) if char == "." else _char(ord(char))

    def group(self) -> Node:
        self.depth += 1
        if self.depth > MAX_GROUP_DEPTH:
            raise self.error(f"groups nested deeper than {MAX_GROUP_DEPTH}")
        self.open_group()
        body = self.alternatives()
        if not self.take(")"):
            raise self.error("a missing )")
        self.depth -= 1
        return body

    def open_group(self) -> None:
        self.at += 1
        if not self.take("?") or self.take(":"):
            return
        if self.take("P<"):
            end = self.pattern.find(">", self.at)
            if end < 0 or not self.pattern[self.at : end].isidentifier():
                raise self.error("a malformed group name")
            self.at = end + 1
            return
        names = (name for mark, name in _GROUPS.items() if self.pattern.startswith(mark, self.at))
        raise self.error(next(names, "an inline flag"))

    def repeat(self, body: Node) -> Node:
        if self.take("*"):
            least, most = 0, None
        elif self.take("+"):
            least, most = 1, None
        elif self.take("?"):
            least, most = 0, 1
        elif self.peek() == "{":
            least, most = self.counts()
        else:
            return body
        self.take("?")  # lazy or greedy, the language is the same
        if self.peek() == "+":
            raise self.error("a possessive quantifier")
        if self.peek() in {"*", "?", "{"}:
            raise self.error("a repeated quantifier")
        return Repeat(body, least, most)

    def counts(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        first, comma, last = self.pattern[self.at + 1 : max(end, 0)].partition(",")
        if not all(part.isascii() and part.isdigit() for part in (first, last) if part) or not (
            first or last
        ):
            raise self.error(r"a { that is no quantifier (a brace itself is \{)")
        least = int(first or 0)
        most = (int(last) if last else None) if comma else least
        if max(least, most or 0) > MAX_REPEAT or (most is not None and least > most):
            raise self.error(f"a count that is out of order or above {MAX_REPEAT:,}")
        self.at = end + 1
        return least, most

    def charset(self) -> Chars:
        self.at += 1
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self.peek() != "]":
            ranges += self.charset_item()
            first = False
        self.at += 1
        return Chars(_merged(ranges), negated=negated)

    def charset_item(self) -> Ranges:
        low = self.charset_member()
        if self.peek() != "-" or self.peek(2) in {"-", "-]"}:
            return low.ranges
        self.at += 1
        high = self.charset_member()
        pair = (*low.ranges, *high.ranges)
        if len(pair) != 2 or any(start != end for start, end in pair) or pair[0] > pair[1]:
            raise self.error("a character range that is out of order or between classes")
        return ((pair[0][0], pair[1][0]),)

    def charset_member(self) -> Chars:
        char = self.peek()
        match char:
            case "":
                raise self.error("a missing ]")
            case "[":
                raise self.error(r"a [ inside a character class (a bracket itself is \[)")
            case "-" | "&" | "~" | "|" if self.peek(2) == char * 2:
                raise self.error("a set operation inside a character class")
            case "\\":
                member = self.escape()
                return Chars(_complement(member.ranges)) if member.negated else member
        self.at += 1
        return _char(ord(char))

    def escape(self) -> Chars:
        char = self.peek(2)[1:]
        if ranges := _SHORTHANDS.get(char.lower()):
            self.at += 2
            return Chars(ranges, negated=char.isupper())
        if digits := _HEX_DIGITS.get(char):
            return self.code_point(digits)
        if char in _CONTROLS or (char and char.isascii() and not char.isalnum()):
            self.at += 2
            return _char(ord(_CONTROLS.get(char, char)))
        raise self.error(_ESCAPES.get(char, "an unknown escape"))

    def code_point(self, digits: int) -> Chars:
        try:
            code = int(self.peek(2 + digits)[2:].ljust(digits, "?"), 16)
        except ValueError:
            raise self.error("a malformed escape") from None
        if 0xD800 <= code <= 0xDFFF:
            raise self.error("half a surrogate pair")
        self.at += 2 + digits
        return _char(code)


def _char(code: int) -> Chars:
    return Chars(((code, code),))


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for pair in ranges for edge in pair), _LAST + 1]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return tuple((after + 1, before - 1) for after, before in gaps if after + 1 < before)
