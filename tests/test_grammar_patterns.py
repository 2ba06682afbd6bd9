"""The portable core of regular expressions: what is in it, what is not, how it is written."""

from __future__ import annotations

import re

import pytest

from distilabel_endpoints.grammar.pattern_reader import read_pattern
from distilabel_endpoints.grammar.patterns import (
    PatternError,
    choices_to_gbnf,
    choices_to_regex,
    matcher,
)


@pytest.mark.parametrize(
    ("pattern", "regex", "gbnf"),
    [
        ("abc", "abc", r'"a" "b" "c"'),
        ("a|bc|", "a|bc|", r'"a"|"b" "c"|""'),
        (r"\d\D", "[0-9][^0-9]", "[0-9] [^0-9]"),
        (r"[\w.]{2,}", "[.0-9A-Z_a-z]{2,}", r"[\x2E0-9A-Z\x5Fa-z]{2,}"),
        (r"[^\s\D]?", None, None),
        (r"(?:ab)+?", "(?:ab)+", '("a" "b")+'),
        (r"(?P<year>a)*b", "a*b", '"a"* "b"'),
        (r"(a|b)c{3}", "(?:a|b)c{3}", '("a"|"b") "c"{3}'),
        (r"(a*){,4}", "(?:a*){0,4}", '("a"*){0,4}'),
        (r"^a.$", r"a[^\x0a]", r'"a" [^\x0A]'),
        (r"\A\x41\u00e9\Z", "Aé", r'"A" "\xE9"'),
        (r"[]^\-\[\]]", r"[\-\[\]-\^]", r"[\x2D\x5B\x5D-\x5E]"),
        (r"[a-][-a]", r"[\-a][\-a]", r"[\x2Da] [\x2Da]"),
        (r"\$\.\"\t}]", r'\$\."\x09\}\]', r'"\x24" "\x2E" "\x22" "\x09" "\x7D" "\x5D"'),
        ("😀+", "😀+", r'"\U0001F600"+'),
        ("()", "", '""'),
    ],
)
def test_a_pattern_is_written_anew(pattern: str, regex: str | None, gbnf: str | None) -> None:
    """Groups lose their names, lazy repeats their mark, classes their shorthands."""
    read = read_pattern(pattern)
    if regex is not None:
        assert read.regex() == regex
        assert read.gbnf() == f"root ::= {gbnf}"
    re.compile(read.regex())
    assert read_pattern(read.regex() or "()").regex() == read.regex()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a(?=b)", "look-around at character 3"),
        ("(?!b)", "look-around"),
        ("(?<=b)", "look-around"),
        ("(?<!b)", "look-around"),
        (r"(a)\1", "a back-reference at character 3"),
        ("(?P<x>a)(?P=x)", "a back-reference"),
        ("(?>a)", "an atomic group"),
        ("(?#a)", "a comment"),
        ("(?(1)a)", "a conditional group"),
        ("(?i)a", "an inline flag"),
        ("(?P<1>a)", "a malformed group name"),
        ("(?P<x", "a malformed group name"),
        (r"\bword", "a word boundary"),
        (r"\p{L}", "a Unicode property"),
        (r"a\Ab", "an anchor inside the pattern"),
        ("a^b", "an anchor inside the pattern"),
        ("a$|b", "an anchor inside the pattern"),
        (r"\q", "an unknown escape"),
        ("\\", "an unknown escape"),
        (r"\x4", "a malformed escape"),
        (r"\u12g4", "a malformed escape"),
        (r"\ud800", "half a surrogate pair"),
        ("*a", "nothing to repeat at character 0"),
        ("a**", "a repeated quantifier"),
        ("a{2}{3}", "a repeated quantifier"),
        ("a++", "a possessive quantifier"),
        ("a{2", "a { that is no quantifier"),
        ("a{b}", "a { that is no quantifier"),
        ("a{,}", "a { that is no quantifier"),
        ("{", "a { that repeats nothing"),
        ("a{3,2}", "out of order or above 1,000"),
        ("a{1001}", "out of order or above 1,000"),
        ("(a", "a missing )"),
        ("a)", "an unmatched )"),
        ("[a", "a missing ]"),
        ("[", "a missing ]"),
        ("[a-", "a missing ]"),
        ("[z-a]", "out of order"),
        (r"[\d-z]", "between classes"),
        (r"[a-\d]", "between classes"),
        ("[[a]", "a [ inside a character class"),
        ("[a&&b]", "a set operation"),
        ("[a--b]", "out of order"),
        ("[--a]", "a set operation"),
        ("(" * 51 + ")" * 51, "nested deeper than 50"),
        ("a" * 4097, "longer than 4,096 characters"),
        ("(((.{1000}){1000}){1000}){1000}", "size limit"),
    ],
)
def test_what_is_outside_the_core_is_named(pattern: str, names: str) -> None:
    """The construct, and the character it stands at."""
    with pytest.raises(PatternError, match=re.escape(names)):
        read_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "texts", "not_texts"),
    [
        (r"\w+", ["aZ_9"], ["é", ""]),
        (r"\s", [" ", "\v"], ["\xa0", "x"]),
        (r"\S", ["\xa0", "x"], ["\t"]),
        (r".", ["\r", "😀"], ["\n"]),
        (r"[\s\S]", ["\n", "😀"], [""]),
        (r"[^\W\d]", ["a", "_"], ["1", "é", "-"]),
        (r"[\W]+", ["@`[^\x00", "é😀"], ["_", "a", "Z", "0"]),
        (r"[\D\S]", ["1", " ", "é"], [""]),
        (r"a{,2}", ["", "aa"], ["aaa"]),
    ],
)
def test_shorthands_are_ascii(pattern: str, texts: list[str], not_texts: list[str]) -> None:
    """One meaning on every server, and in the check."""
    matches = matcher(read_pattern(pattern).regex(), whole=True)
    assert all(map(matches, texts))
    assert not any(map(matches, not_texts))


def test_a_pattern_too_repetitive_for_llamacpp_has_no_gbnf() -> None:
    """llama.cpp writes repetitions out and refuses more than 2,000 elements."""
    assert read_pattern("(ab){1000}").gbnf() is not None
    assert read_pattern("((ab){1000}c)").gbnf() is None
    assert read_pattern("((a|b)*c{2,}){300}").gbnf() is not None
    assert read_pattern("((a|b)*c{2,}){500}").gbnf() is None


def test_choices_are_taken_literally() -> None:
    """Whatever a choice holds is quoted for the syntax it goes into."""
    assert choices_to_regex(["a.b", "(c)|\n"]) == r"a\.b|\(c\)\|\x0a"
    assert choices_to_gbnf(['a"', "\\é"]) == r'root ::= "a\x22" | "\x5C\xE9"'
