"""A text that a regular expression matches as a whole.

Repeats take as few rounds as allowed, but one rather than none; alternatives and character sets
are chosen by the seed. Look-arounds and word boundaries are not searched for a solution.
"""

from __future__ import annotations

import string
from importlib import import_module
from random import Random
from typing import Any

__all__ = ["regex_sample"]

_PRINTABLE = string.ascii_lowercase + string.ascii_uppercase + string.digits + " _-.,:;!?"
_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_NOT_DIGIT": string.ascii_lowercase,
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": string.ascii_lowercase,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_NOT_WORD": " -.",
}


def regex_sample(pattern: str, seed: int = 0) -> str:
    """A match of `pattern`, in Python's dialect.

    Raises:
        re.error: the pattern is not a regular expression.
        ValueError: it has a look-around, or something else that needs a search.
    """
    # The standard library's own parser: private by name, unchanged in shape since Python 2.
    parsed = import_module("re._parser").parse(pattern)
    groups: dict[int, str] = {}
    return "".join(_emit(parsed, Random(seed), groups))


def _emit(parsed: Any, rng: Random, groups: dict[int, str]) -> list[str]:
    return [_one(str(code), value, rng, groups) for code, value in parsed]


def _one(code: str, value: Any, rng: Random, groups: dict[int, str]) -> str:
    match code:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            return _character(code, value, rng)
        case "AT":
            return ""
        case "BRANCH":
            return "".join(_emit(rng.choice(value[1]), rng, groups))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            rounds = max(least, min(1, most))
            return "".join("".join(_emit(inner, rng, groups)) for _ in range(rounds))
        case "ATOMIC_GROUP":
            return "".join(_emit(value, rng, groups))
        case "SUBPATTERN":
            groups[value[0] or 0] = text = "".join(_emit(value[3], rng, groups))
            return text
        case "GROUPREF":
            return groups.get(value, "")
        case _:
            raise ValueError(f"no sample for a pattern with {code.lower()}")


def _character(code: str, value: Any, rng: Random) -> str:
    match code:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return next(char for char in _PRINTABLE if ord(char) != value)
        case "ANY":
            return rng.choice(string.ascii_lowercase)
        case _:
            return rng.choice(_members(value))


def _members(members: Any) -> str:
    allowed = ""
    negated = False
    for member, value in members:
        match str(member):
            case "NEGATE":
                negated = True
            case "LITERAL":
                allowed += chr(value)
            case "RANGE":
                low, high = value
                allowed += "".join(map(chr, range(low, min(high, low + 95) + 1)))
            case _:
                allowed += _CATEGORIES[str(value)]
    if negated:
        allowed = "".join(char for char in _PRINTABLE if char not in allowed)
    return allowed
