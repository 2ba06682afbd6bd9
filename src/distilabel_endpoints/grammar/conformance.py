"""Does an answer fit its grammar? If not, why, without quoting it.

Rules. Whitespace around an answer is tolerated for JSON only. A reason names the place by JSON
pointer, with property names the schema does not know masked as `*`, and never holds the answer's
text. Every check ends in time linear in the answer for patterns, and at bounded depth for JSON.
`format` is an annotation, as JSON Schema 2020-12 has it, and is not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, assert_never

from distilabel_endpoints.grammar.patterns import matcher
from distilabel_endpoints.grammar.schemas import property_names, validator
from distilabel_endpoints.grammar.strict_json import compact, read_json
from distilabel_endpoints.grammar.values import Grammar, GrammarFormat

__all__ = ["check"]

MAX_ANSWER_DEPTH: Final = 200
_SHOWN: Final = 80
"""Longest schema value quoted in a reason, in characters."""


def check(grammar: Grammar, text: str) -> str | None:
    """`None` when `text` fits, else a short reason without any of `text` in it."""
    return _checker(grammar)(text)


@lru_cache(maxsize=64)
def _checker(grammar: Grammar) -> Callable[[str], str | None]:
    match grammar.format:
        case GrammarFormat.JSON:
            return _json_checker(grammar)
        case GrammarFormat.REGEX:
            matches = matcher(grammar.text)
            return lambda text: None if matches(text) else "does not match the pattern"
        case GrammarFormat.CHOICE:
            choices = frozenset(grammar.schema)
            reason = f"is none of the {len(choices)} choices"
            return lambda text: None if text in choices else reason
        case _:
            assert_never(grammar.format)


def _json_checker(grammar: Grammar) -> Callable[[str], str | None]:
    schema = grammar.schema
    names = property_names(schema)
    checks = validator(schema)

    def checker(text: str) -> str | None:
        try:
            answer = read_json(text, MAX_ANSWER_DEPTH)
            error = next(checks.iter_errors(answer), None)
        except UnicodeEncodeError:
            return "holds half a surrogate pair"
        except ValueError as exc:
            return str(exc)
        return None if error is None else _reason(error, schema, names)

    return checker


def _reason(error: Any, schema: Any, names: frozenset[str]) -> str:
    """Made of the schema's words: the validator's own message quotes the answer."""
    rule = schema
    for step in error.schema_path:
        rule = rule[step]
    wanted = compact(rule)
    wanted = f": {wanted}" if len(wanted) <= _SHOWN else ""
    return f'{_pointer(error.instance_path, names)} breaks "{error.schema_path[-1]}"{wanted}'


def _pointer(path: Iterable[str | int], names: frozenset[str]) -> str:
    known = (step if isinstance(step, int) or step in names else "*" for step in path)
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in known]
    return "/" + "/".join(steps) if steps else "the answer"
