r"""Regular expressions that mean the same on every server, and here.

The servers' engines (outlines, xgrammar, llguidance, llama.cpp's GBNF) share the regular core of
the syntax and disagree about the rest. A pattern is read into that core or refused with the
construct's name; what is sent is written anew from what was read, so all of them get the same
language: `\d`, `\w` and `\s` are ASCII, `.` is anything but a newline, the whole answer must match.
Matching runs on the Rust engine inside pydantic, in time linear in the text: no pattern and no
answer can hang the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import UnionType
from typing import Final, NamedTuple, assert_never

__all__ = [
    "Alternatives",
    "Chars",
    "Node",
    "Pattern",
    "PatternError",
    "Ranges",
    "Repeat",
    "Sequence",
    "choices_to_gbnf",
    "choices_to_regex",
    "matcher",
]

GBNF_LIMIT: Final = 2000
"""llama.cpp writes repetitions out, and refuses a grammar that grows past this many elements."""

Ranges = tuple[tuple[int, int], ...]


class PatternError(ValueError):
    """A pattern that cannot be enforced everywhere; the message names construct and position."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of (or, negated, outside) sorted code point ranges."""

    ranges: Ranges
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """One node after the other; none at all is the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Any one of two or more nodes."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A node at least `least` and at most `most` times (`None`: without end)."""

    body: Node
    least: int
    most: int | None


Node = Chars | Sequence | Alternatives | Repeat


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read, and its spellings."""

    root: Node

    def regex(self) -> str:
        """For servers that take a regular expression matched against the whole answer."""
        return _spell(self.root, _REGEX)

    def gbnf(self) -> str | None:
        """For llama.cpp; `None` where its written-out repetitions would be too many."""
        if _weight(self.root) > GBNF_LIMIT:
            return None
        return f"root ::= {_spell(self.root, _GBNF)}"


@lru_cache(maxsize=256)
def matcher(pattern: str, *, whole: bool = False) -> Callable[[str], bool]:
    """A linear-time test: does `pattern` occur in a text, or match the whole of it?

    Raises:
        PatternError: the Rust engine cannot run it (look-around, back-references, too large).
    """
    from pydantic_core import SchemaError as RustError
    from pydantic_core import SchemaValidator, core_schema

    anchored = rf"\A(?:{pattern})\z" if whole else pattern
    try:
        schema = core_schema.str_schema(pattern=anchored, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except RustError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise PatternError(reason.removeprefix("error: ").removeprefix("SchemaError: ")) from None


def choices_to_regex(choices: Iterable[str]) -> str:
    """An alternation of the texts, taken literally."""
    return "|".join("".join(_regex_literal(ord(char)) for char in choice) for choice in choices)


def choices_to_gbnf(choices: Iterable[str]) -> str:
    """A GBNF grammar of the texts, taken literally."""
    quoted = ("".join(_gbnf_char(ord(char)) for char in choice) for choice in choices)
    return "root ::= " + " | ".join(f'"{choice}"' for choice in quoted)


def _weight(node: Node) -> int:
    """How many elements a server that writes repetitions out makes of the node."""
    match node:
        case Chars():
            return 1
        case Sequence(parts) | Alternatives(parts):
            return sum(map(_weight, parts))
        case Repeat(body, least, most):
            return _weight(body) * max(least + 1 if most is None else most, 1)
        case _:
            assert_never(node)


class _Style(NamedTuple):
    """How a syntax writes what the two of them do not share."""

    literal: Callable[[int], str]
    member: Callable[[int], str]
    quote: str
    group: str
    join: str


def _spell(node: Node, style: _Style) -> str:
    match node:
        case Chars(((low, high),), False) if low == high:
            return f"{style.quote}{style.literal(low)}{style.quote}"
        case Chars(ranges, negated):
            return f"[{'^' if negated else ''}{_spell_ranges(ranges, style)}]"
        case Sequence(()):
            return style.quote * 2
        case Sequence(parts):
            return style.join.join(_enclosed(part, style, Alternatives) for part in parts)
        case Alternatives(options):
            return "|".join(_spell(option, style) for option in options)
        case Repeat(body, least, most):
            enclosed = _enclosed(body, style, Alternatives | Sequence | Repeat)
            return enclosed + _spell_counts(least, most)
        case _:
            assert_never(node)


def _enclosed(node: Node, style: _Style, compound: type | UnionType) -> str:
    text = _spell(node, style)
    return f"({style.group}{text})" if isinstance(node, compound) else text


def _spell_counts(least: int, most: int | None) -> str:
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    if (least, most) in short:
        return short[least, most]
    return f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"


def _spell_ranges(ranges: Ranges, style: _Style) -> str:
    return "".join(
        style.member(low) if low == high else f"{style.member(low)}-{style.member(high)}"
        for low, high in ranges
    )


def _regex_literal(code: int) -> str:
    return _regex_char(code, r"\.^$*+?()[]{}|")


def _regex_member(code: int) -> str:
    return _regex_char(code, r"\]^[-")


def _regex_char(code: int, special: str) -> str:
    char = chr(code)
    if char in special:
        return "\\" + char
    return f"\\x{code:02x}" if code < 0x20 or code == 0x7F else char


def _gbnf_char(code: int) -> str:
    if code < 0x80 and chr(code).isalnum():
        return chr(code)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


_REGEX: Final = _Style(_regex_literal, _regex_member, quote="", group="?:", join="")
_GBNF: Final = _Style(_gbnf_char, _gbnf_char, quote='"', group="", join=" ")
