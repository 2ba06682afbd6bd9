"""`describe()`: what an LLM talks to, and what can be asked of it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from distilabel_endpoints._clients.parameters import BEYOND_OPENAI, accepted_parameters
from distilabel_endpoints.engine_state import Capabilities, Description
from distilabel_endpoints.grammar import GrammarFormat, constrain, parse_grammar
from distilabel_endpoints.records import Route, Server

if TYPE_CHECKING:
    from distilabel_endpoints._targets.urls import Target

__all__ = ["capabilities_of", "describe_endpoints"]

_EXAMPLES: Final = {
    GrammarFormat.JSON: {"format": "json", "schema": {"type": "object"}},
    GrammarFormat.REGEX: {"format": "regex", "schema": "[a-z]+"},
    GrammarFormat.CHOICE: {"format": "choice", "schema": ["yes", "no"]},
}


def capabilities_of(
    route: Route, server: Server, choices: int | None, formats: Mapping[str, bool]
) -> Capabilities:
    """What can be asked of `server` on `route`.

    Args:
        route: that is used.
        server: which it is.
        choices: completions that one request brings at most, if that was seen.
        formats: those that answers were asked for in, and whether every whole answer had it.
    """
    sent = tuple(
        kind.value
        for kind, example in _EXAMPLES.items()
        if constrain(parse_grammar(example), server, route) is not None
    )
    parameters = accepted_parameters(route, server)
    # TGI's own route is proof enough: no other server has it.
    known = server is not Server.UNKNOWN or route is Route.HUB_TEXT
    beyond = [name for name in parameters if name in BEYOND_OPENAI]
    return Capabilities(
        parameters=parameters,
        structured_output=sent if known else tuple(name for name in sent if formats.get(name)),
        unconfirmed=() if known else (*beyond, *(name for name in sent if name not in formats)),
        choices=1 if route is Route.HUB_TEXT else choices,
    )


def describe_endpoints(
    endpoints: Sequence[Target],
    *,
    target: str,
    client: str,
    choices: int | None,
    formats: Mapping[str, bool],
) -> Description:
    """One endpoint or several: what all of them can do is what can be asked."""
    first = endpoints[0]
    servers = {endpoint.name: endpoint.server for endpoint in endpoints}
    can = [
        capabilities_of(*dialect, choices, formats)
        for dialect in dict.fromkeys(e.dialect for e in endpoints)
    ]
    return Description(
        target=target,
        url=", ".join(servers),
        client=client,
        route=first.route,
        server=first.server if len(set(servers.values())) == 1 else Server.UNKNOWN,
        endpoints=servers,
        model=first.model,
        capabilities=Capabilities(
            parameters=_in_all([one.parameters for one in can]),
            structured_output=_in_all([one.structured_output for one in can]),
            unconfirmed=tuple(dict.fromkeys(name for one in can for name in one.unconfirmed)),
            choices=can[0].choices,
        ),
    )


def _in_all(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in lists[0] if all(name in names for names in lists))
