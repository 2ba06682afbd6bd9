"""Generation parameters as upstream's programs give them, made fit for the route that is used.

Stand-alone, a parameter that cannot be sent is an error. Inside a pipeline it is dropped with one
warning, as upstream does it: the same `generation_kwargs` serve several LLMs there.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from distilabel_endpoints.llms.inputs import GenerationParameters
from distilabel_endpoints.records import Route, Server

__all__ = ["fitting", "renamed", "spelled_out"]

_TGI_STOPS: Final = 4
"""Stop sequences that TGI takes at most."""


def spelled_out(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    """A signature's parameters with every name that a `**parameters` among them stands for.

    Upstream would take that one for a parameter that has to be given.
    """
    listed = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in (*GenerationParameters.__annotations__, "top_n_tokens")
    ]
    named = [one for one in parameters if one.kind is not one.VAR_KEYWORD]
    names = {one.name for one in named}
    return [*named, *(one for one in listed if one.name not in names)]


def renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Upstream's `top_n_tokens` under the names it has here; what is not set is left out."""
    kept = {name: value for name, value in parameters.items() if value is not None}
    top = kept.pop("top_n_tokens", None)
    return {"logprobs": True, "top_logprobs": top, **kept} if top else kept


def fitting(
    parameters: Mapping[str, Any], *, accepted: Collection[str], route: Route, server: Server
) -> tuple[dict[str, Any], list[str]]:
    """The parameters that can be sent, and a sentence for each that was dropped or cut."""
    kept = renamed(parameters)
    notes = []
    for name in [name for name in kept if name not in accepted]:
        del kept[name]
        notes.append(f"'{name}' is dropped: {server.value} does not take it on this path.")
    if route is not Route.HUB_TEXT and kept.get("do_sample") is False and kept.get("temperature"):
        del kept["do_sample"]
        notes.append("'do_sample'=False is dropped: 'temperature' is above 0, which samples.")
    stops = kept.get("stop_sequences")
    if server is Server.TGI and isinstance(stops, list | tuple) and len(stops) > _TGI_STOPS:
        kept["stop_sequences"] = list(stops[:_TGI_STOPS])
        notes.append(f"'stop_sequences' is cut to the first {_TGI_STOPS}: TGI takes no more.")
    return kept, notes
