"""`describe()`: what an LLM talks to, and what can be asked of it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from distilabel._clients.parameters import accepted_parameters
from distilabel.grammar import GrammarFormat, constrain, parse_grammar
from distilabel.records import Route, Server

__all__ = ["Capabilities", "Description", "capabilities_of"]

_EXAMPLES: Final = {
    GrammarFormat.JSON: {"format": "json", "schema": {"type": "object"}},
    GrammarFormat.REGEX: {"format": "regex", "schema": "[a-z]+"},
    GrammarFormat.CHOICE: {"format": "choice", "schema": ["yes", "no"]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the server at hand can do on the route that is used."""

    parameters: tuple[str, ...]
    """Generation parameters that can be sent."""
    structured_output: tuple[str, ...]
    """Formats that really constrain the answer; the others are only checked afterwards."""
    choices: int | None
    """Completions one request brings at most; `None` until the server fell short of a wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an LLM talks to."""

    target: str
    """What was named: `model_id=...`, `endpoint_name=...` or `base_url=...`."""
    url: str
    """Where requests go."""
    client: str
    """The class that sends them."""
    route: Route
    server: Server
    model: str | None
    """The name in the body, as the server wants it."""
    capabilities: Capabilities


def capabilities_of(route: Route, server: Server, choices: int | None) -> Capabilities:
    """What can be asked of `server` on `route`."""
    formats = (
        kind.value
        for kind, example in _EXAMPLES.items()
        if constrain(parse_grammar(example), server, route) is not None
    )
    return Capabilities(
        parameters=accepted_parameters(route, server),
        structured_output=tuple(formats),
        choices=1 if route is Route.HUB_TEXT else choices,
    )
