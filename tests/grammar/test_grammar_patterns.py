"""Regular expressions: which are taken, what is sent for them, how they are written as GBNF."""

from __future__ import annotations

import pytest

from distilabel_endpoints.grammar import check, parse_grammar
from distilabel_endpoints.grammar.patterns import (
    PatternError,
    choices_to_gbnf,
    choices_to_regex,
    matcher,
    pattern_to_gbnf,
    unanchored,
)


@pytest.mark.parametrize(
    ("pattern", "fits", "other"),
    [
        (r"^yes$|^no$", ["yes", "no"], ["yesno", "yes\n", ""]),
        (r"\byes\b", ["yes"], ["yes!"]),
        (r"(?i)yes|no", ["YES", "No"], ["maybe"]),
        (r"(?P<year>\d{4})-\d\d", ["2024-05"], ["2024-5"]),
        (r"\A\d+\Z", ["12"], ["12\n", "a12"]),
        (r"\p{Lu}\w+", ["Été"], ["été"]),
        (r"(?s).+", ["a\nb"], [""]),
        (r"a++|(?:b)", ["b"], []),
        (r"[]^\-\[\]]", ["]", "^", "-"], ["a"]),
        (r"\\Z", [r"\Z"], ["Z"]),
    ],
)
def test_patterns_that_people_write(pattern: str, fits: list[str], other: list[str]) -> None:
    """Anchors, word boundaries, flags, names and properties mean what they mean elsewhere."""
    one = parse_grammar({"format": "regex", "schema": pattern})
    assert [check(one, text) for text in fits] == [None] * len(fits)
    assert None not in [check(one, text) for text in other]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(?=b)", "look-around"),
        ("(?<!b)", "look-around"),
        (r"(a)\1", "backreferences"),
        ("*a", "missing expression"),
        ("(a", "unclosed group"),
        ("[a", "unclosed character class"),
        ("[z-a]", "invalid character class range"),
        ("a" * 4097, "longer than 4,096 characters"),
        ("(((.{1000}){1000}){1000}){1000}", "size limit"),
    ],
)
def test_patterns_that_cannot_be_checked(pattern: str, reason: str) -> None:
    """The message names what stands in the way."""
    with pytest.raises(PatternError, match=reason):
        matcher(pattern)


@pytest.mark.parametrize(
    ("pattern", "sent"),
    [
        (r"^\d+$", r"\d+"),
        (r"\A\d+\Z", r"\d+"),
        (r"^yes$|^no$", r"^yes$|^no$"),
        (r"^(?:a|b)$", r"(?:a|b)"),
        (r"^[|]$", r"[|]"),
        (r"^a\|b$", r"a\|b"),
        (r"a\$", r"a\$"),
        (r"a\\$", r"a\\"),
        (r"^?", r"^?"),
        ("", ""),
    ],
)
def test_anchors_at_the_ends_are_not_sent(pattern: str, sent: str) -> None:
    """The whole answer is matched anyway; where an anchor belongs to one side of a |, it stays."""
    assert unanchored(pattern) == sent


@pytest.mark.parametrize(
    ("pattern", "gbnf"),
    [
        ("abc", '"a" "b" "c"'),
        ("ab|cde", '("a" "b" | "c" "d" "e")'),
        (r"\d\D", r"[0-9] [\x00-\x2F\x3A-\U0010FFFF]"),
        (r"[\w.]{2,}", r"[0-9A-Z\x5Fa-z\x2E]{2,}"),
        (r"(?:ab)+?", '("a" "b"){1,}'),
        (r"(?P<year>a)*b", '(("a")){0,} "b"'),
        (r"^a.$", r'"a" [^\x0A]'),
        (r"\A\x41\u00e9\Z", r'"A" "\xE9"'),
        (r"[^a]", "[^a]"),
        ("😀+", r'"\U0001F600"{1,}'),
        ("()", '("")'),
        (r"^yes$|^no$", None),
        (r"\byes", None),
        (r"(?i)yes", None),
        (r"(?i:yes)", None),
        (r"[\s\S]", r"[\x09-\x0D\x20\x00-\x08\x0E-\x1F\x21-\U0010FFFF]"),
        (r"[[a]", None),
        (r"a*+", None),
        (r"(?:.{1000}){3}", None),
    ],
)
def test_a_pattern_as_gbnf(pattern: str, gbnf: str | None) -> None:
    """What GBNF has no means for, or what would grow too large, is only checked."""
    assert pattern_to_gbnf(pattern) == (gbnf and f"root ::= {gbnf}")


def test_choices_are_taken_literally() -> None:
    """What means something in a pattern is quoted."""
    assert choices_to_regex(["a.b", "(c)\n"]) == r"a\.b|\(c\)\x0a"
    assert choices_to_gbnf(["a.b", '"\\']) == r'root ::= "a\x2Eb" | "\x22\x5C"'
