r"""Regular expressions over whole answers: matched here, sent to servers, written as GBNF.

A pattern goes to servers that take patterns as it was written, but for anchors at its two ends:
the whole answer is matched anyway, and some engines (outlines) do not know anchors. Answers are
matched by the Rust engine inside pydantic, in time linear in the text, so no pattern and no answer
can hang the caller. llama.cpp takes no pattern; one that has no other means than GBNF has is
written as GBNF.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

__all__ = [
    "PatternError",
    "choices_to_gbnf",
    "choices_to_regex",
    "matcher",
    "pattern_to_gbnf",
    "unanchored",
]

MAX_PATTERN_LENGTH: Final = 4096
GBNF_LIMIT: Final = 2000
"""llama.cpp writes repetitions out, and refuses a grammar that grows past this many elements."""

_END: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\Z")
_BARS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]", re.DOTALL)


class PatternError(ValueError):
    """A pattern that cannot be matched in linear time; the message says why."""


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """A linear-time test: does `pattern` match the whole of a text?

    Raises:
        PatternError: it is too long or malformed, or has look-around or back-references.
    """
    from pydantic_core import SchemaError as RustError
    from pydantic_core import SchemaValidator, core_schema

    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternError(f"longer than {MAX_PATTERN_LENGTH:,} characters")
    # Python writes the end of the text as \Z, Rust as \z.
    rust = _END.sub(r"\1\\z", pattern)
    whole = rf"\A(?:{rust})\z"
    try:
        schema = core_schema.str_schema(pattern=whole, regex_engine="rust-regex")
        return SchemaValidator(schema).isinstance_python
    except RustError as exc:
        reason = str(exc).splitlines()[-1].strip()
        raise PatternError(reason.removeprefix("error: ").removeprefix("SchemaError: ")) from None


def unanchored(pattern: str) -> str:
    """`pattern` without anchors at its two ends, if the whole answer is matched anyway."""
    depth = 0
    for token in _BARS.finditer(pattern):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "|" and depth == 0:
            return pattern  # in ^a|b$ each anchor belongs to one side
    start = re.match(r"(?:\^|\\A)(?![*+?{])", pattern)
    end = re.search(r"(?<!\\)(?:\\\\)*(\$|\\[Zz])\Z", pattern)
    return pattern[start.end() if start else 0 : end.start(1) if end else None]


def choices_to_regex(choices: Iterable[str]) -> str:
    """An alternation of the texts, taken literally."""
    return "|".join("".join(map(_regex_char, choice)) for choice in choices)


def choices_to_gbnf(choices: Iterable[str]) -> str:
    """A GBNF grammar of the texts, taken literally."""
    return "root ::= " + " | ".join(f'"{"".join(map(_gbnf_char, choice))}"' for choice in choices)


def pattern_to_gbnf(pattern: str) -> str | None:
    """A GBNF grammar of the answers that match; `None` if GBNF has no means for the pattern."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # [[, && and the like: Rust reads them as set operations
            body, weight = _Gbnf().sequence(_parse(unanchored(pattern)))
    except (re.error, _NoGbnfError, FutureWarning, RecursionError, OverflowError):
        return None
    return f"root ::= {body}" if weight <= GBNF_LIMIT else None


def _regex_char(char: str) -> str:
    if char in r"\.^$*+?()[]{}|":
        return "\\" + char
    return f"\\x{ord(char):02x}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def _gbnf_char(char: str) -> str:
    code = ord(char)
    if code < 0x80 and char.isalnum():
        return char
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


class _NoGbnfError(Exception):
    """A construct that GBNF cannot express."""


def _parse(pattern: str) -> Any:
    # The standard library's own parser: private, but as it is since Python 3.11.
    from re import _parser  # type: ignore[attr-defined]

    tree = _parser.parse(pattern)
    if tree.state.flags & ~(re.UNICODE | re.ASCII):
        raise _NoGbnfError
    return tree


class _Gbnf:
    """Python's parse tree as GBNF; each method gives a text and how many elements it grows to."""

    _SHORTHANDS: Final = {
        "CATEGORY_DIGIT": "0-9",
        "CATEGORY_NOT_DIGIT": r"\x00-\x2F\x3A-\U0010FFFF",
        "CATEGORY_SPACE": r"\x09-\x0D\x20",
        "CATEGORY_NOT_SPACE": r"\x00-\x08\x0E-\x1F\x21-\U0010FFFF",
        "CATEGORY_WORD": r"0-9A-Z\x5Fa-z",
        "CATEGORY_NOT_WORD": r"\x00-\x2F\x3A-\x40\x5B-\x5E\x60\x7B-\U0010FFFF",
    }

    def sequence(self, nodes: Any) -> tuple[str, int]:
        parts = [self.node(str(op), value) for op, value in nodes]
        text = " ".join(part for part, _ in parts)
        return text or '""', max(1, sum(weight for _, weight in parts))

    def node(self, op: str, value: Any) -> tuple[str, int]:
        match op:
            case "LITERAL":
                return f'"{_gbnf_char(chr(value))}"', 1
            case "NOT_LITERAL":
                return f"[^{_gbnf_char(chr(value))}]", 1
            case "ANY":
                return r"[^\x0A]", 1
            case "IN":
                return self.characters(value), 1
            case "SUBPATTERN" if not value[1] and not value[2]:
                text, weight = self.sequence(value[3])
                return f"({text})", weight
            case "BRANCH":
                options = [self.sequence(option) for option in value[1]]
                return f"({' | '.join(text for text, _ in options)})", sum(w for _, w in options)
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self.repeated(*value)
            case _:
                raise _NoGbnfError

    def characters(self, members: Any) -> str:
        negated = str(members[0][0]) == "NEGATE"
        inside = "".join(self.member(str(op), value) for op, value in members[negated:])
        return f"[{'^' if negated else ''}{inside}]"

    def member(self, op: str, value: Any) -> str:
        match op:
            case "LITERAL":
                return _gbnf_char(chr(value))
            case "RANGE":
                return f"{_gbnf_char(chr(value[0]))}-{_gbnf_char(chr(value[1]))}"
            case "CATEGORY" if str(value) in self._SHORTHANDS:
                return self._SHORTHANDS[str(value)]
            case _:
                raise _NoGbnfError

    def repeated(self, least: int, most: Any, body: Any) -> tuple[str, int]:
        text, weight = self.sequence(body)
        # llama.cpp makes a rule of each group, and counts it.
        one = len(body) == 1 and str(body[0][0]) in {"LITERAL", "NOT_LITERAL", "ANY", "IN"}
        endless = str(most) == "MAXREPEAT"
        counts = f"{least}," if endless else f"{least},{most}"
        return (
            f"{text if one else f'({text})'}{{{counts}}}",
            weight * max(least + 1 if endless else int(most), 1),
        )
