"""Structured output: what a user asks for, how each server is made to follow it, whether it did.

A `Grammar` is parsed once, from `structured_output={"format": ..., "schema": ...}`.
`constrain` turns it into the keyword arguments that really constrain a given server on a given
route, or says with `None` that this server cannot. `check` compares an answer with it.
Nothing here sends anything, follows a remote reference, or puts an answer's text in a message.
"""

from distilabel_endpoints.grammar.conformance import check
from distilabel_endpoints.grammar.dialects import constrain
from distilabel_endpoints.grammar.values import Grammar, GrammarFormat, parse_grammar

__all__ = [
    "Grammar",
    "GrammarFormat",
    "check",
    "constrain",
    "parse_grammar",
]
