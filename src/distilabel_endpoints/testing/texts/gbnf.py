"""A text that a GBNF grammar derives, for llama.cpp's `grammar` and its relatives.

Reads literals, character classes, `.`, groups, alternatives, rule names and the four repeats.
Repeats take as few rounds as allowed, but one rather than none while the derivation is shallow.
"""

from __future__ import annotations

import re
from random import Random

from distilabel_endpoints.testing.texts.regexes import regex_sample

__all__ = ["gbnf_sample"]

_DEPTH = 20
_TOKEN = re.compile(
    r'(?P<literal>"(?:\\.|[^"\\])*")'
    r"|(?P<set>\[(?:\\.|[^\]\\])*\])"
    r"|(?P<repeat>\{\d+(?:,\d*)?\}|[?*+])"
    r"|(?P<define>[A-Za-z][\w-]*\s*::=)"
    r"|(?P<name>[A-Za-z][\w-]*)"
    r"|(?P<mark>[().|])"
    r"|(?P<skip>\s+|\#[^\n]*)"
)
_Token = tuple[str, str]


def gbnf_sample(grammar: str, seed: int = 0) -> str:
    """A text of the grammar's `root`.

    Raises:
        ValueError: the text is not a grammar, or a rule is missing.
    """
    return _Derivation(_rules(grammar), Random(seed)).derive("root", 0)


def _rules(grammar: str) -> dict[str, list[_Token]]:
    rules: dict[str, list[_Token]] = {}
    current: list[_Token] = []
    at = 0
    while at < len(grammar):
        token = _TOKEN.match(grammar, at)
        if token is None:
            raise ValueError(f"grammar cannot be read at character {at}")
        at, kind = token.end(), token.lastgroup or ""
        if kind == "define":
            current = rules.setdefault(token[0].removesuffix("::=").strip(), [])
        elif kind != "skip":
            current.append((kind, token[0]))
    return rules


class _Derivation:
    """One derivation. Alternatives near the depth limit fall back to the first one."""

    def __init__(self, rules: dict[str, list[_Token]], rng: Random) -> None:
        self._rules = rules
        self._rng = rng

    def derive(self, name: str, depth: int) -> str:
        """A text of one rule."""
        if name not in self._rules:
            raise ValueError(f"grammar has no rule {name!r}")
        if depth > 3 * _DEPTH:
            raise ValueError(f"rule {name!r} never ends")
        return self._alternatives(self._rules[name], depth)

    def _alternatives(self, tokens: list[_Token], depth: int) -> str:
        options: list[list[_Token]] = [[]]
        level = 0
        for token in tokens:
            level += (token == ("mark", "(")) - (token == ("mark", ")"))
            if token == ("mark", "|") and level == 0:
                options.append([])
            else:
                options[-1].append(token)
        if depth > _DEPTH:
            return self._sequence(min(options, key=len), depth)
        return self._sequence(self._rng.choice(options), depth)

    def _sequence(self, tokens: list[_Token], depth: int) -> str:
        text = ""
        at = 0
        while at < len(tokens):
            end = _closing(tokens, at) if tokens[at] == ("mark", "(") else at
            element = tokens[at : end + 1]
            at = end + 1
            rounds = 1
            if at < len(tokens) and tokens[at][0] == "repeat":
                rounds = _rounds(tokens[at][1], depth)
                at += 1
            text += "".join(self._element(element, depth) for _ in range(rounds))
        return text

    def _element(self, tokens: list[_Token], depth: int) -> str:
        kind, text = tokens[0]
        match kind:
            case "literal":
                return _unescaped(text[1:-1])
            case "set":
                return regex_sample(text, self._rng.randrange(2**32))
            case "name":
                return self.derive(text, depth + 1)
            case _:
                return "x" if text == "." else self._alternatives(tokens[1:-1], depth + 1)


def _closing(tokens: list[_Token], start: int) -> int:
    level = 0
    for at in range(start, len(tokens)):
        level += (tokens[at] == ("mark", "(")) - (tokens[at] == ("mark", ")"))
        if level == 0:
            return at
    raise ValueError("grammar has an open parenthesis")


def _rounds(repeat: str, depth: int) -> int:
    wish = 1 if depth <= _DEPTH // 4 else 0
    match repeat:
        case "?" | "*":
            return wish
        case "+":
            return 1
        case _:
            least, _, most = repeat[1:-1].partition(",")
            return max(int(least), min(wish, int(most or wish)))


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|(.))",
        lambda escape: (
            chr(int(escape[1], 16))
            if escape[1]
            else {"n": "\n", "t": "\t", "r": "\r"}.get(escape[2], escape[2])
        ),
        text,
    )
