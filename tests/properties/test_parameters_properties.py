"""Generation parameters: whatever is set is sent, or is an error that names it.

What is neither sent nor an error asks for nothing there, and `asks_for_nothing` lists it.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distilabel_endpoints._clients.parameters import (
    Compiled,
    accepted_parameters,
    check_parameters,
    compile_parameters,
)
from distilabel_endpoints.errors import ParameterError
from distilabel_endpoints.records import Route, Server
from fuzzing import examples

TOOL = {"type": "function", "function": {"name": "f"}}
VALID: dict[str, st.SearchStrategy[Any]] = {
    "max_new_tokens": st.integers(1, 10**6),
    "temperature": st.floats(0, 3) | st.just(0),
    "top_p": st.floats(0.01, 1) | st.just(1),
    "top_k": st.integers(1, 1000),
    "typical_p": st.floats(0.01, 1),
    "repetition_penalty": st.floats(0.1, 5),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "stop_sequences": st.text(min_size=1) | st.lists(st.text(min_size=1), max_size=3),
    "seed": st.integers(0, 2**40),
    "do_sample": st.booleans(),
    "return_full_text": st.booleans(),
    "watermark": st.booleans(),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 20),
    "logit_bias": st.dictionaries(st.integers(0, 99).map(str), st.floats(-100, 100), max_size=2),
    "tools": st.just([TOOL]),
    "tool_choice": st.sampled_from(["auto", "none"]),
    "tool_prompt": st.text(min_size=1),
    "response_format": st.sampled_from([{"type": "json_object"}, {"type": "json_schema"}]),
    "extra_body": st.dictionaries(st.sampled_from(["min_p", "priority"]), st.integers()),
}
SWITCHES = {"return_full_text", "watermark", "logprobs"}
WARPERS = {"top_k", "top_p", "typical_p"}


@st.composite
def calls(draw: st.DrawFn) -> tuple[dict[str, Any], Route, Server]:
    """Parameters for a route and a server, most often such as go together there."""
    route, server = draw(st.sampled_from(Route)), draw(st.sampled_from(Server))
    fitting = accepted_parameters(route, server)
    names = draw(st.sets(st.sampled_from(fitting)) | st.sets(st.sampled_from(sorted(VALID))))
    given_ = {name: draw(VALID[name]) for name in VALID if name in names}
    if "top_logprobs" in given_:
        given_["logprobs"] = True
    if given_.get("do_sample") is not None and draw(st.booleans()):
        given_.pop("temperature", None)
    return given_, route, server


def asks_for_nothing(name: str, all_: dict[str, Any], route: Route, server: Server) -> bool:
    """Settings that are what the route does anyway, so that there is nothing to send."""
    value, tgi = all_[name], route is Route.HUB_TEXT or server is Server.TGI
    if value in ([], {}) or (name in SWITCHES and value is False):
        return True
    if name == "do_sample":
        return value is True and route is not Route.HUB_TEXT
    if name in {"top_p", "typical_p"} and value == 1 and tgi:
        return True
    greedy = all_.get("temperature") == 0 or (
        all_.get("do_sample") is False and "temperature" not in all_
    )
    return name in WARPERS and route is Route.HUB_TEXT and greedy


def values_in(value: Any) -> list[Any]:
    """A value and everything in it."""
    inner = list(value.values()) if isinstance(value, dict) else []
    return [value, *(deep for item in inner for deep in values_in(item))]


def is_shown(name: str, value: Any, compiled: Compiled, route: Route) -> bool:
    """Can a set parameter be found in what is handed on?"""
    sent = values_in(dict(compiled.options))
    match name:
        case "seed" | "tools":
            return bool(getattr(compiled, name) == value)
        case "stop_sequences" if isinstance(value, str):
            return [value] in sent
        case "do_sample" if route is not Route.HUB_TEXT:
            return bool(compiled.options["temperature"] == 0)
        case "temperature" if value == 0 and route is Route.HUB_TEXT:
            return compiled.options["do_sample"] is False
        case "logprobs":
            return bool({"logprobs", "details"} & set(compiled.options))
        case "response_format":
            return any(str(item) == str(value["type"]) for item in sent)
        case "extra_body":
            return bool(value.items() <= compiled.options["extra_body"].items())
        case _:
            return value in sent


@settings(deadline=None, max_examples=examples(300))
@given(calls())
def test_nothing_is_dropped_in_silence(call: tuple[dict[str, Any], Route, Server]) -> None:
    """A set parameter is in the options, or an error names it, or it asks for nothing there."""
    given_, route, server = call
    try:
        compiled = compile_parameters(given_, route, server)
    except ParameterError as error:
        said = str(error)
    else:
        for name, value in given_.items():
            if not asks_for_nothing(name, given_, route, server):
                assert is_shown(name, value, compiled, route), name
        return
    assert any(f"'{name}'" in said for name in given_)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=examples(150))
@given(st.dictionaries(st.sampled_from([*VALID, "nonsense"]), ANYTHING | st.integers(0, 5)))
def test_any_value_is_good_or_a_parameter_error(given_: dict[str, Any]) -> None:
    """No value makes checking raise anything else, and what is good compiles or says why not."""
    try:
        kept = check_parameters(given_)
    except ParameterError:
        return
    assert kept == {name: value for name, value in given_.items() if value is not None}
    assert check_parameters(kept) == kept
